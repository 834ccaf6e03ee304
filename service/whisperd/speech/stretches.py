"""Stretches of a clip with a voice in them, of the detector's probabilities. Pure.

Follows Silero's `get_speech_timestamps`, as faster-whisper has it: a voice begins where it is probable, and ends
in a pause that is long enough; each stretch keeps a margin on both sides.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from .features import SAMPLE_RATE
from .options import Options
from .vad import FRAME

#: A voice lasts while its probability is not so much below what it began with.
HYSTERESIS = 0.15
LEAST_PROBABILITY = 0.01


@dataclass(frozen=True)
class Voices:
    """What counts as a stretch with a voice; lengths in samples.

    Attributes:
        enter, leave: probabilities with which a voice begins, and below which it ends.
        speech: shorter voices are none.
        silence: a shorter pause does not end a voice.
        pad: margin before and behind.
    """

    enter: float
    leave: float
    speech: int
    silence: int
    pad: int

    @classmethod
    def of(cls, options: Options) -> Voices:
        """As a client wants it."""

        def samples(milliseconds: int) -> int:
            return milliseconds * SAMPLE_RATE // 1000

        return cls(
            options.vad_threshold,
            max(options.vad_threshold - HYSTERESIS, LEAST_PROBABILITY),
            samples(options.vad_min_speech_duration_ms),
            samples(options.vad_min_silence_duration_ms),
            samples(options.vad_speech_pad_ms),
        )


def stretches(probabilities: Iterable[float], voices: Voices, length: int) -> list[tuple[int, int]]:
    """Starts and ends in samples, in order; they do not overlap.

    Args:
        probabilities: of each frame of a clip; the last may be cut off by its end.
        length: of the clip, in samples.
    """
    spans: list[tuple[int, int]] = []
    begun: int | None = None
    paused: int | None = None
    at = 0
    for at, probability in enumerate(probabilities):
        if probability >= voices.enter:
            begun, paused = at if begun is None else begun, None
        elif begun is not None and (probability < voices.leave or paused is not None):
            # Between the two, a pause that has begun goes on: only a voice ends it.
            paused = at if paused is None else paused
            if (at + 1 - paused) * FRAME >= voices.silence:
                spans.append((begun, paused))
                begun = paused = None
    if begun is not None:
        spans.append((begun, at + 1 if paused is None else paused))
    found: list[tuple[int, int]] = []
    for first, last in spans:
        start, end = first * FRAME, min(last * FRAME, length)
        if end - start >= max(voices.speech, 1):
            found.append((start, end))
    return _padded(found, voices.pad, length)


def _padded(spans: list[tuple[int, int]], pad: int, length: int) -> list[tuple[int, int]]:
    """Each with its margins; where two would overlap, they share the pause between them."""
    found: list[tuple[int, int]] = []
    for count, (start, end) in enumerate(spans):
        before = 0 if count == 0 else (spans[count - 1][1] + start + 1) // 2
        behind = length if count + 1 == len(spans) else (end + spans[count + 1][0] + 1) // 2
        found.append((max(start - pad, before), min(end + pad, behind)))
    return found
