"""From tokens with times to words: what a word is, which marks belong to it, and times that never go back."""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from whisperd.speech import confidence
from whisperd.speech.longform import with_words
from whisperd.speech.options import APPENDED, PREPENDED, Options
from whisperd.speech.tokenizer import Tokenizer
from whisperd.speech.types import Segment
from whisperd.speech.words import (
    LONGEST_USUAL_S,
    SEGMENT_SLACK_S,
    UNSPACED,
    Timed,
    give_back_pauses,
    into_segments,
    merge_marks,
    split,
    timed,
    usual_seconds,
)


class Pieces:
    """A vocabulary in which token n is the n-th of some pieces of bytes."""

    def __init__(self, pieces: Sequence[bytes]) -> None:
        self.pieces = list(pieces)
        self.tokens = range(len(self.pieces))

    def decode(self, tokens: Sequence[int]) -> bytes:
        return b"".join(self.pieces[token] for token in tokens)


def words_of(*pieces: str | bytes, spaced: bool = True) -> list[str]:
    vocabulary = Pieces([piece.encode() if isinstance(piece, str) else piece for piece in pieces])
    return [text for text, _ in split(vocabulary.tokens, vocabulary.decode, spaced=spaced)]


# --- what a word is -----------------------------------------------------------------------------------------


def test_a_word_begins_with_a_space_and_marks_are_words_of_their_own() -> None:
    assert words_of(" How", " long", "er", ",", " A", "da", "?") == [" How", " longer", ",", " Ada", "?"]
    assert words_of("How", "ever", " it") == ["However", " it"]
    assert words_of(' "', "No", '"', "...", " -", " yes") == [' "No', '"...', " -", " yes"]
    assert words_of() == []


def test_without_spaces_each_character_is_a_word() -> None:
    assert words_of("你", "好", "吗", spaced=False) == ["你", "好", "吗"]
    assert words_of("你", "好", "吗") == ["你好吗"]
    # A token may be several characters, and a character several tokens.
    assert words_of("你好", "吗".encode()[:1], "吗".encode()[1:], spaced=False) == ["你好", "吗"]
    assert {"zh", "ja", "th"} <= UNSPACED
    assert "ko" not in UNSPACED


def test_a_character_is_not_cut_in_two() -> None:
    emoji = "🙂".encode()
    assert words_of(" Hi", b" " + emoji[:2], emoji[2:3], emoji[3:], " there") == [" Hi", " 🙂", " there"]
    assert words_of(b" \xe4\xbd", b"\xa0\xe5\xa5", b"\xbd", " x") == [" 你好", " x"]


def test_bytes_that_are_no_character_cost_no_more_than_themselves() -> None:
    assert words_of(" a", b" \xff", " b", " c") == [" a", " \ufffd", " b", " c"]
    assert words_of(" a", b"\xe4\xbd", " b", " c") == [" a\ufffd b", " c"]  # waits for the next token
    assert words_of(" a", b" \xbd", b"\xe4") == [" a", " \ufffd\ufffd"]
    assert words_of(b"\x80", b"\x80") == ["\ufffd\ufffd"]


TEXTS = st.text(st.sampled_from("ab .,?\"'-\n你好吗ÄßЖ🙂👍🏽é\u0301\u3000"), max_size=20)


@st.composite
def pieces(draw: st.DrawFn) -> list[bytes]:
    """A text, or any bytes, cut anywhere."""
    data = draw(TEXTS.map(str.encode) | st.binary(max_size=12))
    cuts = sorted(draw(st.sets(st.integers(1, max(1, len(data) - 1)), max_size=8)))
    bounds = [0, *(cut for cut in cuts if cut < len(data)), len(data)]
    return [data[low:high] for low, high in itertools.pairwise(bounds)] if data else []


@given(pieces(), st.booleans())
@settings(max_examples=500, deadline=None)
def test_words_put_together_are_the_text(cut: list[bytes], spaced: bool) -> None:
    vocabulary = Pieces(cut)
    found = split(vocabulary.tokens, vocabulary.decode, spaced=spaced)
    assert "".join(text for text, _ in found) == b"".join(cut).decode("utf-8", "replace")
    assert [token for _, tokens in found for token in tokens] == list(vocabulary.tokens)
    assert all(tokens for _, tokens in found)


@given(st.text(max_size=40), st.booleans())
@settings(max_examples=150, deadline=None)
def test_words_of_the_real_vocabulary(base_tokenizer: Tokenizer, text: str, spaced: bool) -> None:
    tokens = base_tokenizer.encode(text)
    found = split(tokens, base_tokenizer.decode_bytes, spaced=spaced)
    assert "".join(word for word, _ in found) == base_tokenizer.decode(tokens)


@pytest.fixture(scope="module")
def base_tokenizer(base: Path) -> Tokenizer:
    return Tokenizer(base, 50257)


def test_sentences_in_the_real_vocabulary(base_tokenizer: Tokenizer) -> None:
    def said(text: str, spaced: bool = True) -> list[str]:
        return [word for word, _ in split(base_tokenizer.encode(text), base_tokenizer.decode_bytes, spaced=spaced)]

    assert said(" How long will it take?") == [" How", " long", " will", " it", " take", "?"]
    assert said(" Straßenbahnhaltestelle, bitte.") == [" Straßenbahnhaltestelle", ",", " bitte", "."]
    assert said(" Ich 🙂 dich") == [" Ich", " 🙂", " dich"]
    assert "".join(said("我想听音乐", False)) == "我想听音乐"
    assert len(said("我想听音乐", False)) >= 3


# --- their times --------------------------------------------------------------------------------------------


def word(text: str, start_s: float, end_s: float, *tokens: int, logprob: float = -0.1) -> Timed:
    tokens = tokens or (1,)
    return Timed(text, tokens, start_s, end_s, (logprob,) * len(tokens))


def test_a_word_ends_where_the_next_begins() -> None:
    found = timed([(" a", (1, 2)), (" b", (3,))], [0.0, 0.1, 0.5, 0.9], [-0.1, -0.2, -0.3])
    assert found == [Timed(" a", (1, 2), 0.0, 0.5, (-0.1, -0.2)), Timed(" b", (3,), 0.5, 0.9, (-0.3,))]


def texts(*marked: str) -> list[str]:
    return [
        w.text
        for w in merge_marks([word(text, n, n + 1, n) for n, text in enumerate(marked)], PREPENDED, APPENDED)
    ]


def test_marks_are_joined_to_their_words() -> None:
    assert texts(" How", ",", " are", " you", "?") == [" How,", " are", " you?"]
    assert texts(' "', "No", '."', " she") == [' "No', '."', " she"]
    assert texts(" “", "No", ".", "”", " she") == [" “No.”", " she"]
    assert texts(" (", " [", "a", "]", ")") == [" ( [a])"]
    assert texts("。", "你", "。") == ["。", "你。"]
    assert texts(" a", " -", "b") == [" a", " -b"]
    # A mark with nobody to belong to stays.
    assert texts("?") == ["?"]
    assert texts(" a", ' "') == [" a", ' "']
    assert texts(" ", "a") == [" ", "a"]


def test_a_word_keeps_its_times_and_takes_the_marks_tokens() -> None:
    merged = merge_marks([word(" “", 0, 1, 7), word("No", 1, 2, 8, 9), word(".", 2, 5, 10)], PREPENDED, APPENDED)
    (one,) = merged
    assert (one.text, one.tokens, one.start_s, one.end_s, one.logprobs) == (
        " “No.",
        (7, 8, 9, 10),
        1,
        2,
        (-0.1, -0.1),
    )


@given(st.lists(st.sampled_from([" a", "b", ",", ' "', '"', " (", ")", "?", " -", "。", " "]), max_size=10))
def test_merging_loses_nothing(marked: list[str]) -> None:
    before = [word(text, n, n + 1, n) for n, text in enumerate(marked)]
    copies = [replace(w) for w in before]
    after = merge_marks(before, PREPENDED, APPENDED)
    assert before == copies
    assert "".join(w.text for w in after) == "".join(marked)
    assert [token for w in after for token in w.tokens] == list(range(len(marked)))
    assert merge_marks(before, "", "") == before


def test_how_long_a_word_usually_is() -> None:
    assert usual_seconds([]) == 0.0
    assert usual_seconds([word("a", 1, 1)]) == 0.0
    assert usual_seconds(
        [word("a", 0, 0.2), word("b", 1, 1), word("c", 2, 2.3), word("d", 3, 3.4)]
    ) == pytest.approx(0.3)
    assert usual_seconds([word("a", 0, 5)]) == LONGEST_USUAL_S


def test_a_pause_at_a_sentence_s_end_is_nobody_s() -> None:
    mark = [word(" a", 0, 0.3), word(".", 0.3, 3.0), word(" b", 3.0, 3.3)]
    give_back_pauses(mark, 0.3)
    assert (mark[1].start_s, mark[1].end_s) == (0.3, pytest.approx(0.9))
    behind = [word(" a", 0, 0.3), word(".", 0.3, 0.4), word(" b", 0.4, 3.0)]
    give_back_pauses(behind, 0.3)
    assert (behind[2].start_s, behind[2].end_s) == (pytest.approx(2.4), 3.0)
    elsewhere = [word(" a", 0, 0.3), word(" b", 0.3, 3.0)]
    give_back_pauses(elsewhere, 0.3)
    assert elsewhere[1].start_s == 0.3


# --- in segments --------------------------------------------------------------------------------------------


def segment(start_s: float, end_s: float, *tokens: int) -> Segment:
    return Segment(start_s, end_s, "".join(f" {t}" for t in tokens), tokens, -0.2, 0.1)


def in_row(count: int, seconds: float = 0.3, start_s: float = 0.0) -> list[Timed]:
    return [word(f" {n}", start_s + seconds * n, start_s + seconds * (n + 1), n) for n in range(count)]


def tokens_of(found: tuple[Segment, ...]) -> list[list[int]]:
    return [[token for w in s.words for token in w.tokens] for s in found]


def test_each_segment_has_the_words_of_its_tokens() -> None:
    found = into_segments([segment(0, 0.6, 0, 1), segment(0.6, 1.5, 2, 3, 4)], in_row(5), 0.3, 0.0)
    assert tokens_of(found) == [[0, 1], [2, 3, 4]]
    assert [(s.start_s, s.end_s) for s in found] == [(0.0, pytest.approx(0.6)), (pytest.approx(0.6), 1.5)]
    assert found[0].words[0].probability == pytest.approx(math.exp(-0.1))
    assert found[0].words[0].confidence == confidence.of_word((-0.1,), found[0].avg_logprob)


def test_words_that_outlast_the_segments_are_left_out() -> None:
    """The last segment of a window that is gone back into is not kept, and its words come again."""
    found = into_segments([segment(0, 0.6, 0, 1)], in_row(5), 0.3, 0.0)
    assert tokens_of(found) == [[0, 1]]
    assert found[0].end_s == pytest.approx(0.6)


def test_segments_that_outlast_the_words_stay_as_they_are() -> None:
    rest = segment(5, 6, 7, 8)
    found = into_segments([segment(0, 0.6, 0, 1), rest], in_row(2), 0.3, 0.0)
    assert tokens_of(found) == [[0, 1], []]
    assert found[1] == rest
    assert into_segments([], in_row(2), 0.3, 0.0) == ()
    assert into_segments([rest], [], 0.0, 0.0) == (rest,)


def test_a_word_over_a_border_does_not_shift_those_behind_it() -> None:
    """A segment that begins with a mark, which is merged into the last word of the one before."""
    joined = [word(" a", 0, 0.3, 0), word(" b.", 0.3, 0.6, 1, 2), word(" c", 0.6, 0.9, 3), word(" d", 0.9, 1.2, 4)]
    found = into_segments([segment(0, 0.6, 0, 1), segment(0.6, 0.9, 2, 3), segment(0.9, 1.2, 4)], joined, 0.3, 0.0)
    assert tokens_of(found) == [[0, 1, 2], [3], [4]]
    swallowed = into_segments(
        [segment(0, 1, 0), segment(1, 2, 1), segment(2, 3, 2)], [word(" a", 0, 1, 0, 1, 2)], 0.3, 0
    )
    assert tokens_of(swallowed) == [[0, 1, 2], [], []]


def test_a_first_word_gives_its_pause_back() -> None:
    (found,) = into_segments([segment(0, 9.5, 0, 1)], [word(" a", 0, 9.0, 0), word(" b", 9.0, 9.3, 1)], 0.3, 0.0)
    assert (found.words[0].start_s, found.words[0].end_s) == (pytest.approx(8.4), 9.0)
    assert (found.start_s, found.end_s) == (pytest.approx(8.4), 9.3)


def test_a_segment_s_own_times_count_where_a_word_reaches_far_beyond() -> None:
    (found,) = into_segments([segment(1.0, 2.0, 0, 1)], [word(" a", 0, 1.5, 0), word(" b", 1.5, 4.0, 1)], 0.7, 0.0)
    assert found.words[0].start_s == pytest.approx(0.8)
    assert found.words[1].end_s == pytest.approx(2.2)
    assert (found.start_s, found.end_s) == (1.0, 2.0)


def test_a_word_is_only_ever_made_shorter() -> None:
    """Words are usually longer than this one, which is no reason for it to reach into those beside it."""
    words = [word(" x", 0, 1.0, 0), word(" a", 1.0, 1.6, 1), word(" y", 1.6, 2.6, 2)]
    late = into_segments([segment(0, 1, 0), segment(1.55, 1.6, 1), segment(1.6, 2.6, 2)], words, 0.7, 0.0)
    assert [w.start_s for s in late for w in s.words] == [0, 1.0, 1.6]
    words = [word(" x", 0, 1.0, 0), word(" a", 1.0, 1.6, 1), word(" y", 1.6, 2.6, 2)]
    early = into_segments([segment(0, 1, 0), segment(1.0, 1.05, 1), segment(1.6, 2.6, 2)], words, 0.7, 0.0)
    assert [w.end_s for s in early for w in s.words] == [1.0, 1.6, 2.6]


SECONDS = st.floats(0, 3, width=32)


@st.composite
def aligned(draw: st.DrawFn) -> tuple[list[Segment], tuple[Timed, ...], float]:
    """A window's segments and words as they come from the decoder, which knows two kinds of times."""
    texts = draw(st.lists(st.sampled_from([" a", "b", ",", ' "', ".", " longer", "?"]), min_size=1, max_size=14))
    starts = list(itertools.accumulate(draw(st.lists(SECONDS, min_size=len(texts), max_size=len(texts)))))
    last = starts[-1] + draw(SECONDS)
    found = [
        word(text, *times, n)
        for n, (text, times) in enumerate(zip(texts, itertools.pairwise([*starts, last]), strict=True))
    ]
    cuts = sorted(draw(st.sets(st.integers(1, len(texts)), max_size=3)) | {len(texts)})
    marks = sorted(draw(st.lists(st.floats(0, last), min_size=2 * len(cuts), max_size=2 * len(cuts))))
    segments = [
        segment(marks[2 * n], marks[2 * n + 1], *range(low, high))
        for n, (low, high) in enumerate(itertools.pairwise([0, *cuts]))
    ]
    return segments, tuple(found), last


@given(aligned(), st.floats(0, 50))
@settings(max_examples=500, deadline=None)
def test_times_never_go_back(case: tuple[list[Segment], tuple[Timed, ...], float], offset_s: float) -> None:
    segments, words, last = case
    found = with_words(segments, words, Options(), offset_s, offset_s)
    assert [s.tokens for s in found] == [s.tokens for s in segments]
    everything = [w for s in found for w in s.words]
    assert "".join(w.text for w in everything) == "".join(w.text for w in words)
    for one in everything:
        assert offset_s - 1e-6 <= one.start_s <= one.end_s <= offset_s + last + 1e-6
        assert 0.0 <= one.probability <= 1.0
    for before, after in itertools.pairwise(everything):
        assert before.end_s <= after.start_s + 1e-6
    for s in found:
        if s.words:
            assert s.start_s <= s.end_s
            assert abs(s.start_s - s.words[0].start_s) <= LONGEST_USUAL_S + SEGMENT_SLACK_S
            assert abs(s.end_s - s.words[-1].end_s) <= LONGEST_USUAL_S + SEGMENT_SLACK_S
