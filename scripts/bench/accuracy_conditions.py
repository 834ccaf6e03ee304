"""What happens to a clip on its way to the microphone: level, a car's noise, a room, clipping.

All of it is numpy with seeds, so a clip and a condition give the same samples each time. A clip's noise is its
own.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from functools import lru_cache

import numpy as np
import numpy.typing as npt
from whisperd.audio.pcm import SAMPLE_RATE, Int16Samples

Signal = npt.NDArray[np.float64]

#: Loudness is taken over hops of 20 ms; those within this many dB of the loudest are speech.
HOP = SAMPLE_RATE // 50
SPEECH_DB = 25.0

#: Reverberation time (to -60 dB) of the room in "far", level of its sound against the direct one, and how much
#: quieter all is.
ROOM_SECONDS, ROOM_DB, FAR_DB = 0.4, 0.0, -18.0
#: A hard limit at this much under the clip's peak, raised to full scale.
CLIP_DB = 15.0

#: Frequency of an engine's firing (four cylinders, 2400 rpm), its harmonics and how they fall.
FIRING_HZ, HARMONICS, HARMONIC_DB = 80.0, 12, 4.0


def speech_power(pcm: Signal) -> float:
    """Mean square over the hops with speech in them; 0 of silence."""
    count = max(1, len(pcm) // HOP)
    hops = np.array([float((part**2).mean()) if len(part) else 0.0 for part in np.array_split(pcm, count)])
    loud: Signal = hops[hops >= hops.max() * 10 ** (-SPEECH_DB / 10)]
    return float(loud.mean())


def car_noise(count: int, luck: np.random.Generator) -> Signal:
    """Noise of a car at speed, float64[count], mean square 1: tyres, wind and engine.

    Tyres fall with 9 dB an octave from 80 Hz on, wind is flat to 500 Hz and falls with 6 dB an octave, an engine's
    harmonics sway a little. So most of it is low, and some is where speech is.
    """
    size = _power_of_two(max(2 * SAMPLE_RATE, count))
    hertz = np.fft.rfftfreq(size, 1 / SAMPLE_RATE)
    spectrum = np.fft.rfft(luck.standard_normal(size))
    tyres = np.fft.irfft(spectrum * (1 + (hertz / 80) ** 2) ** -0.75 * (hertz > 20), size)
    spectrum = np.fft.rfft(luck.standard_normal(size))
    wind = np.fft.irfft(spectrum * (1 + (hertz / 500) ** 2) ** -0.5 * (hertz > 20), size)
    time = np.arange(size) / SAMPLE_RATE
    sway = 1 + 0.02 * np.sin(2 * np.pi * 0.3 * time + luck.uniform(0, 2 * np.pi))
    phase = 2 * np.pi * FIRING_HZ * np.cumsum(sway) / SAMPLE_RATE
    engine = np.zeros(size)
    for k in range(1, HARMONICS + 1):
        engine += 10 ** (-HARMONIC_DB * (k - 1) / 20) * np.sin(k * phase + luck.uniform(0, 2 * np.pi))
    parts = ((tyres, 1.0), (wind, 0.35), (engine, 0.35))
    mixed = sum((weight * part / np.sqrt((part**2).mean()) for part, weight in parts), np.zeros(size))[:count]
    result: Signal = mixed / np.sqrt((mixed**2).mean())
    return result


def with_noise(pcm: Signal, noise: Signal, snr_db: float) -> Signal:
    """Add noise of mean square 1 so that the speech is `snr_db` over it; what is too loud then is turned down."""
    gain = np.sqrt(speech_power(pcm) * 10 ** (-snr_db / 10))
    mixed: Signal = pcm + gain * noise
    peak = float(np.abs(mixed).max())
    return mixed * min(1.0, 32767 / peak) if peak else mixed


def far(pcm: Signal, luck: np.random.Generator) -> Signal:
    """From the other end of a room: an echo that decays, and quieter; as long as before."""
    length = round(ROOM_SECONDS * SAMPLE_RATE)
    decay = 10 ** (-3 * np.arange(length) / length)
    room = luck.standard_normal(length) * decay
    room *= np.sqrt(10 ** (ROOM_DB / 10) / (room**2).sum())
    room[0] += 1.0
    size = _power_of_two(len(pcm) + length)
    heard = np.fft.irfft(np.fft.rfft(pcm, size) * np.fft.rfft(room, size), size)[: len(pcm)]
    result: Signal = heard * np.sqrt(speech_power(pcm) / speech_power(heard)) * 10 ** (FAR_DB / 20)
    return result


def clipped(pcm: Signal) -> Signal:
    """Too loud for the converter: flat at full scale."""
    peak = float(np.abs(pcm).max())
    result: Signal = np.clip(pcm * (32767 / peak) * 10 ** (CLIP_DB / 20), -32768, 32767)
    return result


def _power_of_two(count: int) -> int:
    """The next one, which Fourier transforms are quick with."""
    return 1 << (count - 1).bit_length()


@lru_cache(maxsize=2)
def _noise_of(seed: int, count: int) -> Signal:
    """A clip's car noise: three conditions have the same."""
    return car_noise(count, np.random.default_rng(seed))


def _car(snr_db: float) -> Callable[[Signal, int], Signal]:
    return lambda pcm, seed: with_noise(pcm, _noise_of(seed, len(pcm)), snr_db)


#: Every condition by its name, the clip as it comes first.
CONDITIONS: dict[str, Callable[[Signal, int], Signal]] = {
    "clean": lambda pcm, _: pcm,
    "-5 dB": lambda pcm, _: pcm * 10 ** (-5 / 20),
    "-20 dB": lambda pcm, _: pcm * 10 ** (-20 / 20),
    "car 20 dB": _car(20),
    "car 10 dB": _car(10),
    "car 5 dB": _car(5),
    "far": lambda pcm, seed: far(pcm, np.random.default_rng(seed)),
    "clipped": lambda pcm, _: clipped(pcm),
}


def under(condition: str, name: str, pcm: Int16Samples) -> Int16Samples:
    """The clip `name` under a condition: int16, as long as before.

    Raises:
        ValueError: there is nothing in the clip.
    """
    if not pcm.any():
        raise ValueError(f"{name} is silent")
    # Noise of the same clip at another level is the same noise.
    kind = condition.split(maxsplit=1)[0]
    seed = int.from_bytes(hashlib.sha256(f"{kind} {name}".encode()).digest()[:8], "little")
    changed = CONDITIONS[condition](pcm.astype(np.float64), seed)
    return np.clip(np.rint(changed), -32768, 32767).astype(np.int16)
