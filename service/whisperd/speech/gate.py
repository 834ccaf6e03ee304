"""Is this frame louder than the noise? A few microseconds of numpy, asked before the network is.

A car is never silent, and most of the time nobody speaks in it. The gate learns how loud the noise is in three
bands of the voice, and shuts while nothing rises above that: the road's rumble lies below them, and a voice that
is lost in one band still stands out in another.
"""

from __future__ import annotations

from collections import deque
from typing import Protocol

import numpy as np

from .features import SAMPLE_RATE
from .types import Float32Array, Int16Samples
from .vad import CONTEXT, FRAME, VOICE_FRAMES, VoiceDetector

#: Edges of the bands in Hz: fundamental and first formant, second formant, and the hiss of consonants.
BANDS_HZ = (120, 600, 1800, 6000)
#: No level is below this (dB to full scale): rounding noise of 16 bit lies at -98.
QUIETEST_DB = -95.0
#: A frame is loud that is so far above the floor in one band: a constant, or a multiple of the noise's own spread.
MARGIN_DB, _SPREADS = 4.0, 4.0
#: Before so many frames of noise are known (0.5 s), everything is loud.
_FEWEST = 16
#: Frames over whose median the floor follows noise that falls: a quarter of a second.
_RECENT = 16
#: Frames between two looks at what has been learnt, which cost as much as the network's answer.
_EVERY = 4

#: A voice begins with so much probability, and goes on with so much.
ENTER, LEAVE = 0.5, 0.35

#: Frames that the gate stays open after the last loud one (0.5 s): words end softly.
_HOLD = 15
#: Frames that the network is first given when the gate opens (0.3 s): its state is then as if it always ran.
WARM_UP = 9
#: The network was trained on speech of usual loudness: the loudest sample lately is raised to this, by at most
#: 30 dB.
_PEAK, _MAX_GAIN = 0.5, 31.6
#: "Lately": what was loud is forgotten by 0.5 dB a second.
_FORGET = 0.998

#: Without the network: dB above the gate's margin at which a voice begins; it goes on down to the margin.
_ENERGY_ENTER_DB = 3.0
#: And frames for which it may fall silent between sounds.
_DIP = 2


class Scorer(Protocol):
    """Tells frame by frame whether somebody speaks."""

    #: Frames in a row of at least `ENTER` that make a voice certain.
    certain: int
    #: Whether the newest frame was louder than the noise.
    loud: bool

    def score(self, frame: Int16Samples, speaking: bool) -> list[float]:
        """Probabilities 0 to 1 that somebody speaks, of the newest frames that are known better now.

        Args:
            frame: int16[512], the next.
            speaking: whether an utterance is under way.

        Returns:
            At least one number; the last is of `frame`, the one before of the frame before.
        """


class NoiseFloor:
    """The level of the noise in each band, and how far a frame rises above it.

    Args:
        frames: how many are remembered.
        quantile: of the levels remembered, the one that is taken for noise.
    """

    def __init__(self, frames: int = 96, quantile: float = 0.4) -> None:
        edges = [round(hertz * FRAME / SAMPLE_RATE) for hertz in BANDS_HZ]
        self._bins = slice(edges[0], edges[-1])
        self._starts = np.array(edges[:-1]) - edges[0]
        window = np.hanning(FRAME)
        # A sine of full scale has about 0 dB, in whatever band it is: its power is spread over 1.5 bins.
        self._window = (window / (32768 * window.sum() / 2 * np.sqrt(1.5))).astype(np.float32)
        self._quantile = quantile
        self._known = np.zeros((frames, len(self._starts)), np.float32)  # a ring
        self._learnt = 0
        self._threshold = np.zeros(len(self._starts), np.float32)

    def levels(self, frame: Int16Samples) -> Float32Array:
        """float32[bands] of int16[512]: dB to a sine of full scale, at least `QUIETEST_DB`."""
        spectrum = np.fft.rfft(frame * self._window)[self._bins]
        power = np.add.reduceat(np.square(spectrum.real) + np.square(spectrum.imag), self._starts)
        levels: Float32Array = np.maximum(10 * np.log10(power + 1e-12), QUIETEST_DB).astype(np.float32)
        return levels

    def above(self, levels: Float32Array) -> float:
        """dB by which a frame exceeds what noise reaches, in the band where that is most."""
        return float((levels - self._threshold).max()) if self._learnt >= _FEWEST else np.inf

    def learn(self, levels: Float32Array) -> None:
        """Take a frame for noise."""
        size = len(self._known)
        self._known[self._learnt % size] = levels
        self._learnt += 1
        if self._learnt < _FEWEST or self._learnt % _EVERY:
            return
        newest = np.arange(self._learnt - _RECENT, self._learnt) % size
        recent = np.sort(self._known[newest], axis=0)[_RECENT // 2]
        known = np.sort(self._known[: self._learnt], axis=0)
        typical = known[int(self._quantile * len(known))]
        spread = typical - known[int(self._quantile / 4 * len(known))]
        self._threshold = np.minimum(typical, recent) + np.maximum(MARGIN_DB, _SPREADS * spread)


class GatedDetector:
    """The network behind the gate, with the gain that quiet speech needs.

    Attributes:
        runs: how often the network ran.
    """

    certain = VOICE_FRAMES

    def __init__(self, voice: VoiceDetector) -> None:
        self._voice = voice
        self._floor = NoiseFloor()
        self._peak = 1.0
        self._open = 0
        self._kept: deque[Int16Samples] = deque([np.zeros(FRAME, np.int16)], maxlen=WARM_UP + 1)
        self._window = np.zeros(CONTEXT + FRAME, np.float32)
        self._state = voice.silence()
        self.loud = False
        self.runs = 0

    def score(self, frame: Int16Samples, speaking: bool) -> list[float]:
        """See `Scorer`. Nothing is asked of the network, and the answer is 0, while the gate is shut."""
        self._peak = max(_loudest(frame), self._peak * _FORGET)
        self._kept.append(frame)
        levels = self._floor.levels(frame)
        was_open = self._open > 0
        self.loud = self._floor.above(levels) > 0
        self._open = _HOLD if self.loud or speaking else max(0, self._open - 1)
        if not self._open:
            self._floor.learn(levels)
            return [0.0]
        if was_open:
            scores = [self._ask(frame)]
        else:
            self._state = self._voice.silence()
            self._window[:] = 0
            scores = [self._ask(kept) for kept in self._kept]
        if scores[-1] < LEAVE:
            self._floor.learn(levels)
        return scores

    def _ask(self, frame: Int16Samples) -> float:
        gain = np.float32(min(_PEAK / self._peak, _MAX_GAIN / 32768))
        self._window[:CONTEXT] = self._window[-CONTEXT:]
        self._window[CONTEXT:] = frame * gain
        self.runs += 1
        probability, self._state = self._voice.probability(self._window, self._state)
        return probability


class EnergyDetector:
    """Loudness alone, where there is no network: everything that is louder than the noise for long is a voice."""

    #: A door's slam is over before (0.32 s).
    certain = 10

    def __init__(self) -> None:
        # Voices are in it, so it looks back further and for the quieter: between words there is always noise.
        self._floor = NoiseFloor(frames=320, quantile=0.15)
        self._lately: deque[float] = deque(maxlen=_DIP + 1)
        self.loud = False

    def score(self, frame: Int16Samples, speaking: bool) -> list[float]:
        """See `Scorer`."""
        levels = self._floor.levels(frame)
        above = self._floor.above(levels)
        self._floor.learn(levels)
        self.loud = above > 0
        if not np.isfinite(above):
            return [0.0]
        self._lately.append(above)
        return [min(1.0, max(0.0, LEAVE + (ENTER - LEAVE) * max(self._lately) / _ENERGY_ENTER_DB))]


def _loudest(frame: Int16Samples) -> float:
    return float(max(int(frame.max()), -int(frame.min()), 1))
