"""The audio that a connection sends, while it comes, and the memory that all of it may take. Pure."""

from __future__ import annotations

import numpy as np

from .audio.pcm import SAMPLE_RATE, PcmConverter, PcmFormat
from .errors import AudioTooLong, BadAudio, QueueFull
from .speech.types import Int16Samples


class Budget:
    """Samples of audio, at 16 kHz, that all connections of a daemon may hold together."""

    def __init__(self, seconds: float) -> None:
        self._samples = round(seconds * SAMPLE_RATE)
        self._held = 0

    @property
    def held_s(self) -> float:
        """Seconds of audio held now."""
        return self._held / SAMPLE_RATE

    def resize(self, seconds: float) -> None:
        """Change the bound. What is held stays, also where it is more than the new one."""
        self._samples = round(seconds * SAMPLE_RATE)

    def take(self, samples: int) -> None:
        """Take a share; raises QueueFull where not so much is left."""
        if self._held + samples > self._samples:
            raise QueueFull(f"{self._samples / SAMPLE_RATE:g} s of audio are waiting already")
        self._held += samples

    def give(self, samples: int) -> None:
        """Give a share back."""
        self._held -= samples


class Clip:
    """One clip in the making: chunks of any format in, int16 16 kHz mono out. Its samples are in the budget."""

    def __init__(self, fmt: PcmFormat, budget: Budget, max_seconds: float) -> None:
        self.format = fmt
        self._budget = budget
        self._max_seconds = max_seconds
        self._frames = 0
        self._converter = PcmConverter(fmt)
        # One growing buffer and not a list of chunks: a client that sends a sample at a time would have an
        # object of a hundred bytes held for each, and joining a list takes the clip's memory twice.
        self._samples = bytearray()
        self._followed = 0

    @property
    def seconds(self) -> float:
        """Length so far."""
        return self._frames / self.format.rate

    def append(self, payload: bytes) -> None:
        """Add the samples of one chunk.

        Raises:
            BadPayload: the chunk is not a whole number of frames.
            AudioTooLong: the clip would be longer than it may be.
            QueueFull: the budget is used up.
        """
        frames = self.format.frames_of(payload)
        # Counted in the client's frames: "exactly the limit" then does not depend on how a resampler rounds.
        if self._frames + frames > self._max_seconds * self.format.rate:
            raise AudioTooLong(f"the clip is longer than {self._max_seconds:g} s")
        self._frames += frames
        self._hold(self._converter.push(payload))

    def new_samples(self) -> Int16Samples:
        """A copy of the samples since the last call, int16[n]."""
        begin, self._followed = self._followed, len(self._samples)
        return np.frombuffer(self._samples[begin:], dtype=np.int16)

    def finish(self) -> Int16Samples:
        """The whole clip, int16[n]; who takes it also takes over its share of the budget.

        Raises:
            BadAudio: there are no samples.
            QueueFull: the budget is used up.
        """
        self._hold(self._converter.flush())
        if not self._samples:
            raise BadAudio("the clip has no samples")
        return np.frombuffer(self._samples, dtype=np.int16)

    def drop(self) -> None:
        """Give the budget back what the clip holds."""
        self._budget.give(len(self._samples) // 2)
        self._samples = bytearray()

    def _hold(self, samples: Int16Samples) -> None:
        self._budget.take(len(samples))
        self._samples += samples.tobytes()
