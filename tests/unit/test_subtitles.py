"""Subtitle files: exact bytes, and that other readers understand whatever a transcript holds."""

from __future__ import annotations

import html
import io
import math
import re
from collections.abc import Callable
from typing import Any

import pytest
import srt as srt_reader
import webvtt
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from whisperd import protocol
from whisperd.columns import width
from whisperd.speech.options import Options
from whisperd.speech.types import Segment, Word
from whisperd.subtitles import (
    COLUMNS,
    LINES,
    PAUSE_S,
    SHAPED,
    WRITERS,
    Cue,
    Shape,
    cues_of,
    cues_of_json,
    lrc,
    srt,
    tsv,
    txt,
    vtt,
)


def said(*words: tuple[float, float, str], text: str | None = None) -> Segment:
    spoken = tuple(Word(start, end, word, (1,), 0.5, 0.5) for start, end, word in words)
    joined = "".join(word for *_, word in words) if text is None else text
    return Segment(words[0][0], words[-1][1], joined, (1,), -0.3, 0.0, words=spoken)


# --- exact bytes ------------------------------------------------------------------------------------------

TWO = [Cue(0.0, 2.5, " Ask not what your country can do for you"), Cue(3661.0014, 3662.9996, "ask <b>&\tmore")]


def test_srt() -> None:
    assert srt(TWO) == (
        "1\n00:00:00,000 --> 00:00:02,500\nAsk not what your country can do for you\n\n"
        "2\n01:01:01,001 --> 01:01:03,000\nask <b>& more\n"
    )


def test_vtt() -> None:
    assert vtt(TWO) == (
        "WEBVTT\n\n00:00:00.000 --> 00:00:02.500\nAsk not what your country can do for you\n\n"
        "01:01:01.001 --> 01:01:03.000\nask &lt;b&gt;&amp; more\n"
    )


def test_tsv_and_txt() -> None:
    assert tsv(TWO) == (
        "start\tend\ttext\n0\t2500\tAsk not what your country can do for you\n3661001\t3663000\task <b>& more\n"
    )
    assert txt(TWO) == "Ask not what your country can do for you\nask <b>& more\n"


def test_lrc() -> None:
    assert lrc(TWO) == "[00:00.00]Ask not what your country can do for you\n[61:01.00]ask <b>& more\n"
    # What looks like a time is none.
    assert lrc([Cue(59.999, 60.5, "[00:01.00] so")]) == "[00:59.99] [00:01.00] so\n"


def test_nothing_said() -> None:
    silent = [Cue(0.0, 1.0, " \n"), Cue(1.0, 2.0, "\x00")]
    assert (srt(silent), vtt(silent), tsv(silent), txt(silent)) == ("", "WEBVTT\n", "start\tend\ttext\n", "")


def test_more_than_a_hundred_hours() -> None:
    assert "100:00:00,000 --> 100:00:01,000" in srt([Cue(360_000.0, 360_001.0, "still there")])


def test_an_arrow_in_a_text_is_none_in_the_file() -> None:
    cues = [Cue(0.0, 1.0, "left --> right ---> --->")]
    assert srt(cues).count("-->") == 1 and "left -> right -> ->" in srt(cues)
    assert vtt(cues).count("-->") == 1 and "left --&gt; right ---&gt;" in vtt(cues)


# --- lines and cues ---------------------------------------------------------------------------------------


def test_a_long_text_has_two_lines_of_about_the_same_length() -> None:
    text = "And so, my fellow Americans, ask not what your country can do for you"
    assert srt([Cue(0.0, 5.0, text)]).splitlines()[2:] == [
        "And so, my fellow Americans, ask not",
        "what your country can do for you",
    ]


def test_wide_letters_count_twice() -> None:
    lines = srt([Cue(0.0, 5.0, "国" * 40)]).splitlines()[2:]
    assert lines == ["国" * 20] * 2


def test_without_the_times_of_words_a_text_keeps_its_cue() -> None:
    lines = srt([Cue(0.0, 60.0, "word " * 60)]).splitlines()
    assert lines[1] == "00:00:00,000 --> 00:01:00,000"
    assert len(lines[2:]) > LINES and max(map(len, lines[2:])) <= COLUMNS


def test_words_with_times_make_more_cues_that_end_where_clauses_do() -> None:
    text = (
        " It was the best of times, it was the worst of times, it was the age of wisdom."
        " It was the age of foolishness, it was the epoch of belief"
    )
    words = [(float(i), i + 0.75, word) for i, word in enumerate(re.findall(" [^ ]+", text))]
    cues = list(srt_reader.parse(srt(cues_of([said(*words)]))))
    assert [cue.content.replace("\n", " ") for cue in cues] == [
        "It was the best of times, it was the worst of times, it was the age of wisdom.",
        "It was the age of foolishness, it was the epoch of belief",
    ]
    assert [(cue.start.total_seconds(), cue.end.total_seconds()) for cue in cues] == [(0.0, 17.75), (18.0, 29.75)]


def test_a_pause_ends_a_cue() -> None:
    segment = said((0.0, 0.5, " Wait."), (0.5 + PAUSE_S + 0.1, 3.0, " Go."))
    assert srt(cues_of([segment])) == (
        "1\n00:00:00,000 --> 00:00:00,500\nWait.\n\n2\n00:00:02,600 --> 00:00:03,000\nGo.\n"
    )


def test_words_that_are_not_the_text_lose_none_of_it() -> None:
    assert "Hello there" in srt(cues_of([said((0.0, 0.5, " Hello"), text=" Hello there")]))


# --- shown otherwise --------------------------------------------------------------------------------------

SPOKEN = cues_of([said((0.0, 0.5, " Turn"), (0.5, 0.75, " left"), (1.0, 1.5, " <now>."), (1.5, 1.75, " ♪"))])


def contents(written: str) -> list[str]:
    return [cue.content for cue in srt_reader.parse(written)]


def test_lines_of_another_length() -> None:
    assert contents(srt(SPOKEN, Shape(columns=10))) == ["Turn left\n<now>. ♪"]
    assert contents(srt(SPOKEN, Shape(columns=10, lines=1))) == ["Turn left", "<now>. ♪"]


def test_so_many_words_at_most() -> None:
    assert contents(srt(SPOKEN, Shape(words=3))) == ["Turn left <now>.", "♪"]
    assert contents(srt(SPOKEN, Shape(words=1))) == ["Turn", "left", "<now>.", "♪"]
    assert contents(srt(SPOKEN, Shape(words=4))) == contents(srt(SPOKEN))
    # Where no words have times, nothing can be counted.
    assert contents(srt([Cue(0.0, 1.0, "one two three")], Shape(words=1))) == ["one two three"]


def test_each_word_is_underlined_while_it_is_said() -> None:
    found = list(srt_reader.parse(srt(SPOKEN, Shape(highlight=True))))
    assert [(cue.start.total_seconds(), cue.end.total_seconds(), cue.content) for cue in found] == [
        (0.0, 0.5, "<u>Turn</u> left <now>. ♪"),
        (0.5, 0.75, "Turn <u>left</u> <now>. ♪"),
        (0.75, 1.0, "Turn left <now>. ♪"),
        (1.0, 1.5, "Turn left <u><now>.</u> ♪"),
        (1.5, 1.75, "Turn left <now>. <u>♪</u>"),
    ]
    assert "Turn left <u>&lt;now&gt;.</u> ♪" in vtt(SPOKEN, Shape(highlight=True))
    assert contents(srt([Cue(0.0, 1.0, "one two")], Shape(highlight=True))) == ["one two"]


def test_a_word_over_two_lines_is_underlined_in_both() -> None:
    spoken = cues_of([said((0.0, 1.0, " abcdefghijklmnop"))])
    assert contents(srt(spoken, Shape(columns=10, highlight=True))) == ["<u>abcdefgh</u>\n<u>ijklmnop</u>"]


# --- constructors -----------------------------------------------------------------------------------------


def test_cues_of_an_answer_are_those_of_its_segments() -> None:
    segments = [said((0.0, 0.5, " Hello"), (0.5, 1.0, " there.")), said((1.5, 2.0, " Bye."))]
    fields = [protocol.segment_fields(segment, Options(word_timestamps=True)) for segment in segments]
    assert cues_of_json(fields) == cues_of(segments)
    assert cues_of_json([protocol.segment_fields(segments[1], Options())]) == [Cue(1.5, 2.0, " Bye.")]


@pytest.mark.parametrize(
    ("segments", "where"),
    [
        (None, "segments is not a list"),
        ([1], "segments is not a list"),
        ([{"start": 0, "end": 1}], r"segments\[0\].text is not a text"),
        ([{"start": 0, "end": None, "text": "a"}], r"segments\[0\] has no start and end"),
        ([{"start": 0, "end": 1, "text": "a", "words": 3}], r"segments\[0\].words is not a list"),
        ([{"start": 0, "end": 1, "text": "a", "words": [{"word": "a"}]}], r"segments\[0\].words\[0\] has no"),
    ],
)
def test_other_things_than_segments_are_refused(segments: Any, where: str) -> None:
    with pytest.raises(ValueError, match=where):
        cues_of_json(segments)


@pytest.mark.parametrize("time", [math.nan, math.inf, -math.inf])
def test_times_that_are_no_numbers_are_refused(time: float) -> None:
    with pytest.raises(ValueError, match="a cue from"):
        Cue(0.0, time, "a")


# --- whatever comes ---------------------------------------------------------------------------------------

TIMES = st.floats(-10, 400_000) | st.floats(0, 1)
TEXTS = st.text(max_size=100) | st.text(" ab.,->&<\n\r\t0123:,国\u2028", max_size=100)
WORDS = st.lists(st.builds(Cue, TIMES, TIMES, TEXTS), max_size=12).map(tuple)


@st.composite
def cues(draw: st.DrawFn) -> Cue:
    words = draw(WORDS)
    text = "".join(word.text for word in words) if draw(st.booleans()) else draw(TEXTS)
    return Cue(draw(TIMES), draw(TIMES), text, words)


def anything(test: Callable[[list[Cue]], None]) -> Any:
    """Run with any cues. How long it takes to draw them is the PC's affair."""
    return settings(suppress_health_check=[HealthCheck.too_slow])(given(st.lists(cues(), max_size=6))(test))


def shown(text: str) -> str:
    """What must be there of a text: no reader keeps its spaces."""
    return "".join(c for c in text if not c.isspace() and c.isprintable())


@anything
def test_a_reader_of_srt_finds_every_cue_in_order(cues: list[Cue]) -> None:
    written = srt(cues)
    found = list(srt_reader.parse(written, ignore_errors=False))
    assert [cue.index for cue in found] == list(range(1, len(found) + 1))
    assert_in_order([(cue.start.total_seconds(), cue.end.total_seconds()) for cue in found])
    expected = re.sub("-{2,}>", "->", "".join(shown(cue.text) for cue in cues))
    assert re.sub("-{2,}>", "->", shown("".join(cue.content for cue in found))) == expected
    assert_lines_are_short(cue.content.split("\n") for cue in found)
    assert written.encode().decode() == written


@anything
def test_a_reader_of_vtt_finds_every_cue_in_order(cues: list[Cue]) -> None:
    found = webvtt.from_buffer(io.StringIO(vtt(cues))).captions
    assert_in_order([(cue.start_in_seconds, cue.end_in_seconds) for cue in found], whole_seconds=True)
    assert shown("".join(html.unescape(cue.raw_text) for cue in found)) == "".join(shown(c.text) for c in cues)
    assert_lines_are_short([html.unescape(line) for line in cue.raw_text.split("\n")] for cue in found)


@anything
def test_every_row_of_tsv_has_its_columns(cues: list[Cue]) -> None:
    rows = [row.split("\t") for row in tsv(cues).split("\n")]
    assert rows[0] == ["start", "end", "text"] and rows[-1] == [""]
    assert_in_order([(int(start), int(end)) for start, end, _ in rows[1:-1]])
    assert [text for *_, text in rows[1:-1]] == txt(cues).split("\n")[:-1]


@anything
def test_underlined_or_not_the_text_and_its_order_are_the_same(cues: list[Cue]) -> None:
    plain = Shape(columns=12, lines=3, words=4)
    found = list(srt_reader.parse(srt(cues, Shape(12, 3, 4, highlight=True)), ignore_errors=False))
    assert_in_order([(cue.start.total_seconds(), cue.end.total_seconds()) for cue in found])
    seen = [re.sub("</?u>", "", cue.content) for cue in found]
    once = [text for at, text in enumerate(seen) if at == 0 or seen[at - 1] != text]
    wanted = contents(srt(cues, plain))
    assert once == [text for at, text in enumerate(wanted) if at == 0 or wanted[at - 1] != text]


@anything
def test_writers_do_not_look_twice(cues: list[Cue]) -> None:
    for shaped in SHAPED.values():
        assert shaped(iter(cues), Shape(highlight=True)) == shaped(cues, Shape(highlight=True))
    for write in WRITERS.values():
        assert write(iter(cues)) == write(cues)


def assert_in_order(times: list[tuple[float, float]], *, whole_seconds: bool = False) -> None:
    for start, end in times:
        assert start <= end if whole_seconds else start < end
    for (_, end), (start, _) in zip(times, times[1:], strict=False):
        assert end <= start


def assert_lines_are_short(texts: Any) -> None:
    assert all(line and width(line) <= COLUMNS for lines in texts for line in lines)
