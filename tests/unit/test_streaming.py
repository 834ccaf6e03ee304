"""Which tokens stand: the two policies, and the way back to a place where a word begins."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tiny_bundle import tiny_bundle
from whisperd.speech.decoding import Decoded
from whisperd.speech.options import Options
from whisperd.speech.streaming import (
    DEFAULT_POLICY,
    POLICIES,
    AlignAtt,
    LocalAgreement,
    looked_at,
    settle,
)
from whisperd.speech.transcribe import Transcriber, load
from whisperd.speech.types import Known, Pass, Unattended

SURE, GUESS = math.log(0.9), math.log(0.4)


def decoded(tokens: Sequence[int], logprobs: Sequence[float] | None = None, at: Sequence[int] = ()) -> Decoded:
    attention = np.zeros((len(at), 2, 100), np.float32)
    for row, position in enumerate(at):
        attention[row, :, position] = 1.0
    return Decoded(tuple(tokens), -0.1, 0.0, True, tuple(logprobs or [SURE] * len(tokens)), attention)


@pytest.mark.parametrize(
    ("draft", "tokens", "standing"),
    [
        ((), (1, 2, 3), 0),
        ((1, 2), (1, 2, 3), 2),
        ((1, 2, 3), (1, 2), 2),
        ((1, 9, 3), (1, 2, 3), 1),
        ((9,), (1, 2, 3), 0),
        ((1, 2, 3), (), 0),
    ],
)
def test_two_passes_agree(draft: tuple[int, ...], tokens: tuple[int, ...], standing: int) -> None:
    policy = LocalAgreement()
    assert policy.standing(Known(draft=draft), decoded(tokens), 50) == standing
    # What is stable already stands in any case, and what follows it is compared with what followed it.
    known = Known((7, 8), (GUESS, GUESS), draft)
    assert policy.standing(known, decoded((7, 8, *tokens)), 50) == 2 + standing


def test_what_was_a_guess_does_not_stand() -> None:
    found = decoded((1, 2, 3), (SURE, GUESS, SURE), at=(1, 2, 3))
    assert LocalAgreement().standing(Known(draft=(1, 2, 3)), found, 90) == 1
    assert AlignAtt().standing(Known(), found, 90) == 1
    assert AlignAtt().standing(Known((1, 2), (SURE, GUESS)), found, 90) == 3


@pytest.mark.parametrize(("last", "standing"), [(64, 3), (65, 2), (89, 2)])
def test_what_looks_at_the_last_half_second_does_not_stand(last: int, standing: int) -> None:
    assert AlignAtt(margin_s=0.5).standing(Known(), decoded((1, 2, 3), at=(5, 20, last)), 90) == standing


def test_what_looks_at_the_silence_behind_is_judged_by_where_else_it_looks() -> None:
    attention = np.zeros((1, 2, 100), np.float32)
    attention[0, :, 95] = 0.7
    attention[0, :, 30] = 0.3
    assert looked_at(attention, 90).tolist() == [30]


PIECES = {1: b" air", 2: b"port", 3: b" in", 4: b".", 5: "日".encode(), 6: "本".encode()[:2], 7: "本".encode()[2:]}


def pieces(tokens: Sequence[int]) -> bytes:
    return b"".join(PIECES[token] for token in tokens)


@pytest.mark.parametrize(
    ("tokens", "standing", "stable", "count"),
    [
        ((1, 2, 3), 3, 0, 2),  # the last word may go on
        ((1, 2, 3), 1, 0, 0),  # no half word
        ((1, 2, 4, 3), 2, 0, 0),  # nor one without its full stop
        ((1, 2, 4, 3), 3, 0, 3),
        ((1, 2, 3), 2, 1, 2),
        ((1, 2, 3), 0, 1, 1),  # what is stable stays so, wherever it ends
        ((5, 6, 7, 5), 2, 0, 1),  # a character is not cut
        ((5, 6, 7, 5), 3, 0, 3),
        ((), 0, 0, 0),
    ],
)
def test_a_whole_word_or_none(tokens: tuple[int, ...], standing: int, stable: int, count: int) -> None:
    known = Known(tokens[:stable], (SURE,) * stable)
    assert settle(tokens, standing, known, pieces) == count


@pytest.fixture(scope="module", params=POLICIES)
def engine(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Transcriber:
    folder = tiny_bundle(tmp_path_factory.mktemp("bundle"), "int8")
    return load(folder, threads=1, language="en", policy=POLICIES[request.param])


def test_the_default_is_one_of_them() -> None:
    assert DEFAULT_POLICY in POLICIES


@settings(deadline=None, max_examples=25)
@given(steps=st.lists(st.integers(800, 16_000), min_size=1, max_size=6), seed=st.integers(0, 1000))
def test_stable_text_never_changes(engine: Transcriber, steps: list[int], seed: int) -> None:
    """Whatever is said, at whatever pace: each text begins with what stood before it, to the final one."""
    pcm = np.random.default_rng(seed).normal(0, 3000, sum(steps)).astype(np.int16)
    known, stood, end = Known(), "", 0
    for number, step in enumerate(steps, 1):
        end += step
        final = number == len(steps)
        found = engine.transcribe(pcm[:end], Options(live=Pass(known, final)), Unattended())
        assert found.partial is not None
        assert found.partial.stable.startswith(stood)
        assert found.partial.known.stable[: len(known.stable)] == known.stable
        assert len(found.partial.known.logprobs) == len(found.partial.known.stable)
        known, stood = found.partial.known, found.partial.stable
    assert found.text.startswith(stood.strip())


def test_an_utterance_is_one_window(engine: Transcriber) -> None:
    with pytest.raises(ValueError, match="are not one window"):
        engine.transcribe(np.zeros(30 * 16_000 + 1, np.int16), Options(live=Pass()), Unattended())
