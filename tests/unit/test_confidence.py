"""A figure of 0 to 1 for a word and for a text: what holds whatever the formula is."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st
from whisperd.speech import confidence

FIGURES = pytest.mark.parametrize("figure", [confidence.of_word, confidence.of_text])
Figure = Callable[[Sequence[float]], float]

# A probability that has come to nothing has -inf; one that is as good as certain may be rounded to 0.
LOGPROBS = st.lists(st.floats(-60.0, 0.0) | st.just(-math.inf) | st.just(0.0), min_size=1, max_size=40)


@FIGURES
def test_nothing_is_not_sure(figure: Figure) -> None:
    assert figure([]) == figure(()) == 0.0


@FIGURES
@given(logprobs=LOGPROBS)
def test_it_is_a_probability(figure: Figure, logprobs: list[float]) -> None:
    assert 0.0 <= figure(logprobs) <= 1.0
    assert figure(logprobs) == figure(tuple(logprobs))


@FIGURES
@given(logprobs=LOGPROBS, data=st.data())
def test_who_is_surer_of_a_token_is_no_less_sure_of_the_whole(
    figure: Figure, logprobs: list[float], data: st.DataObject
) -> None:
    at = data.draw(st.integers(0, len(logprobs) - 1))
    surer = list(logprobs)
    surer[at] = data.draw(st.floats(max(logprobs[at], -1e9), 0.0))
    assert figure(surer) >= figure(logprobs) - 1e-12


@FIGURES
@given(logprob=st.floats(-20.0, -0.01))
def test_it_tells_the_sure_from_the_unsure(figure: Figure, logprob: float) -> None:
    assert figure([0.0] * 3) > figure([logprob] * 3)
    assert figure([-0.01] * 3) > figure([-3.0] * 3) + 0.2


@FIGURES
def test_a_text_is_not_less_sure_for_being_long(figure: Figure) -> None:
    """Certain of each of a hundred tokens, it is not as good as lost."""
    assert figure([math.log(0.95)] * 100) > 0.5
