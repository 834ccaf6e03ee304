"""Recordings of any length in bounded memory: cut into pieces at pauses, and their answers put together. Pure."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import zip_longest
from typing import Final

import numpy as np

from ..speech import words
from ..speech.types import NO_VOICE, Segment, Timings, Transcription
from ..speech.windows import quietest
from .pcm import SAMPLE_RATE, Int16Samples

UNSPACED: Final = words.UNSPACED | {"bo", "km"}
"""Languages that are written without spaces: those whose words have no borders, and two more."""

PROMPT_CHARS: Final = 800
"""Of the text so far, where it is the prompt of what follows: the decoder reads no more."""


@dataclass(frozen=True, eq=False)
class Piece:
    """A stretch of a recording.

    Attributes:
        offset: where it begins, in samples at 16 kHz.
        pcm: int16[n] at 16 kHz mono.
    """

    offset: int
    pcm: Int16Samples

    @property
    def offset_s(self) -> float:
        """Where it begins, in seconds."""
        return self.offset / SAMPLE_RATE

    @property
    def end_s(self) -> float:
        """Where it ends, in seconds."""
        return (self.offset + len(self.pcm)) / SAMPLE_RATE


def pieces(blocks: Iterable[Int16Samples], longest_s: float) -> Iterator[Piece]:
    """Cut a recording into pieces of at most `longest_s`, each but the last at a pause.

    A cut is in the middle of the quietest 0.3 s of a piece's last third. The pieces put end to end are the
    recording. Held are at most a piece and a block, and a copy of the piece that is cut: with a file's blocks less
    than 16 MB for pieces of a minute.

    Args:
        blocks: int16[n] each, such as `files.AudioFile.blocks` gives them.
        longest_s: seconds.

    Raises:
        ValueError: `longest_s` is less than a second.
        Whatever `blocks` raises; the pieces before have been given by then.
    """
    if not longest_s >= 1:
        raise ValueError(f"pieces of {longest_s:g} s")
    longest = int(longest_s * SAMPLE_RATE)
    held = bytearray()
    offset = 0
    for block in blocks:
        held += block.tobytes()
        while len(held) > 2 * longest:
            cut = _cut(np.frombuffer(held[: 2 * longest], np.int16))
            yield Piece(offset, np.frombuffer(bytes(held[: 2 * cut]), np.int16))
            del held[: 2 * cut]
            offset += cut
    if held:
        yield Piece(offset, np.frombuffer(bytes(held), np.int16))


def _cut(pcm: Int16Samples) -> int:
    first = len(pcm) * 2 // 3
    return first + quietest(pcm[first:])


def within(times: Sequence[float], start_s: float, end_s: float) -> list[float]:
    """Of a recording's stretches those that lie in a piece of it, in the piece's own time.

    Args:
        times: start, end, start, end … in seconds, rising; the last end may be missing, for the recording's.
        start_s, end_s: of the piece.

    Returns:
        The same of the piece; [] where none of it is meant.
    """
    found: list[float] = []
    for begin, end in zip_longest(times[::2], times[1::2], fillvalue=math.inf):
        first, last = max(begin, start_s), min(end, end_s)
        if first < last:
            found += [first - start_s] if math.isinf(end) else [first - start_s, last - start_s]
    return found


# --- answers ----------------------------------------------------------------------------------------------


def join(parts: Sequence[tuple[float, Transcription]]) -> Transcription:
    """The transcriptions of a recording's pieces as one of the recording.

    What is counted or timed is the sum. The confidence is the mean over the seconds of pieces with text. The
    language, and what else it could have been, is that of the first piece with text.

    Args:
        parts: (where the piece begins, in seconds; its transcription), in order.

    Raises:
        ValueError: there are none.
    """
    if not parts:
        raise ValueError("nothing to join")
    results = [result for _, result in parts]
    spoken = [result for result in results if result.text]
    leading = (spoken or results)[0]
    reasons = [result.no_speech for result in results]
    return Transcription(
        text=joined_text((result.text, result.language) for result in spoken),
        language=leading.language,
        audio_s=sum(result.audio_s for result in results),
        segments=tuple(_shifted(segment, offset) for offset, result in parts for segment in result.segments),
        timings=Timings(
            *(
                sum(getattr(result.timings, field.name) for result in results)
                for field in dataclasses.fields(Timings)
            )
        ),
        fallbacks=sum(result.fallbacks for result in results),
        no_speech="" if spoken else next((reason for reason in reasons if reason != NO_VOICE), NO_VOICE),
        confidence=weighted([(result.confidence, result.audio_s) for result in spoken]),
        languages=leading.languages,
    )


def joined_text(texts: Iterable[tuple[str, str | None]]) -> str:
    """Texts, each with its language, as one: with spaces between where the language has them."""
    joined = ""
    for text, language in texts:
        joined += (" " if joined and text and language not in UNSPACED else "") + text
    return joined


def prompt_of(texts: Iterable[tuple[str, str | None]]) -> str:
    """The end of what was said so far, of texts as `joined_text` takes them, as the prompt of what follows."""
    return joined_text(texts)[-PROMPT_CHARS:]


def weighted(values: Sequence[tuple[float, float]]) -> float:
    """The mean of (value, weight) pairs; 0 without a weight."""
    total = sum(weight for _, weight in values)
    return sum(value * weight for value, weight in values) / total if total else 0.0


def _shifted(segment: Segment, offset: float) -> Segment:
    moved = tuple(
        dataclasses.replace(word, start_s=word.start_s + offset, end_s=word.end_s + offset)
        for word in segment.words
    )
    return dataclasses.replace(
        segment, start_s=segment.start_s + offset, end_s=segment.end_s + offset, words=moved
    )
