"""Greedy search: the prompt, suppression, the cap, loops, and cancelling. The model is a script of logits."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from whisperd.errors import Cancelled
from whisperd.speech.bundle import Dimensions, Manifest, Tokens
from whisperd.speech.decoding import (
    LOOP_MIN_TOKENS,
    LOOP_REPEATS,
    MIN_TOKENS,
    NOTHING_KNOWN,
    Decoder,
    Work,
    loop_length,
    max_tokens,
    without_loop,
)
from whisperd.speech.model import Hypothesis
from whisperd.speech.prompting import start
from whisperd.speech.types import Known, Unattended

VOCAB = 60
TOKENS = Tokens(
    sot=41,
    eot=40,
    transcribe=45,
    translate=44,
    sot_prev=47,
    sot_lm=46,
    no_speech=48,
    no_timestamps=49,
    timestamp_begin=50,
    languages={"en": 42, "de": 43},
)


def manifest(multilingual: bool = True, context: int = 448) -> Manifest:
    return Manifest(
        name="script",
        precision="fp32",
        dimensions=Dimensions(80, 1500, 64, 1, 1, 1, context, VOCAB),
        tokens=TOKENS,
        multilingual=multilingual,
        tail_stride=16,
        loudest=1.5,
        suppress=(7,),
        suppress_begin=(8, TOKENS.eot),
        alignment_heads=((0, 0),),
        source="",
        licence="",
        files={},
    )


class Script:
    """A model whose choice depends on how many text tokens there are already."""

    def __init__(self, best: Callable[[int], Sequence[int]], **kind: Any) -> None:
        self.manifest = manifest(**kind)
        self.best = best
        self.calls: list[list[int]] = []
        self.fed: list[int] = []

    def start(self, cross: dict[str, Any], *, attend: bool = False) -> Hypothesis:
        self.fed = []
        return Hypothesis(dict(cross), attentions=[[]] if attend else None)

    def rewind(self, hypothesis: Hypothesis, position: int) -> None:
        del self.fed[position:]
        if hypothesis.attention is not None:
            del hypothesis.attention[position:]

    def step(
        self, hypothesis: Hypothesis, tokens: Sequence[int], rows: Sequence[int] = (-1,), run_options: Any = None
    ) -> np.ndarray:
        self.calls.append(list(tokens))
        before = len(self.fed)
        self.fed += tokens
        if hypothesis.attention is not None:
            hypothesis.attention.extend([np.full((1, 4), at, np.float32) for at in range(before, len(self.fed))])
        prompt_tokens = 4 if self.manifest.multilingual else 2
        logits = np.zeros((len(rows), VOCAB), np.float32)
        for row, at in enumerate(rows):
            position = at % len(tokens) + before
            if position >= prompt_tokens - 1 or tokens == [TOKENS.sot]:
                for rank, token in enumerate(self.best(max(position - prompt_tokens + 1, 0))):
                    logits[row, token] = 20 - rank
            else:
                logits[row, TOKENS.no_speech] = 10.0
        return logits


def decode(
    model: Script, limit: int = 100, language: str = "en", task: str = "transcribe", known: Known = NOTHING_KNOWN
) -> Any:
    decoder = Decoder(model)  # type: ignore[arg-type]
    return decoder.decode({}, Work(language, task, limit, known=known, attend=True), Unattended())


def ends_after(count: int) -> Callable[[int], list[int]]:
    return lambda n: [n % 30 + 9 if n < count else TOKENS.eot]


def test_prompts() -> None:
    assert start(TOKENS, True, "de", "transcribe").ids == (41, 43, 45, 49)
    assert start(TOKENS, True, "de", "translate").ids == (41, 43, 44, 49)
    assert start(TOKENS, False, "en", "transcribe").ids == (41, 49)


def test_tokens_are_fed_once_and_the_end_is_not_text() -> None:
    model = Script(ends_after(3))
    found = decode(model)
    assert found.tokens == (9, 10, 11)
    assert found.ended
    assert model.calls == [[41, 42, 45, 49], [9], [10], [11]]
    assert found.no_speech_prob == pytest.approx(np.exp(10) / (np.exp(10) + VOCAB - 1), rel=1e-4)
    assert -1e-4 < found.avg_logprob <= 0


def test_suppressed_tokens_are_never_chosen() -> None:
    # 7 always; 8 and the end of text at the beginning; special tokens and timestamps always.
    model = Script(
        lambda n: [7, TOKENS.eot, 8, 55, 43, 20] if n == 0 else [7, 55, 8, TOKENS.eot] if n == 1 else [40]
    )
    assert decode(model).tokens == (20, 8)


@pytest.mark.parametrize("limit", [1, 2, 17])
def test_the_cap_ends_the_search(limit: int) -> None:
    model = Script(lambda n: [n % 30 + 9])
    found = decode(model, limit)
    assert len(found.tokens) == limit
    assert not found.ended
    assert decode(Script(ends_after(limit)), limit).ended


def test_the_context_is_never_exceeded() -> None:
    model = Script(lambda n: [n % 30 + 9], context=12)
    found = decode(model, 1000)
    assert sum(map(len, model.calls)) <= 12
    assert len(found.tokens) == 8


def test_a_loop_ends_the_search_early() -> None:
    model = Script(lambda n: [9 + n % 5])
    found = decode(model, 400)
    assert not found.ended
    assert len(model.calls) == 15
    assert without_loop(found.tokens) == (9, 10, 11, 12, 13)


def test_what_really_is_said_again_and_again_is_kept_where_loops_are_not_left() -> None:
    model = Script(lambda n: [9 + n % 5 if n < 40 else TOKENS.eot])
    decoder = Decoder(model)  # type: ignore[arg-type]
    found = decoder.decode({}, Work("en", "transcribe", 100, leave_loops=False), Unattended())
    assert found.ended
    assert len(found.tokens) == 40


def test_a_draft_that_is_right_costs_one_run() -> None:
    model = Script(ends_after(5))
    found = decode(model, known=Known((9, 10), (-0.5, -0.25), (11, 12, 13)))
    assert found.tokens == (9, 10, 11, 12, 13)
    assert found.ended
    assert model.calls == [[41, 42, 45, 49, 9, 10, 11, 12, 13]]
    assert found.logprobs[:2] == (-0.5, -0.25)
    assert found.avg_logprob == pytest.approx((sum(found.logprobs)) / 6, abs=1e-4)


@given(st.integers(0, 12), st.integers(0, 12), st.lists(st.integers(9, 38), max_size=12), st.integers(1, 14))
def test_a_draft_changes_nothing_but_the_number_of_runs(
    length: int, right: int, wrong: list[int], limit: int
) -> None:
    """Whatever is guessed, also beyond the end and over the limit, the text is the one without a guess."""
    plain = decode(Script(ends_after(length)), limit)
    text = [n % 30 + 9 for n in range(length)]
    for stable in (0, min(right, length) // 2):
        known = Known(tuple(text[:stable]), (0.0,) * stable, (*text[stable : min(right, length)], *wrong))
        guessed = decode(Script(ends_after(length)), limit, known=known)
        assert (guessed.tokens, guessed.ended) == (plain.tokens, plain.ended)
        assert guessed.logprobs == pytest.approx(plain.logprobs, abs=1e-3)
        np.testing.assert_array_equal(guessed.attention, plain.attention)


def test_what_is_stable_stands_even_if_the_model_would_choose_something_else() -> None:
    found = decode(Script(ends_after(4)), known=Known((30, 31), (-1.0, -1.0)))
    assert found.tokens == (30, 31, 11, 12)


def test_a_token_looks_where_the_one_before_it_was_fed() -> None:
    found = decode(Script(ends_after(3)))
    assert found.attention[:, 0, 0].tolist() == [3, 4, 5]
    unasked = Decoder(Script(ends_after(3))).decode({}, Work("en", "transcribe", 9), Unattended())  # type: ignore[arg-type]
    assert unasked.attention is None


@pytest.mark.parametrize(
    ("tokens", "length"),
    [
        ([], 0),
        ([5] * (LOOP_MIN_TOKENS - 1), 0),
        ([5] * LOOP_MIN_TOKENS, 1),
        ([1, 2] * 7, 0),
        ([1, 2] * 8, 2),
        (list(range(24)) * LOOP_REPEATS, 24),
        (list(range(25)) * LOOP_REPEATS, 0),
        ([3, *([1, 2, 3, 4, 5] * 3)], 5),
        ([*([1, 2, 3, 4, 5] * 3), 3], 0),
    ],
)
def test_what_a_loop_is(tokens: list[int], length: int) -> None:
    assert loop_length(tokens) == length


@given(st.lists(st.integers(0, 3), max_size=60))
def test_cutting_a_loop_leaves_none_and_only_cuts(tokens: list[int]) -> None:
    kept = without_loop(tokens)
    assert tuple(tokens[: len(kept)]) == kept
    period = loop_length(tokens)
    assert (len(kept) == len(tokens)) == (period == 0)
    assert not period or kept[-period:] != kept[-2 * period : -period]


@given(st.lists(st.integers(0, 1000), unique=True, max_size=100))
def test_what_does_not_repeat_is_kept(tokens: list[int]) -> None:
    assert without_loop(tokens) == tuple(tokens)


def test_max_tokens_grows_with_the_clip_up_to_half_the_context() -> None:
    assert max_tokens(0.0, 448) == MIN_TOKENS
    assert max_tokens(2.0, 448) == MIN_TOKENS + 32
    assert max_tokens(30.0, 448) == 224


def test_cancel_is_seen_before_every_step() -> None:
    class Impatient(Unattended):
        left = 3

        def step(self) -> None:
            self.left -= 1
            if self.left < 0:
                raise Cancelled("enough")

    model = Script(lambda n: [n % 30 + 9])
    with pytest.raises(Cancelled):
        Decoder(model).decode({}, Work("en", "transcribe", 100), Impatient())  # type: ignore[arg-type]
    assert len(model.calls) == 3


def test_language_is_the_best_of_the_allowed() -> None:
    decoder = Decoder(Script(lambda n: [20, 43, 42]))  # type: ignore[arg-type]
    (first, most), (second, least) = decoder.languages({}, ("en", "de"), Unattended())
    assert (first, second) == ("de", "en")
    assert most == pytest.approx(np.e / (1 + np.e), abs=1e-5)  # 19 against 18: the others do not count
    assert most + least == pytest.approx(1.0)
    assert decoder.languages({}, ("en",), Unattended()) == (("en", 1.0),)
