"""One stranger in a process of its own, so that its memory is its own and a crash is its own.

Run by `contenders.Stranger`. Speaks JSON lines: first `{"ready": seconds}`, then for each line with the path
of a WAV file on stdin one line `{"text": …, "seconds": …}`.
"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt
import soundfile

Samples = npt.NDArray[np.float32]

#: Whisper.cpp's audio context in positions of 20 ms, and what is left behind the clip's end: 1 s.
POSITIONS_PER_SECOND = 50
CONTEXT_MARGIN = 50


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
    """whisper.cpp with its audio context cut to the clip plus 1 s; flash attention off, or it loops."""
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

    def transcribe(pcm: Samples) -> str:
        context = min(1500, int(len(pcm) / 16000 * POSITIONS_PER_SECOND) + CONTEXT_MARGIN)
        # It refuses clips under 1 s and looks at whole windows: silence behind the clip costs nothing here.
        segments = whisper.transcribe(pcm, audio_ctx=context)
        return " ".join(segment.text for segment in segments)

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
