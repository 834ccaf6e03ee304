"""What was made up in a silence: how odd a word is, which segments are passed over, and that there is an end."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from whisperd.speech.hallucination import Passed, is_odd, oddness, pass_over
from whisperd.speech.types import Segment, Word


def word(start: float, end: float, probability: float = 0.9, text: str = " so") -> Word:
    return Word(start, end, text, (1,), probability, 0.9)


def segment(*words: Word, start: float | None = None, end: float | None = None) -> Segment:
    start = words[0].start_s if start is None else start
    end = words[-1].end_s if end is None else end
    return Segment(start, end, "".join(w.text for w in words), (1,) * len(words), -0.2, 0.0, words=words)


def usual(start: float, count: int = 4) -> Segment:
    return segment(*(word(start + 0.3 * k, start + 0.3 * (k + 1)) for k in range(count)))


def odd(start: float, end: float) -> Segment:
    """Two words, the first as long as it takes, none of them probable."""
    return segment(word(start, end - 0.01, 0.1), word(end - 0.01, end, 0.1))


def judged(*segments: Segment, threshold: float = 2.0, **more: Any) -> Passed | None:
    place = {"begin_s": 0.0, "end_s": 30.0, "stop_s": 90.0, "spoken_until_s": 0.0} | more
    return pass_over(segments, threshold, **place)


@pytest.mark.parametrize(
    ("said", "score"),
    [
        (word(0, 0.133), 0.0),
        (word(0, 2.0), 0.0),
        (word(0, 0.3, 0.15), 0.0),
        (word(0, 0.3, 0.149), 1.0),
        (word(0, 0.033), 1.5),
        (word(0, 5.0), 3.0),
        (word(0, 0.0, 0.0), 1.0 + 0.133 * 15),
    ],
)
def test_how_odd_a_word_is(said: Word, score: float) -> None:
    assert oddness(said) == pytest.approx(score)


def test_an_odd_segment() -> None:
    assert not is_odd(usual(0))
    assert not is_odd(segment(*[word(k, k + 0.3, 0.1) for k in range(2)], *[word(2, 2.3)]))
    assert is_odd(segment(word(0, 0.3, 0.1)))  # all of it
    assert is_odd(segment(*[word(k, k + 0.3, 0.1) for k in range(3)], *[word(k, k + 0.3) for k in range(3, 8)]))
    # Behind the first eight nobody looks, and marks are no words.
    assert not is_odd(segment(*[word(k, k + 0.3) for k in range(8)], *[word(k, k + 9.0) for k in range(8, 12)]))
    assert not is_odd(segment(word(0, 9.0, 0.0, "!")))
    assert not is_odd(segment(word(0, 9.0, 0.0, "?"), word(9, 9.3)))


def test_what_is_said_as_usual_stands() -> None:
    assert judged() is None
    assert judged(usual(1), usual(10), usual(20)) is None
    assert judged(usual(28.0)) is None


def test_between_silences_it_is_passed_over_and_decoded_from_there() -> None:
    assert judged(usual(1), odd(10, 12), usual(20)) == Passed(1, 10)
    assert judged(usual(1), usual(4), odd(20, 23)) == Passed(2, 20)


def test_without_silence_before_or_behind_it_stands() -> None:
    # The sentence before ends at 8.2 s, and what is as long as the threshold is not longer.
    assert judged(usual(7), odd(10.2, 12), usual(20)) is None
    assert judged(usual(7), odd(10.3, 12), usual(20)) == Passed(1, 10.3)
    assert judged(usual(1), odd(10, 12), usual(14)) is None
    assert judged(usual(1), odd(10, 12), usual(14.1)) == Passed(1, 10)


def test_another_one_behind_it_and_the_windows_end_are_as_good_as_a_silence() -> None:
    assert judged(usual(1), odd(10, 12), odd(12.5, 13), usual(13.2)) == Passed(1, 10)
    assert judged(usual(1), odd(25, 28.1)) == Passed(1, 25)
    assert judged(usual(1), odd(25, 27.9), usual(28.3)) is None


def test_the_first_one_behind_a_silence_is_decoded_without_that() -> None:
    assert judged(odd(2.1, 3), usual(3.1)) == Passed(0, 2.1)
    assert judged(odd(2.0, 3), usual(3.1)) is None
    assert judged(odd(0.5, 0.9), usual(4), threshold=0.3) == Passed(0, 1.0)


def test_at_the_clips_end_there_is_no_other_window() -> None:
    assert judged(usual(1), odd(25, 28.5), stop_s=30.0) == Passed(1, 30.0)
    assert judged(usual(1), odd(25, 27.9), stop_s=30.0, end_s=30.0) == Passed(1, 25)


def test_segments_without_words_are_no_matter() -> None:
    silent = Segment(3, 4, " x", (1,), -0.2, 0.0)
    assert judged(silent) is None
    assert judged(usual(1), silent, odd(10, 12)) == Passed(2, 10)


@given(
    st.lists(st.tuples(st.floats(0, 4), st.floats(0, 4), st.floats(0, 1)), max_size=6),
    st.floats(0.1, 30),
    st.floats(0, 100),
)
def test_the_next_window_begins_later(
    drawn: list[tuple[float, float, float]], threshold: float, begin: float
) -> None:
    segments, now = [], begin
    for pause, length, probability in drawn:
        segments.append(segment(word(now + pause, now + pause + length, probability)))
        now += pause + length
    passed = pass_over(segments, threshold, begin_s=begin, end_s=now, stop_s=now + 60.0, spoken_until_s=begin)
    if passed is not None:
        assert passed.following_s >= begin + 1.0
        assert 0 <= passed.segments < len(segments)
        # What does not stand is heard once more.
        assert passed.following_s <= max(begin + 1.0, segments[passed.segments].start_s)
