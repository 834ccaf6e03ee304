"""The last minute of a stream, by position. Pure."""

from __future__ import annotations

import numpy as np

from .pcm import SAMPLE_RATE, Int16Samples

RING_S = 60.0
"""Seconds of audio that a stream keeps: the longest utterance, and what is said while the worker is busy."""


class Ring:
    """Keeps the newest samples of a stream and forgets the oldest. Positions count from the stream's first sample.

    Args:
        seconds: how much is kept, at 16 kHz.
    """

    def __init__(self, seconds: float = RING_S) -> None:
        self._samples = np.zeros(round(seconds * SAMPLE_RATE), np.int16)
        self._end = 0

    @property
    def begin(self) -> int:
        """Position of the oldest sample that is there."""
        return max(0, self._end - len(self._samples))

    @property
    def end(self) -> int:
        """Position behind the newest."""
        return self._end

    def write(self, pcm: Int16Samples) -> None:
        """Append int16[n]; more than the ring holds leaves only the last of it."""
        kept = pcm[-len(self._samples) :]
        self._end += len(pcm)
        at = (self._end - len(kept)) % len(self._samples)
        first = min(len(kept), len(self._samples) - at)
        self._samples[at : at + first] = kept[:first]
        self._samples[: len(kept) - first] = kept[first:]

    def read(self, start: int, end: int) -> Int16Samples:
        """A copy of the samples from `start` up to `end`.

        Raises:
            ValueError: they are not there, or not any more.
        """
        if not self.begin <= start <= end <= self._end:
            raise ValueError(f"samples {start} to {end} are not within {self.begin} to {self._end}")
        size = len(self._samples)
        first = self._samples[start % size :][: end - start]
        return np.concatenate([first, self._samples[: end - start - len(first)]])
