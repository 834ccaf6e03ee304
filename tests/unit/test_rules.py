"""Which tokens may come next: the reference's rules, written down a second time and plainly, over random logits.

The second writing goes token by token through Python's own numbers, by the words of the paper and of
openai/whisper's comments, and shares nothing with `whisperd.speech.rules` but the manifest.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from whisperd.speech.bundle import Dimensions, Manifest, Tokens
from whisperd.speech.options import Options
from whisperd.speech.rules import Rules, log_softmax

TEXT, SPECIAL, TIMES = 12, 9, 31
EOT = TEXT
BEGIN = TEXT + SPECIAL
VOCAB = BEGIN + TIMES
TOKENS = Tokens(
    sot=EOT + 1,
    eot=EOT,
    transcribe=EOT + 4,
    translate=EOT + 3,
    sot_prev=EOT + 6,
    sot_lm=EOT + 5,
    no_speech=EOT + 7,
    no_timestamps=EOT + 8,
    timestamp_begin=BEGIN,
    languages={"en": EOT + 2},
)
MANIFEST = Manifest(
    name="rules",
    precision="fp32",
    dimensions=Dimensions(80, 1500, 64, 1, 1, 1, 448, VOCAB),
    tokens=TOKENS,
    multilingual=True,
    tail_stride=16,
    loudest=1.5,
    suppress=(3, 4, EOT + 1),
    suppress_begin=(5, EOT),
    alignment_heads=((0, 0),),
    source="",
    licence="",
    files={},
)


@dataclass(frozen=True)
class Case:
    """What a step depends on."""

    logits: tuple[float, ...]
    chosen: tuple[int, ...]
    options: Options = Options()
    seconds: float | None = None
    lead: tuple[int, ...] = ()


def rules(case: Case) -> np.ndarray:
    logits = np.array(case.logits, np.float32)
    before = logits.copy()
    found = Rules(MANIFEST, case.options, case.seconds, case.lead).logprobs(logits, case.chosen)
    np.testing.assert_array_equal(logits, before)  # the model's own array
    assert found.dtype == np.float32
    return found


def seconds_of(token: int) -> float:
    return (token - BEGIN) * 0.02


def listed(token: int, case: Case) -> bool:
    """Whether a text token is on a list of what is not to come."""
    options, before = case.options, [*case.lead, *case.chosen]
    suppressed: set[int] = set()
    for entry in options.suppress_tokens or ():
        suppressed |= set(MANIFEST.suppress) if entry == -1 else {entry}
    return token in suppressed - {EOT} or (
        not before and options.suppress_blank and token in MANIFEST.suppress_begin
    )


def comes_again(token: int, case: Case) -> bool:
    """Whether a text token completes a sequence that was there before."""
    size = case.options.no_repeat_ngram_size
    text = [t for t in [*case.lead, *case.chosen] if t < EOT] + [token]
    grams = [tuple(text[i : i + size]) for i in range(len(text) - size + 1)] if size else []
    return bool(grams) and grams[-1] in grams[:-1]


def in_time(token: int, case: Case) -> bool:
    """Whether a time is one of the window's, and not too late for a first one."""
    assert case.seconds is not None
    # The window's end may lie within a step of 0.02 s, which is then the last.
    within = seconds_of(token) < case.seconds + 0.02 - 1e-9
    first = not [*case.lead, *case.chosen]
    return within and (not first or seconds_of(token) <= case.options.max_initial_timestamp + 1e-9)


def in_turn(token: int, case: Case) -> bool:
    """Whether it is a time's turn, or a text's, and a time is not too early."""
    before = [*case.lead, *case.chosen]
    if not before:
        return token >= BEGIN
    ended = len(before) >= 2 and before[-1] >= BEGIN > before[-2]
    began = before[-1] >= BEGIN and not ended
    if token < BEGIN:
        return not ended or token == EOT
    newest = max((t for t in before if t >= BEGIN), default=BEGIN - 1)
    return not began and (token >= newest if ended else token > newest)


def may_come(token: int, case: Case) -> bool:
    """Whether a token may come, apart from how probable times are altogether."""
    if EOT < token < BEGIN:
        return False
    if token >= BEGIN and (case.seconds is None or not in_time(token, case)):
        return False
    if token <= EOT and (listed(token, case) or (token < EOT and comes_again(token, case))):
        return False
    return case.seconds is None or in_turn(token, case)


def penalised(case: Case) -> list[float]:
    """The logits of what may come."""
    before = [*case.lead, *case.chosen]
    scores = []
    for token, logit in enumerate(case.logits):
        penalty = case.options.repetition_penalty if token in before and token < EOT else 1.0
        score = logit * penalty if logit < 0 else logit / penalty
        scores.append(score if may_come(token, case) else -math.inf)
    return scores


def log_sum(scores: Sequence[float]) -> float:
    most = max(scores)
    return most if most == -math.inf else most + math.log(sum(math.exp(score - most) for score in scores))


def expected(case: Case) -> list[float]:
    """Natural log-probabilities by the rules."""
    scores = penalised(case)
    if case.seconds is not None and log_sum(scores[BEGIN:]) > max(scores[:BEGIN]):
        scores[:BEGIN] = [-math.inf] * BEGIN
    total = log_sum(scores)
    return [score - total for score in scores]


def close(case: Case) -> bool:
    """Whether times altogether and the best text are as good as equally probable, so that rounding decides."""
    scores = penalised(case)
    times, text = log_sum(scores[BEGIN:]), max(scores[:BEGIN])
    return times > -math.inf and abs(times - text) < 1e-4


LOGITS = st.lists(st.floats(-8, 8, width=32), min_size=VOCAB, max_size=VOCAB).map(tuple)


@st.composite
def sequences(draw: st.DrawFn, timed: bool, last_time: int) -> tuple[int, ...]:
    """Tokens as a decoding chooses them: text in pairs of times that rise, broken off anywhere."""
    words = st.lists(st.integers(0, TEXT - 1), min_size=1, max_size=5)
    if not timed:
        return tuple(draw(st.lists(st.integers(0, TEXT - 1), max_size=8)))
    marks = sorted(draw(st.lists(st.integers(0, last_time), max_size=6, unique=True)))
    found: list[int] = []
    for start, end in zip(marks, marks[1:], strict=False):
        found += [BEGIN + start, *draw(words), BEGIN + end]
    return tuple(found[: draw(st.integers(0, len(found)))])


@st.composite
def cases(draw: st.DrawFn) -> Case:
    timed = draw(st.booleans())
    seconds = draw(st.sampled_from([0.01, 0.1, 0.13, 0.3, 0.58, 0.6, 30.0])) if timed else None
    last_time = min(TIMES - 1, math.ceil((seconds or 0) / 0.02))
    options = Options(
        suppress_blank=draw(st.booleans()),
        suppress_tokens=draw(st.sampled_from([None, (), (-1,), (0,), (1, -1), (EOT, BEGIN), (EOT + 3, 2)])),
        repetition_penalty=draw(st.sampled_from([1.0, 1.3, 0.5])),
        no_repeat_ngram_size=draw(st.integers(0, 3)),
        max_initial_timestamp=draw(st.sampled_from([0.0, 0.02, 0.1, 1.0, 30.0])),
    )
    lead: tuple[int, ...] = ()
    if draw(st.booleans()):
        lead = (*((BEGIN,) if timed else ()), *draw(st.lists(st.integers(0, TEXT - 1), min_size=1, max_size=4)))
    chosen = draw(sequences(timed, last_time))
    if lead and timed and chosen:
        chosen = chosen[1:]  # the prefix's own time stands before
    return Case(draw(LOGITS), chosen, options, seconds, lead)


@given(cases())
@settings(max_examples=300, deadline=None)
def test_the_rules_are_the_reference_s(case: Case) -> None:
    if case.seconds is not None and close(case):
        return
    found, wanted = rules(case), expected(case)
    np.testing.assert_array_equal(np.isneginf(found), np.isneginf(wanted))
    np.testing.assert_allclose(found, wanted, atol=1e-4)
    assert np.exp(found).sum() == pytest.approx(1.0, abs=1e-4)


# --- one by one, so that a failure has a name -------------------------------------------------------------------


def at(step: int) -> int:
    return BEGIN + step


def possible(*chosen: int, seconds: float | None = 0.6, lead: Sequence[int] = (), **options: Any) -> set[int]:
    """What may come where a time and a text are equally probable, so that neither is ruled out by the other."""
    flat = np.zeros(VOCAB)
    flat[BEGIN:] = -10.0
    found = rules(Case(tuple(flat), chosen, Options(**options), seconds, tuple(lead)))
    return {int(token) for token in np.flatnonzero(np.isfinite(found))}


WORDS = set(range(TEXT)) - set(MANIFEST.suppress)


def test_without_times_there_is_text_and_its_end() -> None:
    assert possible(seconds=None) == WORDS - {5}
    assert possible(seconds=None, suppress_blank=False) == WORDS | {EOT}
    assert possible(0, seconds=None) == WORDS | {EOT}


def test_suppress_lists() -> None:
    everything = set(range(EOT + 1))
    assert possible(0, seconds=None, suppress_tokens=None) == everything
    assert possible(0, seconds=None, suppress_tokens=()) == everything
    assert possible(0, seconds=None, suppress_tokens=(0, 9)) == everything - {0, 9}
    assert possible(0, seconds=None, suppress_tokens=(-1, 9)) == (WORDS | {EOT}) - {9}
    # A text must be able to end, and special tokens are no text, whatever is listed.
    assert possible(0, seconds=None, suppress_tokens=(EOT,)) == everything


def test_a_window_begins_with_a_time_that_is_not_late() -> None:
    assert possible(max_initial_timestamp=0.1) == {at(n) for n in range(6)}
    assert possible(max_initial_timestamp=0.0) == {at(0)}
    assert possible(max_initial_timestamp=30.0) == {at(n) for n in range(31)}
    assert possible(max_initial_timestamp=30.0, seconds=0.2) == {at(n) for n in range(11)}


def test_times_come_in_pairs_and_rise() -> None:
    assert possible(at(0)) == WORDS | {EOT}
    assert possible(at(0), 1) == WORDS | {EOT} | {at(n) for n in range(1, 31)}
    assert possible(at(0), 1, at(4)) == {EOT} | {at(n) for n in range(4, 31)}
    assert possible(at(0), 1, at(4), at(7)) == WORDS | {EOT}
    assert possible(at(0), 1, at(4), at(7), 2) == WORDS | {EOT} | {at(n) for n in range(8, 31)}


def test_at_the_window_s_end_there_is_no_time_left() -> None:
    assert possible(at(0), 1, seconds=0.03) == WORDS | {EOT} | {at(1), at(2)}
    assert possible(at(0), 1, at(30)) == {EOT, at(30)}
    assert possible(at(0), 1, at(30), at(30), 2) == WORDS | {EOT}


def test_a_prefix_counts_as_chosen() -> None:
    assert possible(lead=(at(0), 1)) == WORDS | {EOT} | {at(n) for n in range(1, 31)}
    assert possible(seconds=None, lead=(1,)) == WORDS | {EOT}
    assert possible(0, seconds=None, lead=(1, 2), no_repeat_ngram_size=2) == WORDS | {EOT}
    assert possible(1, seconds=None, lead=(1, 2), no_repeat_ngram_size=2) == (WORDS | {EOT}) - {2}


def test_where_times_outweigh_every_text_a_time_comes() -> None:
    logits = np.full(VOCAB, -20.0)
    logits[1], logits[at(5)], logits[at(6)] = 1.0, 0.4, 0.4  # each less probable than the text, both more
    found = rules(Case(tuple(logits), (at(0), 2), Options(), 0.6))
    assert np.isneginf(found[:BEGIN]).all()
    assert found[at(5)] == pytest.approx(math.log(0.5), abs=1e-3)
    logits[at(6)] = -1.0
    assert rules(Case(tuple(logits), (at(0), 2), Options(), 0.6)).argmax() == 1
    # What is ruled out does not weigh.
    logits[at(6)] = 0.4
    assert rules(Case(tuple(logits), (at(0), 2, at(6), at(6), 3), Options(), 0.6)).argmax() == 1


def test_repetition_is_penalised_whatever_the_sign() -> None:
    logits = np.zeros(VOCAB)
    logits[1], logits[2] = 2.0, -2.0
    found = rules(Case(tuple(logits), (1, 2), Options(repetition_penalty=2.0)))
    plain = rules(Case(tuple(logits), (1, 2), Options()))
    assert found[1] - found[0] == pytest.approx(1.0)
    assert found[2] - found[0] == pytest.approx(-4.0)
    assert plain[1] - plain[0] == pytest.approx(2.0)


def test_ngrams_come_once_and_times_are_not_among_them() -> None:
    assert possible(0, 1, 0, seconds=None, no_repeat_ngram_size=1) == (WORDS | {EOT}) - {0, 1}
    assert possible(0, 1, 0, seconds=None, no_repeat_ngram_size=2) == (WORDS | {EOT}) - {1}
    assert possible(0, 1, 0, seconds=None, no_repeat_ngram_size=3) == WORDS | {EOT}
    spoken = (at(0), 0, 1, at(2), at(2), 0)
    assert possible(*spoken, no_repeat_ngram_size=2) == (WORDS | {EOT} | {at(n) for n in range(3, 31)}) - {1}


def test_log_softmax() -> None:
    rows = np.array([[0.0, 0.0], [1000.0, 0.0], [-np.inf, 3.0]], np.float32)
    np.testing.assert_allclose(np.exp(log_softmax(rows)), [[0.5, 0.5], [1, 0], [0, 1]], atol=1e-6)
    assert (log_softmax(rows) <= 0).all()
