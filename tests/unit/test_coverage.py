"""Does a window's text account for its voice: which words stand, and where to go on. The detector is a list."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from whisperd.speech.coverage import (
    LEAST_ADVANCE_S,
    NO_TIME_WORDS,
    UNHEARD_VOICE_S,
    Coverage,
    Verdict,
    said,
)
from whisperd.speech.types import Unattended
from whisperd.speech.words import Timed

RATE = 16_000


class Voice:
    """Hears a voice where samples are not zero."""

    def stretch(self, pcm: np.ndarray, control: Any) -> tuple[float, float]:
        spoken = np.flatnonzero(pcm)
        return (float(spoken[0]) / RATE, len(spoken) / RATE) if len(spoken) > RATE // 10 else (0.0, 0.0)

    def ends_in_voice(self, pcm: np.ndarray, control: Any) -> bool:
        return bool(pcm[-RATE // 10 :].all())


def window(seconds: float, *spoken: tuple[float, float]) -> np.ndarray:
    pcm = np.zeros(round(seconds * RATE), np.int16)
    for start, end in spoken:
        pcm[round(start * RATE) : round(end * RATE)] = 1000
    return pcm


def words(*times: float, text: str = " w") -> list[Timed]:
    """Words from each time to the next."""
    return [
        Timed(f"{text}{n}", (n,), start, end, (-0.1,))
        for n, (start, end) in enumerate(zip(times, times[1:], strict=False))
    ]


def judge(pcm: np.ndarray, spoken: list[Timed], *, ends: bool = False, whole: bool = False) -> Verdict:
    return Coverage(Voice()).judge(pcm, spoken, Unattended(), ends=ends, whole=whole)  # type: ignore[arg-type]


STEADY = [0.5 + 0.4 * n for n in range(11)]  # ten words up to 4.5 s


def test_a_window_that_is_told_whole_ends_where_it_ends() -> None:
    assert judge(window(9.0, (0.5, 4.5)), words(*STEADY)) == Verdict(10, 9.0)


def test_voice_behind_the_last_word_is_worth_another_window() -> None:
    found = judge(window(20.0, (0.5, 4.5), (10.0, 15.0)), words(*STEADY))
    assert (found.words, found.following_s) == (10, pytest.approx(9.7))
    hardly = judge(window(20.0, (0.5, 4.5), (10.0, 10.0 + UNHEARD_VOICE_S - 0.05)), words(*STEADY))
    assert hardly == Verdict(10, 20.0)


def test_also_behind_a_very_short_first_word() -> None:
    found = judge(window(20.0, (0.1, 0.5), (0.8, 15.0)), words(0.1, 0.5))
    assert (found.words, found.following_s) == (1, LEAST_ADVANCE_S)


def test_a_word_that_has_swallowed_others_begins_the_next_window() -> None:
    found = judge(window(20.0, (0.5, 9.0)), words(*STEADY, 9.0))
    assert (found.words, found.following_s) == (10, pytest.approx(4.5))
    pause = judge(window(20.0, (0.5, 4.5), (8.6, 9.0)), words(*STEADY, 9.0))
    assert pause == Verdict(11, 20.0)


def test_a_first_word_that_has_swallowed_others_makes_the_window_shorter() -> None:
    pcm = window(20.0, (0.0, 6.0), (6.5, 14.0))
    spoken = words(0.0, 7.0, *(7.4 + 0.4 * n for n in range(12)))
    found = judge(pcm, spoken)
    assert (found.words, found.following_s) == (0, 0.0)
    assert found.until_s is not None and 6.0 <= found.until_s <= 6.8
    assert judge(pcm, spoken, whole=True).until_s is None


def test_of_a_window_that_ends_within_speech_the_last_word_is_not_believed() -> None:
    pcm = window(4.4, (0.5, 4.4))
    assert judge(pcm, words(*STEADY[:-1], 4.4)) == Verdict(9, pytest.approx(4.1))
    assert judge(pcm, words(*STEADY[:-1], 4.4), ends=True) == Verdict(10, 4.4)


def test_words_without_time_at_the_end_were_not_said() -> None:
    made_up = [Timed(f" x{n}", (90 + n,), 4.5, 4.5 + 0.02 * (n == 3), (-0.1,)) for n in range(6)]
    assert said([*words(*STEADY), *made_up]) == 10
    assert judge(window(4.6, (0.5, 4.5)), [*words(*STEADY), *made_up], ends=True) == Verdict(10, 4.6)
    # Some may be in a hurry, marks are no words, and a text without any time is not judged by it.
    assert said([*words(*STEADY), *made_up[: NO_TIME_WORDS - 1]]) == 10 + NO_TIME_WORDS - 1
    marks = [Timed(".", (99,), 4.5, 4.5, (-0.1,))] * 6
    assert said([*words(*STEADY), *marks]) == 16
    assert said(made_up) == 6
    assert said([]) == 0


def test_time_within_a_text_is_not_asked_for() -> None:
    fast = [*words(*STEADY), *[Timed(" x", (9,), 4.5, 4.5, (-0.1,))] * 6, Timed(" y", (9,), 4.5, 5.0, (-0.1,))]
    assert said(fast) == len(fast)


@given(
    st.lists(st.floats(0.0, 20.0), min_size=2, max_size=20).map(sorted),
    st.lists(st.tuples(st.floats(0.0, 20.0), st.floats(0.0, 6.0)), max_size=5),
    st.booleans(),
    st.booleans(),
)
@settings(max_examples=300, deadline=None)
def test_it_always_goes_on(times: list[float], voices: list[tuple[float, float]], ends: bool, whole: bool) -> None:
    pcm = window(20.0, *((start, min(20.0, start + length)) for start, length in voices))
    spoken = words(*times)
    found = judge(pcm, spoken, ends=ends, whole=whole)
    assert 0 <= found.words <= len(spoken)
    if found.until_s is None:
        assert LEAST_ADVANCE_S <= found.following_s <= 20.0
        # What does not stand comes again.
        if found.words < said(spoken):
            assert found.following_s <= spoken[found.words].start_s
    else:
        assert not whole
        assert (found.words, found.following_s) == (0, 0.0)
        assert LEAST_ADVANCE_S <= found.until_s <= 20.0 - LEAST_ADVANCE_S
