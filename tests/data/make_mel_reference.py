"""Makes mel_reference.npz: log-mel values by librosa, which tests/unit/test_features.py compares ours with.

    pip install librosa==0.11.0 && python tests/data/make_mel_reference.py

The signals are made of whole numbers here, so that no audio file is needed and every machine has the same.
librosa's STFT and mel filters are used as in openai/whisper `audio.py`, in float64: a clip, 30 s of silence
after it, centred frames, the last one dropped.
"""

from __future__ import annotations

import importlib
import sys
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

OUTPUT = Path(__file__).with_name("mel_reference.npz")
STEP = 5  # every fifth frame is kept: the file stays small

#: Samples of each clip: no multiple of a frame, exactly one frame, and less than the reflection at the start.
LENGTHS = {"long": 32_213, "frame": 160, "short": 137}


def signal(samples: int) -> npt.NDArray[np.int16]:
    """A voice of sorts: a sawtooth whose pitch glides and which comes and goes, on noise 40 dB below it."""
    noise, phase = 1, 0
    pcm = np.empty(samples, np.int16)
    for i in range(samples):
        noise = (noise * 1_103_515_245 + 12_345) % 2**31
        phase = (phase + 400 + i % 9_000 // 20) % 65_536
        loudness = abs(i % 6_000 - 3_000)
        pcm[i] = (phase - 32_768) * loudness // 6_000 + (noise >> 16) % 256 - 128
    return pcm


def load_librosa() -> Any:
    """librosa, late: the tests import this module for its signals and have no librosa."""
    return importlib.import_module("librosa")


def log_mel(pcm: npt.NDArray[np.int16], n_mels: int) -> npt.NDArray[Any]:
    """float64[n_mels, frames] of log10 power: the clip's frames and all those of the silence after it."""
    librosa = load_librosa()
    padded = np.concatenate((pcm / 32_768.0, np.zeros(30 * 16_000)))
    stft = librosa.stft(padded, n_fft=400, hop_length=160, window="hann", center=True, pad_mode="reflect")
    filters = librosa.filters.mel(sr=16_000, n_fft=400, n_mels=n_mels, dtype=np.float64)
    raw: npt.NDArray[Any] = np.log10(np.maximum(filters @ np.abs(stft[:, :-1]) ** 2, 1e-10))
    return raw


def main() -> None:
    """Write the file."""
    librosa = load_librosa()
    arrays: dict[str, Any] = {}
    for n_mels in (80, 128):
        filters = librosa.filters.mel(sr=16_000, n_fft=400, n_mels=n_mels, dtype=np.float64)
        arrays[f"filters_{n_mels}"] = filters
        for name, length in LENGTHS.items():
            raw = log_mel(signal(length), n_mels)
            normalised = (np.maximum(raw, raw.max() - 8.0) + 4.0) / 4.0
            own = -(-length // 160)  # frames whose centre lies in the clip
            arrays[f"raw_{name}_{n_mels}"] = raw[:, :own:STEP].astype(np.float32)
            arrays[f"normalised_{name}_{n_mels}"] = normalised[:, :own:STEP].astype(np.float32)
            # Beyond the frames that the clip's end reaches into there is nothing but silence.
            arrays[f"silence_{name}_{n_mels}"] = normalised[0, own + 2]
    np.savez_compressed(OUTPUT, **arrays)
    print(f"{OUTPUT.name}: {OUTPUT.stat().st_size} bytes, by librosa {librosa.__version__}", file=sys.stderr)


if __name__ == "__main__":
    main()
