"""Features and logits of real weights against CTranslate2's in float32 (tests/data/make_logit_reference.py)."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from speech import COMMITTED, DATA
from whisperd.audio.files import read_audio
from whisperd.speech.features import LogMel, normalise
from whisperd.speech.options import Options
from whisperd.speech.transcribe import Transcriber, load
from whisperd.speech.types import Unattended

REFERENCE = np.load(DATA / "logit_reference.npz")
PCM = read_audio(COMMITTED[0].path, 60)


@pytest.fixture(scope="module")
def engine(base_fp32: Path) -> Transcriber:
    return load(base_fp32, threads=2, language="en")


def reference_mel() -> np.ndarray:
    """The clip over 30 s at the level it has, as the reference sees it."""
    log_mel = LogMel()(np.concatenate([PCM, np.zeros(480_000 - len(PCM), np.int16)]))
    return normalise(log_mel)


def distance(logprobs: np.ndarray) -> float:
    """Largest difference among the reference's 20 best tokens of every step."""
    ours = np.take_along_axis(logprobs, REFERENCE["best"].astype(np.int64), axis=1)
    return float(np.abs(ours - REFERENCE["logprobs"]).max())


def test_mel_is_the_reference_s() -> None:
    np.testing.assert_allclose(reference_mel()[:, :350:7], REFERENCE["mel"], atol=1e-4)


def test_float32_logits_over_30_seconds_are_the_reference_s(engine: Transcriber) -> None:
    cross = engine._model.encode(reference_mel())
    assert distance(engine._attempts.decoder.forced(cross, "en", REFERENCE["tokens"].tolist())) < 1e-3


def test_the_fixed_level_costs_little(engine: Transcriber) -> None:
    tokens = REFERENCE["tokens"].tolist()
    assert 0.0 < distance(engine.token_logprobs(PCM, tokens, full_context=True)) < 0.5


def test_tail_and_int8_choose_the_reference_s_tokens(base: Path) -> None:
    engine = load(base, threads=2, language="en")
    (segment,) = engine.transcribe(PCM, Options(), Unattended()).segments
    assert list(segment.tokens) == REFERENCE["tokens"].tolist()
    # And it is about as sure of them: of most to the second digit, of the least sure one within 0.4.
    logprobs = engine.token_logprobs(PCM, segment.tokens)
    chosen = np.take_along_axis(logprobs, REFERENCE["best"][:, :1].astype(np.int64), axis=1)
    apart = np.abs(np.exp(chosen) - np.exp(REFERENCE["logprobs"][:, :1]))
    assert np.median(apart) < 0.02
    assert apart.max() < 0.4
