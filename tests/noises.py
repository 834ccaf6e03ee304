"""What is no speech, made of formulas: int16[n] at 16 kHz, the same on every run."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import numpy.typing as npt

RATE = 16_000
Samples = npt.NDArray[np.float64]


def coloured(seconds: float, slope: float, seed: int) -> Samples:
    """Noise whose power falls with frequency ** -2 slope."""
    count = round(seconds * RATE)
    spectrum = np.fft.rfft(np.random.default_rng(seed).standard_normal(count))
    noise: Samples = np.fft.irfft(spectrum / np.arange(1, len(spectrum) + 1) ** slope, count)
    scaled: Samples = noise / np.abs(noise).max()
    return scaled


def sine(seconds: float, hertz: float) -> Samples:
    """A sine of full scale."""
    return np.asarray(np.sin(2 * np.pi * hertz * np.arange(round(seconds * RATE)) / RATE))


def _music(seconds: float) -> Samples:
    """Plucked notes, four a second, with the overtones of a string."""
    random, out = np.random.default_rng(3), np.zeros(round(seconds * RATE) + RATE)
    for start in range(0, round(seconds * RATE), RATE // 4):
        pitch = 220 * 2 ** (random.integers(0, 24) / 12)
        note = sum((sine(0.4, pitch * h) / h for h in range(1, 6)), np.zeros(round(0.4 * RATE)))
        out[start : start + len(note)] += note * np.exp(-10 * np.arange(len(note)) / RATE)
    scaled: Samples = out[:-RATE] / np.abs(out).max()
    return scaled


def _slam(seconds: float) -> Samples:
    """A door: a burst that dies away within 0.1 s, in a quiet car."""
    random = np.random.default_rng(4)
    out = 0.001 * random.standard_normal(round(seconds * RATE))
    burst = random.standard_normal(round(0.3 * RATE)) * np.exp(-np.arange(round(0.3 * RATE)) / (0.03 * RATE))
    out[RATE // 2 : RATE // 2 + len(burst)] += burst
    scaled: Samples = out / np.abs(out).max()
    return scaled


NOISES: dict[str, Callable[[float], Samples]] = {
    "silence": lambda seconds: np.zeros(round(seconds * RATE)),
    "hiss": lambda seconds: 0.1 * coloured(seconds, 0.0, 1),
    "faint hiss": lambda seconds: 0.0002 * coloured(seconds, 0.0, 1),
    "fan": lambda seconds: 0.3 * coloured(seconds, 0.5, 2),
    "road": lambda seconds: 0.5 * coloured(seconds, 1.0, 3),
    "tone": lambda seconds: 0.3 * sine(seconds, 440.0),
    "hum": lambda seconds: 0.1 * sine(seconds, 50.0),
    "music": lambda seconds: 0.3 * _music(seconds),
    "door": lambda seconds: 0.8 * _slam(seconds),
}


def noise(name: str, seconds: float) -> npt.NDArray[np.int16]:
    """One of `NOISES`."""
    return noise_of(NOISES[name](seconds))


def noise_of(samples: Samples) -> npt.NDArray[np.int16]:
    """float64[n] in [-1, 1] as int16[n]."""
    return np.clip(32767 * samples, -32768, 32767).astype(np.int16)
