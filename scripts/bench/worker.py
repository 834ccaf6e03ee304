"""One stranger in a process of its own, so that its memory is its own and a crash is its own.

Run by `contenders.Stranger`. Speaks JSON lines: first `{"ready": seconds}`, then for each line with the path
of a WAV file on stdin one line `{"text": …, "seconds": …}`.
"""

from __future__ import annotations

import json
import math
import sys
import time
from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt
import soundfile

Samples = npt.NDArray[np.float32]

#: Positions of 20 ms in a second, and what whisper.cpp's audio context may keep behind the clip's end. Cut too
#: short it repeats itself, on some clips more than on others: for each clip the fastest is taken that does not.
POSITIONS_PER_SECOND = 50
CONTEXT_MARGINS = (50, 100, 150, 200, 300)
LOOP_RATIO = 1.5


def faster_whisper(model: str, threads: int) -> Callable[[Samples], str]:
    """faster-whisper int8, greedy, without timestamps: its fastest setting that is still right."""
    from faster_whisper import WhisperModel

    whisper = WhisperModel(model, device="cpu", compute_type="int8", cpu_threads=threads)

    def transcribe(pcm: Samples) -> str:
        segments, _ = whisper.transcribe(
            pcm, language="en", beam_size=1, without_timestamps=True, condition_on_previous_text=False
        )
        return "".join(segment.text for segment in segments)

    return transcribe


def whisper_cpp(model: str, threads: int) -> Callable[[Samples], str]:
    """whisper.cpp with its audio context cut to the clip; flash attention off, or it loops the more."""
    from pywhispercpp.model import Model

    whisper: Any = Model(
        model,
        redirect_whispercpp_logs_to=None,
        context_params={"flash_attn": False, "use_gpu": False},
        n_threads=threads,
        language="en",
        print_progress=False,
        print_realtime=False,
        print_timestamps=False,
        no_timestamps=True,
        single_segment=True,
        no_context=True,
        temperature_inc=0.0,
        greedy={"best_of": 1},
    )

    chosen: dict[int, int] = {}  # length of a clip -> audio context

    def run(pcm: Samples, context: int) -> str:
        return " ".join(segment.text for segment in whisper.transcribe(pcm, audio_ctx=context))

    def choose(pcm: Samples) -> int:
        positions = math.ceil(len(pcm) / 16000 * POSITIONS_PER_SECOND)
        contexts = [min(1500, positions + margin) for margin in CONTEXT_MARGINS]
        trusted = len(run(pcm, 1500).split())
        good = [c for c in contexts if len(run(pcm, c).split()) <= LOOP_RATIO * trusted]
        return good[0] if good else 1500

    def transcribe(pcm: Samples) -> str:
        if len(pcm) not in chosen:
            chosen[len(pcm)] = choose(pcm)
        return run(pcm, chosen[len(pcm)])

    return transcribe


def main() -> None:
    """Load, then answer until stdin ends."""
    name, model, threads = sys.argv[1], sys.argv[2], int(sys.argv[3])
    begun = time.perf_counter()
    transcribe = {"faster-whisper": faster_whisper, "whisper.cpp": whisper_cpp}[name](model, threads)
    answers = sys.stdout
    print(json.dumps({"ready": time.perf_counter() - begun}), file=answers, flush=True)
    for line in sys.stdin:
        pcm, rate = soundfile.read(line.strip(), dtype="float32")
        if rate != 16000:
            raise SystemExit(f"{line.strip()}: {rate} Hz")
        begun = time.perf_counter()
        text = transcribe(pcm)
        seconds = time.perf_counter() - begun
        print(json.dumps({"text": text.strip(), "seconds": seconds}), file=answers, flush=True)


if __name__ == "__main__":
    main()
