"""A figure of 0 to 1 for a word and for a text."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st
from whisperd.speech import confidence

# A probability that has come to nothing has -inf; one that is as good as certain may be rounded to 0.
LOGPROB = st.floats(-60.0, 0.0) | st.just(-math.inf) | st.just(0.0)
LOGPROBS = st.lists(LOGPROB, min_size=1, max_size=40)


def test_nothing_is_not_sure() -> None:
    assert confidence.of_word([], 0.0) == confidence.of_word((), -1.0) == 0.0


@given(logprobs=LOGPROBS, mean=LOGPROB)
def test_it_is_a_probability(logprobs: list[float], mean: float) -> None:
    assert 0.0 <= confidence.of_word(logprobs, mean) <= 1.0
    assert confidence.of_word(logprobs, mean) == confidence.of_word(tuple(logprobs), mean)
    assert 0.0 <= confidence.of_text(mean) <= 1.0


@given(logprobs=LOGPROBS, mean=LOGPROB, data=st.data())
def test_who_is_surer_of_a_token_or_of_the_text_is_no_less_sure_of_the_whole(
    logprobs: list[float], mean: float, data: st.DataObject
) -> None:
    at = data.draw(st.integers(0, len(logprobs) - 1))
    surer = list(logprobs)
    surer[at] = data.draw(st.floats(max(logprobs[at], -1e9), 0.0))
    better = data.draw(st.floats(max(mean, -1e9), 0.0))
    assert confidence.of_word(surer, mean) >= confidence.of_word(logprobs, mean) - 1e-12
    assert confidence.of_word(logprobs, better) >= confidence.of_word(logprobs, mean) - 1e-12
    assert confidence.of_text(better) >= confidence.of_text(mean)


@pytest.mark.parametrize(
    ("probability", "mean", "figure"),
    # 1 / (1 + exp(-(1.681 + 0.835 log(p / (1 - p)) + 1.740 m))), by a pocket calculator.
    [(0.5, 0.0, 0.8430), (0.5, -1.0, 0.4853), (0.9, -0.2, 0.9596), (0.1, -0.5, 0.2643), (1.0, 0.0, 0.9999)],
)
def test_a_word(probability: float, mean: float, figure: float) -> None:
    assert confidence.of_word([math.log(probability)], mean) == pytest.approx(figure, abs=2e-4)
    assert confidence.of_word([math.log(probability) / 2] * 2, mean) == pytest.approx(figure, abs=2e-4)


@pytest.mark.parametrize(("mean", "figure"), [(0.0, 0.9542), (-0.2, 0.8948), (-1.0, 0.1919), (-3.0, 0.0000)])
def test_a_text(mean: float, figure: float) -> None:
    assert confidence.of_text(mean) == pytest.approx(figure, abs=2e-4)
