"""Segments of a window's decoding, and where the next window begins: the reference's seek logic. Pure.

Follows openai/whisper, transcribe.py. A window's tokens are text between times, <|0.00|> Hello there.<|2.40|>;
where two times meet, a segment has ended and another has begun. If the window ends within a segment, the next
window begins with that segment.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from .rules import TIMESTAMP_S


@dataclass(frozen=True)
class Slice:
    """One segment of a window: seconds from the window's start, and the text's tokens."""

    start_s: float
    end_s: float
    tokens: tuple[int, ...]


def slices(
    sequence: Sequence[int], timestamp_begin: int, seconds: float, *, all_of_it: bool = False
) -> tuple[list[Slice], float | None]:
    """The segments of a decoding with times.

    Args:
        sequence: text and time tokens, without the end of text.
        seconds: length of the window; no time lies behind it.
        all_of_it: with a last segment that has no end, which the reference leaves to the next window.

    Returns:
        The segments that have text; and where the next window has to begin for the text to go on, or None: at the
        end of this one.
    """

    def at(token: int) -> float:
        return min((token - timestamp_begin) * TIMESTAMP_S, seconds)

    times = [token >= timestamp_begin for token in sequence]
    cuts = [i for i in range(1, len(sequence)) if times[i] and times[i - 1]]
    ends_alone = len(times) > 1 and times[-1] and not times[-2]
    found: list[Slice] = []
    if cuts:
        bounds = [0, *cuts, len(sequence)] if ends_alone or all_of_it else [0, *cuts]
        for begin, end in zip(bounds, bounds[1:], strict=False):
            part = sequence[begin:end]
            marks = [token for token in part if token >= timestamp_begin]
            text = tuple(token for token in part if token < timestamp_begin)
            if text:
                until = at(part[-1]) if part[-1] >= timestamp_begin else seconds
                found.append(Slice(at(marks[0]), max(at(marks[0]), until), text))
        return found, None if ends_alone or all_of_it else at(sequence[cuts[-1] - 1])
    text = tuple(token for token in sequence if token < timestamp_begin)
    if text:
        first = at(sequence[0]) if times[0] else 0.0
        last = next((at(token) for token in reversed(sequence) if token >= timestamp_begin), None)
        until = last if last is not None and last > first else seconds
        found.append(Slice(first, until, text))
    return found, None


def cut(parts: Sequence[Slice], tokens: int) -> list[Slice]:
    """Only the first so many tokens of segments."""
    kept: list[Slice] = []
    for part in parts:
        if tokens <= 0:
            break
        kept.append(Slice(part.start_s, part.end_s, part.tokens[:tokens]))
        tokens -= len(part.tokens)
    return kept
