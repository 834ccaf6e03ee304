"""The options of one piece of a recording: what holds of the whole, as it holds of a part. Pure."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from whisperd.audio.pieces import prompt_of, within


@dataclass(frozen=True)
class Answer:
    """What the next pieces are to know of one that has been answered.

    Attributes:
        language: a code; None where the answer names none.
        detected: whether it was chosen among several.
        temperature: of the search that found its end.
    """

    text: str
    language: str | None
    detected: bool
    temperature: float


def changes(
    option: Callable[[str], Any], start_s: float, end_s: float, before: Sequence[Answer], *, later: bool
) -> dict[str, Any] | None:
    """What is chosen otherwise for a piece than for the whole; None: nothing of it is wanted.

    A language that was detected in the first piece with text is that of the others, unless `multilingual` is
    chosen. A prefix is the first piece's; an initial prompt is every piece's, if the text so far is not: it is not
    where the prompt is to be carried, so that a piece then begins without the text before it.

    Args:
        option: gives what is chosen for the whole, by name.
        start_s, end_s: the piece.
        before: the answers to the pieces before that were wanted, in order.
        later: whether there is a piece before, wanted or not: the recording is then long, and has times.
    """
    found: dict[str, Any] = {}
    if times := option("clip_timestamps"):
        found["clip_timestamps"] = tuple(within(times, start_s, end_s))
        if not found["clip_timestamps"]:
            return None
    if later and option("without_timestamps") is None:
        found["without_timestamps"] = False
    if not before:
        return found
    found["prefix"] = None
    spoken = [answer for answer in before if answer.text]
    if not spoken:
        return found
    if spoken[0].detected and not option("multilingual"):
        found["language"] = spoken[0].language
    cool = spoken[-1].temperature <= option("prompt_reset_on_temperature")
    if option("condition_on_previous_text") and cool and not option("carry_initial_prompt"):
        found["initial_prompt"] = prompt_of((answer.text, answer.language) for answer in spoken)
    return found
