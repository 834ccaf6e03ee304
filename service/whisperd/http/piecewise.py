"""The options of one piece of a recording: what holds of the whole, as it holds of a part. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from ..audio.pieces import prompt_of, within
from ..speech.options import Options
from ..speech.types import Transcription


def options_of_piece(
    options: Options, start_s: float, end_s: float, before: Sequence[Transcription], *, later: bool
) -> Options | None:
    """What is chosen for a piece that lies between two times of the recording; None: nothing of it is wanted.

    A language that was detected in the first piece with text is that of the others, unless `multilingual` is
    chosen. A prefix is the first piece's; an initial prompt is every piece's, if the text so far is not: it is not
    where the prompt is to be carried, so that a piece then begins without the text before it.

    Args:
        before: the transcriptions of the pieces before, in order.
        later: whether there is a piece before, wanted or not: then the recording is long.
    """
    chosen = options
    if times := options.clip_timestamps:
        chosen = replace(chosen, clip_timestamps=tuple(within(times, start_s, end_s)))
        if not chosen.clip_timestamps:
            return None
    if later and options.without_timestamps is None:
        chosen = replace(chosen, without_timestamps=False)
    if not before:
        return chosen
    chosen = replace(chosen, prefix=None)
    spoken = [result for result in before if result.text]
    if not spoken:
        return chosen
    if spoken[0].languages and not options.multilingual:
        chosen = replace(chosen, language=spoken[0].language)
    last = spoken[-1].segments[-1].temperature if spoken[-1].segments else 0.0
    cool = last <= options.prompt_reset_on_temperature
    if options.condition_on_previous_text and cool and not options.carry_initial_prompt:
        prompt = prompt_of((result.text, result.language) for result in spoken)
        chosen = replace(chosen, initial_prompt=prompt)
    return chosen
