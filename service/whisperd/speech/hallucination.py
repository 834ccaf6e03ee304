"""Segments that were probably made up in a silence, by how long their words last and how probable they are. Pure.

Follows openai/whisper, transcribe.py (`hallucination_silence_threshold`). It is a client's choice: the guards
(`guards.py`) judge whole windows, by the voice in them, and need no times of words.
"""

from __future__ import annotations

import string
from collections.abc import Sequence
from dataclasses import dataclass

from .coverage import LEAST_ADVANCE_S
from .options import APPENDED, PREPENDED
from .types import Segment, Word

#: A word is odd that is less probable, or shorter, or longer than this (seconds).
IMPROBABLE, SHORT_S, LONG_S = 0.15, 0.133, 2.0
#: How much oddness a word gains with each second that it is too short.
PER_SHORT_S = 15.0
#: Of a segment, so many words are looked at, and so much oddness in all of them makes it one that was made up; or
#: about 1 for each word.
WORDS, ODD, SLACK = 8, 3.0, 0.01
#: So near to a window's start or end, nobody knows whether there is a silence: as if there were.
EDGE_S = 2.0

_MARKS = frozenset(PREPENDED + APPENDED + string.punctuation)


@dataclass(frozen=True)
class Passed:
    """How much of a window stands, and where to go on. Seconds are the clip's.

    Attributes:
        segments: the first so many stand.
        following_s: where the next window begins.
    """

    segments: int
    following_s: float


def pass_over(
    segments: Sequence[Segment],
    threshold_s: float,
    *,
    begin_s: float,
    end_s: float,
    stop_s: float,
    spoken_until_s: float,
) -> Passed | None:
    """Where a window holds something that was made up in a silence, what is done with it; None: nothing is.

    Args:
        segments: of the window, in order, with their words.
        threshold_s: what is a silence.
        begin_s, end_s: the window.
        stop_s: where what is to be decoded ends.
        spoken_until_s: where the last word before the window ended.
    """
    told = [segment for segment in segments if segment.words]
    if told and is_odd(told[0]) and told[0].start_s - begin_s > threshold_s:
        # It has been heard into the silence before it, or is nothing at all: once more, without that silence.
        return Passed(0, max(told[0].start_s, begin_s + LEAST_ADVANCE_S))
    before_s = spoken_until_s
    for count, segment in enumerate(segments):
        if not segment.words:
            continue
        if is_odd(segment):
            following = next((later for later in segments[count + 1 :] if later.words), None)
            start_s, last_s = segment.start_s, segment.end_s
            next_s = end_s if following is None else following.start_s
            silent_before = start_s - before_s > threshold_s or start_s < threshold_s or start_s - begin_s < EDGE_S
            silent_behind = (
                next_s - last_s > threshold_s
                or (following is not None and is_odd(following))
                or end_s - last_s < EDGE_S
            )
            if silent_before and silent_behind:
                # Too little is left behind it for anything that is worth a window.
                rest = stop_s - last_s < threshold_s
                return Passed(count, stop_s if rest else max(start_s, begin_s + LEAST_ADVANCE_S))
        before_s = segment.end_s
    return None


def is_odd(segment: Segment) -> bool:
    """Whether a segment's first words are such as nobody says."""
    words = [word for word in segment.words if word.text.strip() not in _MARKS][:WORDS]
    odd = sum(map(oddness, words))
    return bool(words) and (odd >= ODD or odd + SLACK >= len(words))


def oddness(word: Word) -> float:
    """0 for a word as it is said."""
    seconds = word.end_s - word.start_s
    return (
        float(word.probability < IMPROBABLE)
        + max(0.0, SHORT_S - seconds) * PER_SHORT_S
        + max(0.0, seconds - LONG_S)
    )
