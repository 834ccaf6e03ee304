"""More that is no speech, as it is heard in a car and made of formulas: what a recogniser must not find words in.

`MORE_NOISES` adds to `noises.NOISES` what is harder: sounds with the rhythm, the pitch or the formants of a voice.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import numpy.typing as npt
from noises import NOISES, RATE, Samples, coloured, noise_of, sine

#: Row and column tones of a telephone's keys in Hz.
_DTMF = ((697, 770, 852, 941), (1209, 1336, 1477))


def _normal(samples: Samples, peak: float) -> Samples:
    return samples * (peak / max(float(np.abs(samples).max(initial=0.0)), 1e-9))


def _time(seconds: float) -> Samples:
    return np.arange(round(seconds * RATE)) / RATE


def _mixed(seconds: float, sounds: Sequence[tuple[float, Samples]], background: Samples | None = None) -> Samples:
    """Sounds at their times in seconds, over a background."""
    out = np.zeros(round(seconds * RATE))
    if background is not None:
        out += background
    for at, sound in sounds:
        start = round(at * RATE)
        piece = sound[: max(0, len(out) - start)]
        out[start : start + len(piece)] += piece
    return out


def _band(samples: Samples, low: float, high: float) -> Samples:
    """What of `samples` lies between two frequencies in Hz, with soft edges."""
    hertz = np.fft.rfftfreq(len(samples), 1 / RATE)
    shape = 1 / (1 + (low / np.maximum(hertz, 1e-3)) ** 6) / (1 + (hertz / high) ** 6)
    return np.asarray(np.fft.irfft(np.fft.rfft(samples) * shape, len(samples)))


def _burst(seconds: float, low: float, high: float, decay_s: float, seed: int, attack_s: float = 0.002) -> Samples:
    """Noise between two frequencies that comes suddenly and dies away."""
    time = _time(seconds)
    raw = _band(np.random.default_rng(seed).standard_normal(len(time)), low, high)
    return _normal(raw * np.minimum(time / attack_s, 1) * np.exp(-time / decay_s), 1.0)


def engine(seconds: float) -> Samples:
    """A car under way: road, wind, and an engine of four cylinders that speeds up and slows down."""
    time = _time(seconds)
    turns = 2 * np.pi * np.cumsum(30 + 12 * np.sin(2 * np.pi * time / 7)) / RATE
    motor = sum(
        (np.sin(order * turns) / order for order in (1, 2, 3, 4, 6, 8, 10, 12)),
        np.zeros(len(time)),
    )
    gusts = 1 + 0.4 * np.sin(2 * np.pi * time / 2.3)
    road = _normal(coloured(seconds, 0.9, 20), 1.0)[: len(time)]
    wind = _normal(_band(coloured(seconds, 0.0, 21), 300, 3000), 0.25)[: len(time)] * gusts
    return _normal(0.2 * motor + _padded(road, len(time)) + _padded(wind, len(time)), 0.5)


def _padded(samples: Samples, count: int) -> Samples:
    return np.pad(samples, (0, count - len(samples)))


def _sweep(seconds: float) -> Samples:
    """Up from 100 Hz to 4 kHz every two seconds, as a siren does."""
    time = _time(seconds)
    hertz = 100 * 40 ** ((time % 2) / 2)
    return 0.3 * np.sin(2 * np.pi * np.cumsum(hertz) / RATE)


def _siren(seconds: float) -> Samples:
    """Two tones in turn, with overtones."""
    time = _time(seconds)
    hertz = np.where(time % 1.4 < 0.7, 435, 580)
    phase = 2 * np.pi * np.cumsum(hertz) / RATE
    return 0.3 * (np.sin(phase) + 0.5 * np.sin(2 * phase) + 0.3 * np.sin(3 * phase))


def _keys(seconds: float) -> Samples:
    """A telephone number being dialled."""
    random = np.random.default_rng(22)
    sounds = []
    for at in np.arange(0.1, seconds, 0.25):
        row, column = _DTMF[0][random.integers(4)], _DTMF[1][random.integers(3)]
        sounds.append((float(at), 0.25 * (sine(0.12, row) + sine(0.12, column))))
    return _mixed(seconds, sounds)


def _ringing(seconds: float) -> Samples:
    """A telephone: 425 Hz for a second, four of silence."""
    time = _time(seconds)
    return 0.3 * np.sin(2 * np.pi * 425 * time) * (time % 5 < 1)


def _warble(seconds: float) -> Samples:
    """A ring tone: two notes at 15 a second with overtones."""
    time = _time(seconds)
    phase = 2 * np.pi * np.cumsum(np.where((time * 15).astype(int) % 2, 750, 950)) / RATE
    return 0.3 * sum((np.sin(k * phase) / k for k in (1, 2, 3)), np.zeros(len(time))) * (time % 3 < 2)


def band(seconds: float) -> Samples:
    """Music: chords of an organ with beats, a bass, a melody of plucked strings, and drums, 100 to the minute."""
    random, beat = np.random.default_rng(23), 0.6
    sounds: list[tuple[float, Samples]] = []
    for number, at in enumerate(np.arange(0.0, seconds, beat)):
        root = 110 * 2 ** ([0, 5, 7, 3][number // 4 % 4] / 12)
        if number % 4 == 0:
            chord = sum(
                (
                    sine(4 * beat, root * 2 * ratio * detune) / 6
                    for ratio in (1, 1.26, 1.5)
                    for detune in (1, 1.004, 2.003)
                ),
                np.zeros(round(4 * beat * RATE)),
            )
            sounds.append((float(at), 0.5 * chord))
        bass = sum((sine(beat, root / 2 * k) / k**2 for k in range(1, 6)), np.zeros(round(beat * RATE)))
        sounds.append((float(at), 0.6 * bass * np.exp(-2 * _time(beat))))
        for half in (0.0, beat / 2):
            pitch = root * 4 * 2 ** (random.choice([0, 2, 4, 7, 9, 12]) / 12)
            note = sum((sine(0.4, pitch * k) / k for k in range(1, 7)), np.zeros(round(0.4 * RATE)))
            sounds.append((float(at) + half, 0.25 * note * np.exp(-7 * _time(0.4))))
        time = _time(0.25)
        kick = np.sin(2 * np.pi * np.cumsum(45 + 90 * np.exp(-30 * time)) / RATE) * np.exp(-14 * time)
        snare = _burst(0.25, 200, 7000, 0.06, int(number))
        sounds.append((float(at), 0.9 * kick if number % 2 == 0 else 0.5 * snare))
        sounds.append((float(at) + beat / 2, 0.2 * _burst(0.1, 5000, 7900, 0.02, 900 + int(number))))
    return _normal(_mixed(seconds, sounds), 0.6)


def _vowels(seconds: float) -> Samples:
    """A pulse train through the formants of vowels, one held note after the other, as of a choir."""
    time, out = _time(seconds), np.zeros(round(seconds * RATE))
    for number, at in enumerate(np.arange(0.0, seconds, 1.5)):
        here = (time >= at) & (time < at + 1.3)
        pitch = 130 * 2 ** ([0, 4, 7, 5][number % 4] / 12)
        formants = [(700, 1100), (400, 2000), (450, 800)][number % 3]
        for k in range(1, int(4000 / pitch)):
            gain = sum(np.exp(-(((k * pitch - formant) / 150) ** 2)) for formant in formants) + 0.02
            out[here] += gain * np.sin(2 * np.pi * k * pitch * time[here])
    return _normal(out, 0.5)


def _slams(seconds: float) -> Samples:
    """Doors: a low thud, the rattle after it, and the latch before; every 1.7 s."""
    sounds = []
    for number, at in enumerate(np.arange(0.3, seconds, 1.7)):
        thud = np.sin(2 * np.pi * 70 * _time(0.3)) * np.exp(-_time(0.3) / 0.05)
        sounds.append((float(at), 0.9 * thud))
        sounds.append((float(at), 0.7 * _burst(0.4, 80, 1500, 0.04, 30 + number)))
        sounds.append((float(at) - 0.06, 0.3 * _burst(0.05, 1000, 6000, 0.008, 60 + number)))
    return _mixed(seconds, sounds, 0.0005 * _padded(coloured(seconds, 0.5, 24), round(seconds * RATE)))


def _wiper(seconds: float) -> Samples:
    """A wiper: a rubbing that swells and ends in a thump, 50 to the minute, in the noise of rain."""
    sounds = []
    for number, at in enumerate(np.arange(0.1, seconds, 0.6)):
        time = _time(0.45)
        rub = _band(np.random.default_rng(100 + number).standard_normal(len(time)), 400, 2500)
        squeak = 0.4 * np.sin(2 * np.pi * np.cumsum(500 + 250 * np.sin(np.pi * time / 0.45)) / RATE)
        swell = np.sin(np.pi * time / 0.45) ** 2
        sounds.append((float(at), _normal((rub + squeak) * swell, 0.4)))
        sounds.append((float(at) + 0.45, 0.5 * _burst(0.1, 60, 300, 0.02, 200 + number)))
    rain = _normal(_padded(coloured(seconds, 0.2, 25), round(seconds * RATE)), 0.08)
    return _mixed(seconds, sounds, rain)


def _indicator(seconds: float) -> Samples:
    """A relay that ticks and tocks, 90 to the minute."""
    sounds = []
    for number, at in enumerate(np.arange(0.1, seconds, 0.333)):
        low, high = (1500, 6000) if number % 2 else (900, 4000)
        sounds.append((float(at), 0.5 * _burst(0.05, low, high, 0.006, 300 + number % 2)))
    return _mixed(seconds, sounds, 0.001 * _padded(coloured(seconds, 0.5, 26), round(seconds * RATE)))


def _typing(seconds: float) -> Samples:
    """Keys of a keyboard: seven a second, none like the other."""
    random = np.random.default_rng(27)
    sounds, at = [], 0.05
    while at < seconds:
        sounds.append((at, random.uniform(0.2, 0.6) * _burst(0.06, 800, 7000, 0.008, int(at * 1000))))
        at += float(random.uniform(0.06, 0.25))
    return _mixed(seconds, sounds)


def _breathing(seconds: float) -> Samples:
    """In and out through nose and mouth, close to the microphone."""
    time = _time(seconds)
    raw = np.random.default_rng(28).standard_normal(len(time))
    inward, outward = _band(raw, 800, 5000), _band(raw, 300, 2500)
    phase = (time % 3.2) / 3.2
    shape_in = np.clip(np.sin(np.pi * phase / 0.4), 0, 1) * (phase < 0.4)
    shape_out = np.clip(np.sin(np.pi * (phase - 0.5) / 0.45), 0, 1) * ((phase > 0.5) & (phase < 0.95))
    return _normal(0.7 * inward * shape_in + outward * shape_out, 0.3)


def _coughing(seconds: float) -> Samples:
    """Two bursts with the resonances of a throat, then quiet, every 2.5 s."""
    sounds = []
    for number, at in enumerate(np.arange(0.3, seconds, 2.5)):
        for second, gain in ((0.0, 1.0), (0.35, 0.7)):
            seed = 400 + 2 * number + round(second)
            wide = _burst(0.3, 200, 6000, 0.05, seed, attack_s=0.01)
            throat = _burst(0.3, 500, 1600, 0.08, seed + 50, attack_s=0.01)
            sounds.append((float(at) + second, gain * (0.4 * wide + 0.5 * throat)))
    return _mixed(seconds, sounds)


def _tone(hertz: float) -> Callable[[float], Samples]:
    return lambda seconds: 0.3 * sine(seconds, hertz)


MORE_NOISES: dict[str, Callable[[float], Samples]] = {
    "white": lambda seconds: _normal(coloured(seconds, 0.0, 31), 0.9),
    "pink": lambda seconds: _normal(coloured(seconds, 0.5, 32), 0.9),
    "brown": lambda seconds: _normal(coloured(seconds, 1.0, 33), 0.9),
    "engine": engine,
    "mains hum": lambda seconds: (
        0.3 * sum((sine(seconds, 50 * k) / k for k in (1, 2, 3, 5)), 0 * sine(seconds, 50))
    ),
    "tone 200": _tone(200.0),
    "tone 1000": _tone(1000.0),
    "tone 3000": _tone(3000.0),
    "sweep": _sweep,
    "siren": _siren,
    "keys of a telephone": _keys,
    "ringing": _ringing,
    "ring tone": _warble,
    "band": band,
    "vowels": _vowels,
    "slams": _slams,
    "wiper": _wiper,
    "indicator": _indicator,
    "typing": _typing,
    "breathing": _breathing,
    "coughing": _coughing,
}

EVERY_NOISE = {**NOISES, **MORE_NOISES}


def any_noise(name: str, seconds: float, decibel: float = 0.0) -> npt.NDArray[np.int16]:
    """int16[n] of one of `EVERY_NOISE`, made louder by `decibel`."""
    return noise_of(EVERY_NOISE[name](seconds) * 10 ** (decibel / 20))
