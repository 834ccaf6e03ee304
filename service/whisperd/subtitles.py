"""Transcripts as files that other programs read: SubRip, WebVTT, LRC, plain text, tab-separated values. Pure.

Whatever a segment holds, what is written is well-formed: no cue is empty, each ends after it starts and before the
next one starts, and no text can look like a time or a tag. Lines end with LF, which every player reads.
"""

from __future__ import annotations

import math
import re
import unicodedata
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any, Final

from .columns import width, wrap
from .speech.types import Segment

COLUMNS: Final = 42
"""Of a line: what broadcasters take for the longest that is read at a glance."""

LINES: Final = 2
PAUSE_S: Final = 2.0
"""Where words have times, nothing is shown through a longer pause."""


@dataclass(frozen=True)
class Shape:
    """How cues are shown.

    Attributes:
        columns, lines: most of a cue; of more lines only where a long text's words have no times.
        words: most of a cue, where they have times; 0 for as many as fit.
        highlight: underline each word while it is said, where it has times.
    """

    columns: int = COLUMNS
    lines: int = LINES
    words: int = 0
    highlight: bool = False


SHAPE: Final = Shape()


_SENTENCE_ENDS: Final = (".", "!", "?", "…", "。", "！", "？", "؟", "।")
_CLAUSE_ENDS: Final = (*_SENTENCE_ENDS, ",", ";", ":", "，", "、", "；", "：", "،", "؛")
_ARROW: Final = re.compile("-{2,}>")


@dataclass(frozen=True)
class Cue:
    """A text and when it is said, in seconds from the beginning.

    Attributes:
        words: the same text in parts, each with its spaces and times; empty where they are not known.
        marked: the part of the text that is underlined, from its first letter to behind its last.

    Raises:
        ValueError: a time is not a finite number.
    """

    start_s: float
    end_s: float
    text: str
    words: tuple[Cue, ...] = ()
    marked: tuple[int, int] = (0, 0)

    def __post_init__(self) -> None:
        if not (math.isfinite(self.start_s) and math.isfinite(self.end_s)):
            raise ValueError(f"a cue from {self.start_s} s to {self.end_s} s")


def cues_of(segments: Iterable[Segment]) -> list[Cue]:
    """The segments of a transcription."""
    return [
        Cue(s.start_s, s.end_s, s.text, tuple(Cue(w.start_s, w.end_s, w.text) for w in s.words)) for s in segments
    ]


def cues_of_json(segments: object) -> list[Cue]:
    """The same of a `transcript` event's `segments`, as docs/protocol.md describes them.

    Raises:
        ValueError: they are no such thing; names what is wrong, and where.
    """
    return [
        _cue(segment, "text", f"segments[{i}]", _objects(segment.get("words", []), f"segments[{i}].words"))
        for i, segment in enumerate(_objects(segments, "segments"))
    ]


def _objects(value: object, where: str) -> list[Mapping[str, Any]]:
    if not isinstance(value, list) or not all(isinstance(item, dict) for item in value):
        raise ValueError(f"{where} is not a list of objects")
    return value


def _cue(data: Mapping[str, Any], text_name: str, where: str, words: Sequence[Mapping[str, Any]] = ()) -> Cue:
    text, start, end = data.get(text_name), data.get("start"), data.get("end")
    if not isinstance(text, str):
        raise ValueError(f"{where}.{text_name} is not a text")
    if not isinstance(start, (int, float)) or not isinstance(end, (int, float)):
        raise ValueError(f"{where} has no start and end in seconds")
    return Cue(start, end, text, tuple(_cue(word, "word", f"{where}.words[{i}]") for i, word in enumerate(words)))


# --- files ------------------------------------------------------------------------------------------------


def srt(cues: Iterable[Cue], shape: Shape = SHAPE) -> str:
    """SubRip. It has no escapes: an arrow in a text becomes a shorter one, and `<` and `&` stay as they are."""
    blocks = _blocks(cues, ",", shape, lambda text: _ARROW.sub("->", text))
    return "\n".join(f"{number}\n{block}" for number, block in enumerate(blocks, 1))


def vtt(cues: Iterable[Cue], shape: Shape = SHAPE) -> str:
    """WebVTT (W3C). What would be a tag or an arrow is escaped."""
    return "\n".join(["WEBVTT\n", *_blocks(cues, ".", shape, _escaped)])


def lrc(cues: Iterable[Cue]) -> str:
    """LRC, as music players read it: a line for each segment, with the time at which it begins."""
    rows = []
    for start, _, cue in _timed(_cleaned(cues)):
        minutes, hundredths = divmod(start // 10, 6000)
        # A text that begins like a time has a space before it.
        space = " " if cue.text.startswith("[") else ""
        rows.append(f"[{minutes:02}:{hundredths // 100:02}.{hundredths % 100:02}]{space}{cue.text}\n")
    return "".join(rows)


def tsv(cues: Iterable[Cue]) -> str:
    """A heading and a line for each segment: start and end in milliseconds, and the text, with tabs between."""
    rows = [f"{start}\t{end}\t{cue.text}\n" for start, end, cue in _timed(_cleaned(cues))]
    return "".join(["start\tend\ttext\n", *rows])


def txt(cues: Iterable[Cue]) -> str:
    """A line for each segment."""
    return "".join(f"{cue.text}\n" for cue in _cleaned(cues))


WRITERS: Final[Mapping[str, Callable[[Iterable[Cue]], str]]] = MappingProxyType(
    {"srt": srt, "vtt": vtt, "lrc": lrc, "tsv": tsv, "txt": txt}
)
"""By the file name's ending."""

SHAPED: Final[Mapping[str, Callable[[Iterable[Cue], Shape], str]]] = MappingProxyType({"srt": srt, "vtt": vtt})
"""Those that show cues, and may show them otherwise."""


def _blocks(cues: Iterable[Cue], mark: str, shape: Shape, written: Callable[[str], str]) -> Iterator[str]:
    """The cues as both formats have them: a line with the times, and the text's lines."""
    split = _split(cues, shape)
    for start, end, cue in _timed(_highlighted(split) if shape.highlight else split):
        lines = "".join(f"{line}\n" for line in _lines(cue, shape, written))
        yield f"{_time(start, mark)} --> {_time(end, mark)}\n{lines}"


# --- texts and times --------------------------------------------------------------------------------------


def _clean(text: str) -> str:
    """On one line, with single spaces and nothing that controls a program."""
    text = " ".join(text.split())  # a blank line would end a cue, a tab a column
    return " ".join("".join(c for c in text if unicodedata.category(c) not in ("Cc", "Cs")).split())


def _cleaned(cues: Iterable[Cue]) -> Iterator[Cue]:
    """Those with a text."""
    for cue in cues:
        if text := _clean(cue.text):
            yield Cue(cue.start_s, cue.end_s, text, cue.words)


def _timed(cues: Iterable[Cue]) -> list[tuple[int, int, Cue]]:
    """(start, end, cue), in milliseconds: each lasts at least one, and is over when the next one starts."""
    timed: list[tuple[int, int, Cue]] = []
    for cue in cues:
        start = max(round(cue.start_s * 1000), 0)
        if timed:
            before, end, earlier = timed[-1]
            start = max(start, before + 1)
            timed[-1] = before, min(end, start), earlier
        timed.append((start, max(round(cue.end_s * 1000), start + 1), cue))
    return timed


def _time(milliseconds: int, mark: str) -> str:
    seconds, thousandths = divmod(milliseconds, 1000)
    minutes, seconds = divmod(seconds, 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours:02}:{minutes:02}:{seconds:02}{mark}{thousandths:03}"


def _escaped(text: str) -> str:
    return text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")


# --- lines and cues ---------------------------------------------------------------------------------------


def _broken(text: str, shape: Shape) -> list[tuple[int, int]]:
    """The lines of a text, about equally long: start and end of each."""
    needed, columns = width(text), shape.columns
    # A wide letter has two columns.
    least = needed if needed <= columns else min(max(-(-needed // shape.lines), 2), columns)
    for room in range(least, columns + 1):
        broken = wrap(text, room)
        if len(broken) <= shape.lines:
            break
    return broken


def _lines(cue: Cue, shape: Shape, written: Callable[[str], str]) -> Iterator[str]:
    """The lines of a cue, with what is underlined."""
    first, last = cue.marked
    for start, end in _broken(cue.text, shape):
        low, high = (min(max(place, start), end) for place in (first, last))
        parts = [written(cue.text[a:b]) for a, b in ((start, low), (low, high), (high, end))]
        if low < high:
            parts[1] = f"<u>{parts[1]}</u>"
        yield "".join(parts)


def _split(cues: Iterable[Cue], shape: Shape) -> Iterator[Cue]:
    """The cues, those that are too long in parts as their words allow it; an SRT's and a VTT's are the same."""
    for cue in _cleaned(cues):
        words = cue.words
        # Parts that are not the text would lose some of it.
        if _clean("".join(word.text for word in words)) != cue.text:
            yield Cue(cue.start_s, cue.end_s, cue.text)
            continue
        while words:
            count = _fitting(words, shape)
            part, words = words[:count], words[count:]
            text = _clean("".join(word.text for word in part))
            if text:
                yield Cue(part[0].start_s, part[-1].end_s, text, part)


def _highlighted(cues: Iterable[Cue]) -> Iterator[Cue]:
    """Each cue once for each of its words, which is underlined, and once for each pause between two."""
    for cue in cues:
        at_s, said = cue.start_s, ""
        for word in cue.words:
            said += word.text
            plain, end = _clean(word.text), len(_clean(said))
            if not plain:
                continue
            if word.start_s > at_s:
                yield Cue(at_s, word.start_s, cue.text)
            yield Cue(word.start_s, word.end_s, cue.text, marked=(end - len(plain), end))
            at_s = max(at_s, word.end_s)
        if not cue.words:
            yield cue


def _fitting(words: Sequence[Cue], shape: Shape) -> int:
    """How many of the words make one cue: up to a pause; else up to the end of a sentence or a clause, late."""
    count, text = 1, words[0].text
    for before, word in zip(words, words[1:], strict=False):
        text += word.text
        if word.start_s - before.end_s > PAUSE_S:
            return count
        if count == shape.words or len(wrap(_clean(text), shape.columns)) > shape.lines:
            break
        count += 1
    if count in (len(words), shape.words):
        return count
    for ends in (_SENTENCE_ENDS, _CLAUSE_ENDS):
        for shorter in range(count, count // 2, -1):
            if words[shorter - 1].text.rstrip().endswith(ends):
                return shorter
    return count
