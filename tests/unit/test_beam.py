"""Searches that follow several texts: against all texts there are, against greedy search, and over a real graph
against a slow search without batches.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from test_decoding import TOKENS, VOCAB, manifest
from tiny_bundle import tiny_bundle
from whisperd.errors import Cancelled
from whisperd.speech.bundle import load_manifest
from whisperd.speech.decoding import Decoded, Decoder, Work, loop_length
from whisperd.speech.model import Hypothesis, WhisperModel
from whisperd.speech.options import Options
from whisperd.speech.prompting import start
from whisperd.speech.rules import Rules
from whisperd.speech.types import Unattended

EOT = TOKENS.eot
PROMPT = 4
Chances = Callable[[tuple[int, ...]], dict[int, float]]
"""What may follow a text, and how probable it is: log-probabilities, which need not add up."""


class Tree:
    """A model that knows of each text what may follow it; it has batches, and counts its runs."""

    def __init__(self, chances: Chances, **kind: Any) -> None:
        self.manifest = replace(manifest(**kind), suppress=(), suppress_begin=())
        self.chances = chances
        self.runs: list[int] = []
        self.fed: list[list[int]] = []

    def start(self, cross: dict[str, Any], *, attend: bool = False) -> Hypothesis:
        self.fed = [[]]
        return Hypothesis(dict(cross), attentions=[[]] if attend else None)

    def rewind(self, hypothesis: Hypothesis, position: int) -> None:
        for fed in self.fed:
            del fed[position:]
        hypothesis.position = position

    def reorder(self, hypothesis: Hypothesis, sources: Sequence[int]) -> None:
        assert all(0 <= source < hypothesis.size for source in sources)
        self.fed = [list(self.fed[source]) for source in sources]
        hypothesis.size = len(sources)

    def step(
        self, hypothesis: Hypothesis, tokens: Sequence[int], rows: Sequence[int] = (-1,), run_options: Any = None
    ) -> np.ndarray:
        result: np.ndarray = self.step_batch(hypothesis, np.array([tokens]), rows, run_options)[0]
        return result

    def step_batch(
        self, hypothesis: Hypothesis, tokens: np.ndarray, rows: Sequence[int] = (-1,), run_options: Any = None
    ) -> np.ndarray:
        assert len(tokens) == hypothesis.size == len(self.fed)
        self.runs.append(len(tokens))
        count = tokens.shape[1]
        logits = np.full((len(tokens), len(rows), VOCAB), -30.0, np.float32)
        for fed, new, out in zip(self.fed, tokens.tolist(), logits, strict=True):
            fed.extend(new)
            assert len(fed) <= self.manifest.dimensions.n_text_ctx
            for row, at in zip(out, rows, strict=True):
                text = fed[PROMPT : len(fed) - count + at % count + 1]
                for token, chance in self.chances(tuple(text)).items():
                    row[token] = chance
        hypothesis.position += count
        return logits


def search(model: Tree, limit: int = 20, temperature: float = 0.0, **options: Any) -> Decoded:
    work = Work("en", "transcribe", limit, Options(**options), temperature=temperature)
    return Decoder(model).decode({}, work, Unattended())  # type: ignore[arg-type]


def random_tree(seed: int, width: int = 3, sharpness: float = 2.0) -> Chances:
    """Over `width` tokens and the end, the same for the same text."""

    def chances(text: tuple[int, ...]) -> dict[int, float]:
        random = np.random.default_rng([seed, *text])
        return dict(zip([*range(9, 9 + width), EOT], sharpness * random.normal(size=width + 1), strict=True))

    return chances


def log_probability(chances: Chances, text: tuple[int, ...], end: bool) -> list[float]:
    """Of each token of a text, and of its end, when nothing is suppressed but what is no text."""
    found = []
    for at, token in enumerate([*text, *([EOT] if end else [])]):
        scores = dict.fromkeys(range(EOT + 1), -30.0) | chances(text[:at])
        most = max(scores.values())
        total = most + math.log(sum(math.exp(score - most) for score in scores.values()))
        found.append(scores[token] - total)
    return found


def best_of_all(chances: Chances, width: int, limit: int, length_penalty: float) -> tuple[float, tuple[int, ...]]:
    """The best text that ends within the limit, by going through all that there are."""
    return max(
        (sum(log_probability(chances, text, True)) / (length + 1) ** length_penalty, text)
        for length in range(limit + 1)
        for text in itertools.product(range(9, 9 + width), repeat=length)
    )


# --- beam search ------------------------------------------------------------------------------------------------


@given(st.integers(0, 10**6), st.sampled_from([0.0, 0.5, 1.0, 2.0]))
@settings(max_examples=60, deadline=None)
def test_wide_enough_it_finds_the_best_text_of_all(seed: int, length_penalty: float) -> None:
    # Two tokens and three places: eight texts at most are under way at once, and the search goes on to the end.
    tree = random_tree(seed, width=2)

    def chances(text: tuple[int, ...]) -> dict[int, float]:
        return tree(text) if len(text) < 3 else {EOT: 0.0}

    found = search(Tree(chances), 3, beam_size=8, patience=4.0, length_penalty=length_penalty)
    score, text = best_of_all(chances, 2, 3, length_penalty)
    assert found.ended
    total = sum(log_probability(chances, found.tokens, True))
    assert total / (len(found.tokens) + 1) ** length_penalty == pytest.approx(score, abs=1e-4)
    assert found.tokens == text
    assert found.logprobs == pytest.approx(log_probability(chances, text, False), abs=1e-4)
    assert found.avg_logprob == pytest.approx(
        sum(log_probability(chances, text, True)) / (len(text) + 1), abs=1e-4
    )


def slow_beam(chances: Chances, size: int, wanted: int, limit: int) -> list[tuple[int, ...]]:
    """Beam search as the reference's paper tells it, over texts alone: which ended, as they ended."""
    texts: list[tuple[int, ...]] = [()]
    ended: list[tuple[int, ...]] = []
    while True:
        candidates = []
        for text in texts:
            scores = dict.fromkeys(range(EOT + 1), -30.0) | chances(text)
            best = sorted(scores, key=lambda token: -scores[token])[: size + 1]  # noqa: B023
            for token in best:
                longer = (*text, token)
                candidates.append((sum(log_probability(chances, longer, False)), longer))
        candidates.sort(key=lambda entry: -entry[0])
        going: list[tuple[int, ...]] = []
        for _, longer in candidates:
            if longer[-1] == EOT:
                ended.append(longer[:-1])
            else:
                going.append(longer)
            if len(going) == size:
                break
        if len(ended) >= wanted or len(texts[0]) == limit:
            return ended
        texts = going


@given(st.integers(0, 10**6), st.integers(2, 6), st.sampled_from([0.3, 1.0, 2.0]), st.integers(1, 7))
@settings(max_examples=150, deadline=None)
def test_any_width_is_the_reference_s_search(seed: int, size: int, patience: float, limit: int) -> None:
    chances = random_tree(seed, width=4, sharpness=1.5)
    found = search(Tree(chances), limit, beam_size=size, patience=patience)
    ended = slow_beam(chances, size, max(1, round(size * patience)), limit)
    if not ended:
        assert not found.ended and len(found.tokens) == limit
        return
    means = {text: np.mean(log_probability(chances, text, True)) for text in ended}
    assert found.ended
    assert found.tokens in means
    assert means[found.tokens] == pytest.approx(max(means.values()), abs=1e-5)


@given(st.integers(0, 10**6), st.integers(1, 8))
@settings(max_examples=100, deadline=None)
def test_of_one_text_it_is_greedy_search(seed: int, limit: int) -> None:
    """By `beam_search` itself: `Decoder` takes the quicker way for one."""
    from whisperd.speech.beam import Search, beam_search

    chances = random_tree(seed)
    greedy = search(Tree(chances), limit)
    model = Tree(chances)
    hypothesis = model.start({})
    prompt = start(TOKENS, True, "en", "transcribe").ids
    logits = model.step(hypothesis, prompt)[0]
    rules = Rules(model.manifest, Options())
    text = beam_search(
        Search(model, hypothesis, logits, rules, EOT, limit, Unattended(), lambda found: loop_length(found) > 0),  # type: ignore[arg-type]
        1,
        1.0,
        1.0,
    )
    assert (text.tokens, text.ended) == (greedy.tokens, greedy.ended)
    assert text.logprobs == pytest.approx(greedy.logprobs, abs=1e-5)


def garden_path(text: tuple[int, ...]) -> dict[int, float]:
    """What looks best at first ends badly: 9 9 9 against 10 10 10, of which the second is the better one."""
    if not text:
        return {9: math.log(0.6), 10: math.log(0.4)}
    if len(text) == 3:
        return {EOT: 0.0}
    return {9: -0.1, 11: -2.4, 12: -2.5} if text[0] == 10 else {9: -1.1, 11: -1.1, 12: -1.1}


def test_it_sees_what_greedy_search_cannot() -> None:
    assert search(Tree(garden_path)).tokens == (9, 9, 9)
    assert search(Tree(garden_path), beam_size=2).tokens == (10, 9, 9)


def short_or_long(text: tuple[int, ...]) -> dict[int, float]:
    """One token and the end, or six of which each is more probable than that one, and all together less."""
    if not text:
        return {9: math.log(0.45), 10: math.log(0.55)}
    if text[0] == 9 or len(text) == 6:
        return {EOT: 0.0}
    return {9 + len(text): math.log(0.8), 30: math.log(0.2)}


def test_the_length_penalty_is_for_or_against_long_texts() -> None:
    more = {"beam_size": 3, "patience": 3.0}
    assert search(Tree(short_or_long), length_penalty=0.0, **more).tokens == (9,)
    assert len(search(Tree(short_or_long), length_penalty=1.0, **more).tokens) == 6


def late_winner(text: tuple[int, ...]) -> dict[int, float]:
    """Texts that end at once, and one that ends late and is better by the mean."""
    if not text:
        return {9: math.log(0.5), 10: math.log(0.3), 11: math.log(0.2)}
    if text[0] != 9:
        return {EOT: 0.0}
    return {EOT: -0.05} if len(text) == 8 else {9 + len(text): -0.05, EOT: -3.0}


def test_patience_waits_for_better_ones() -> None:
    impatient, patient = (Tree(late_winner), Tree(late_winner))
    assert len(search(impatient, beam_size=3, patience=0.3).tokens) == 1
    assert len(search(patient, beam_size=3, patience=4.0).tokens) == 8
    assert len(patient.runs) > len(impatient.runs)


@pytest.mark.parametrize("size", [2, 3, 8])
def test_a_run_of_the_decoder_serves_all_texts(size: int) -> None:
    model = Tree(lambda text: {9 + n: -n / 10 for n in range(9)} | ({EOT: 9.0} if len(text) == 5 else {}))
    search(model, beam_size=size)
    assert model.runs == [1, *[size] * 5]


def test_one_run_where_the_best_text_is_empty() -> None:
    model = Tree(lambda text: {EOT: 0.0, 9: -9.0})
    found = search(model, beam_size=2, patience=0.5)
    assert (found.tokens, found.ended, model.runs) == ((), True, [1])


@pytest.mark.parametrize("limit", [1, 2, 5])
@pytest.mark.parametrize("beam_size", [1, 2, 4])
def test_a_text_as_long_as_the_limit_may_end(limit: int, beam_size: int) -> None:
    ends = Tree(lambda text: {EOT: 0.0} if len(text) == limit else {9 + len(text): 0.0})
    found = search(ends, limit, beam_size=beam_size)
    assert (len(found.tokens), found.ended) == (limit, True)
    goes_on = Tree(lambda text: {9 + len(text): 0.0})
    found = search(goes_on, limit, beam_size=beam_size)
    assert (found.tokens, found.ended) == (tuple(range(9, 9 + limit)), False)
    assert len(goes_on.runs) == limit + 1


@pytest.mark.parametrize("beam_size", [1, 2, 8])
def test_the_context_is_never_exceeded(beam_size: int) -> None:
    model = Tree(lambda text: {9 + len(text) % 30: 0.0, 9 + (len(text) + 1) % 30: -0.5}, context=12)
    found = search(model, 1000, beam_size=beam_size)  # the model asserts it
    assert len(found.tokens) == 8
    assert not found.ended


def test_if_nothing_has_ended_the_best_so_far_counts() -> None:
    found = search(Tree(lambda text: {9 + len(text): 1.0, 30: 0.0}), 4, beam_size=3)
    assert (found.tokens, found.ended) == ((9, 10, 11, 12), False)
    assert found.avg_logprob == pytest.approx(np.mean(found.logprobs), abs=1e-5)


def test_loops_are_left_by_another_way() -> None:
    """Where the most probable text goes round in circles, those beside it go on."""
    found = search(
        Tree(lambda text: {9: 0.0, 10: -3.0, 11: -3.1} | ({EOT: 9.0} if 10 in text else {})), beam_size=2
    )
    assert found.ended
    assert loop_length(found.tokens) == 0


def test_a_loop_without_another_way_ends_the_search() -> None:
    def only(text: tuple[int, ...]) -> dict[int, float]:
        return {9 + len(text) % 5: 0.0} | {
            token: -math.inf for token in range(VOCAB) if token != 9 + len(text) % 5
        }

    model = Tree(only)
    found = search(model, 400, beam_size=2)
    greedy = search(Tree(only), 400)
    assert not found.ended
    assert (found.tokens, found.avg_logprob) == (greedy.tokens, greedy.avg_logprob)
    assert len(model.runs) <= 16


def test_a_loop_is_followed_to_the_limit_over_the_full_context() -> None:
    model = Tree(lambda text: {9: 0.0, 10: -5.0})
    work = Work("en", "transcribe", 40, Options(beam_size=2), leave_loops=False)
    found = Decoder(model).decode({}, work, Unattended())  # type: ignore[arg-type]
    assert (len(found.tokens), found.ended) == (40, False)


@dataclass
class Impatient(Unattended):
    """Cancels at its n-th step."""

    left: int
    seen: list[int] = field(default_factory=list)

    def step(self) -> None:
        self.left -= 1
        if self.left < 0:
            raise Cancelled("enough")


@pytest.mark.parametrize("options", [{"beam_size": 3}, {"best_of": 3}, {"beam_size": 1}])
@pytest.mark.parametrize("steps", [0, 1, 4])
def test_cancel_is_seen_before_every_step(options: dict[str, Any], steps: int) -> None:
    model = Tree(lambda text: {9 + (len(text) + n) % 30: -n / 3 for n in range(20)})
    work = Work("en", "transcribe", 100, Options(**options), temperature=0.5 if "best_of" in options else 0.0)
    with pytest.raises(Cancelled):
        Decoder(model).decode({}, work, Impatient(steps))  # type: ignore[arg-type]
    assert len(model.runs) == steps


# --- drawing ----------------------------------------------------------------------------------------------------


@given(st.integers(0, 10**6), st.integers(1, 8), st.sampled_from([0.1, 0.4, 1.0, 2.0]), st.integers(1, 8))
@settings(max_examples=100, deadline=None)
def test_what_is_drawn_is_possible_and_the_same_each_time(
    seed: int, best_of: int, temperature: float, limit: int
) -> None:
    chances = random_tree(seed)
    found, again = (search(Tree(chances), limit, temperature, best_of=best_of) for _ in range(2))
    assert found == again
    assert found.temperature == temperature
    assert len(found.tokens) <= limit
    # The figures are those of the model, not of what the temperature makes of them.
    assert found.logprobs == pytest.approx(log_probability(chances, found.tokens, False), abs=1e-4)
    whole = log_probability(chances, found.tokens, found.ended)
    assert found.avg_logprob == pytest.approx(np.mean(whole), abs=1e-4) or len(found.tokens) == limit


def test_more_draws_find_more_probable_texts() -> None:
    few, many = (
        np.mean([search(Tree(random_tree(s)), 6, 1.5, best_of=n).avg_logprob for s in range(40)]) for n in (1, 8)
    )
    assert many > few + 0.1


def test_a_run_of_the_decoder_serves_all_that_are_drawn() -> None:
    model = Tree(lambda text: {9 + n: 0.0 for n in range(9)} | ({EOT: 30.0} if len(text) == 4 else {}))
    found = search(model, 9, 1.0, best_of=5)
    assert (len(found.tokens), found.ended) == (4, True)
    assert model.runs == [1, 5, 5, 5, 5]


def test_texts_that_ended_are_followed_no_longer() -> None:
    model = Tree(lambda text: {EOT: 0.0, 9: 0.0})
    search(model, 30, 1.0, best_of=8)
    assert model.runs == sorted(model.runs[:1]) + sorted(model.runs[1:], reverse=True)
    assert model.runs[-1] < 8


@pytest.mark.parametrize("best_of", [1, 3])
def test_drawn_texts_as_long_as_the_limit_may_end(best_of: int) -> None:
    found = search(
        Tree(lambda text: {EOT: 0.0} if len(text) == 4 else {9 + len(text): 0.0}), 4, 0.2, best_of=best_of
    )
    assert (len(found.tokens), found.ended) == (4, True)
    found = search(Tree(lambda text: {9 + len(text): 0.0}), 4, 0.2, best_of=best_of)
    assert (found.tokens, found.ended) == ((9, 10, 11, 12), False)


@pytest.mark.parametrize("best_of", [1, 3])
@pytest.mark.parametrize("temperature", [1e-310, 1e-40, 1e-9, 1e-3])
def test_hardly_any_temperature_is_greedy_search(temperature: float, best_of: int) -> None:
    chances = random_tree(7)
    assert search(Tree(chances), 8, temperature, best_of=best_of).tokens == search(Tree(chances), 8).tokens


# --- over a real graph ------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def real(tmp_path_factory: pytest.TempPathFactory) -> WhisperModel:
    folder = tiny_bundle(tmp_path_factory.mktemp("bundle"), "fp32", text_layers=2, heads=2)
    return WhisperModel(folder, load_manifest(folder), 1)


@pytest.fixture(scope="module")
def cross(real: WhisperModel) -> dict[str, Any]:
    mel = np.random.default_rng(3).normal(0, 0.5, (80, 100)).astype(np.float32)
    return real.encode(mel)


def one_by_one(
    real: WhisperModel, cross: dict[str, Any], size: int, limit: int, options: Options, seconds: float | None
) -> tuple[list[tuple[float, tuple[int, ...]]], list[tuple[float, tuple[int, ...]]]]:
    """Beam search where each text goes through the decoder anew at each step: the ended ones, and the others."""
    tokens = real.manifest.tokens
    prompt = start(tokens, True, "en", "transcribe", timestamps=seconds is not None).ids
    rules = Rules(real.manifest, options, seconds)
    texts: list[tuple[float, tuple[int, ...]]] = [(0.0, ())]
    ended: list[tuple[float, tuple[int, ...]]] = []
    for length in range(limit + 1):
        candidates = []
        for total, text in texts:
            logits = real.step(real.start(cross), [*prompt, *text])[0]
            scores = rules.logprobs(logits, text)
            for token in np.argsort(-scores)[: size + 1]:
                if np.isfinite(scores[token]):
                    candidates.append((total + float(scores[token]), (*text, int(token))))
        candidates.sort(key=lambda entry: -entry[0])
        going: list[tuple[float, tuple[int, ...]]] = []
        for total, text in candidates:
            if text[-1] == tokens.eot:
                ended.append((total / len(text), text[:-1]))
            else:
                going.append((total, text))
            if len(going) == size:
                break
        if len(ended) >= size or not going or length == limit:
            break
        texts = going
    return ended, [(total / len(text), text) for total, text in texts]


@pytest.mark.parametrize("seconds", [None, 4.0])
@pytest.mark.parametrize("size", [2, 3, 5, 8])
@pytest.mark.parametrize("favour", [0, 5])
def test_batches_change_nothing(
    real: WhisperModel, cross: dict[str, Any], size: int, seconds: float | None, favour: int
) -> None:
    # Four tokens of text are left and the end, so that a random model comes to one.
    limit = 9
    options = Options(beam_size=size, suppress_tokens=tuple(n for n in range(256) if n % 64 != favour))
    work = Work(
        "en",
        "transcribe",
        limit,
        options,
        timestamps=seconds is not None,
        seconds=seconds or 30.0,
        leave_loops=False,
    )
    found = Decoder(real).decode(cross, work, Unattended())
    ended, going = one_by_one(real, cross, size, limit, options, seconds)
    assert ended or seconds
    mean, text = max(ended or going)
    assert found.ended == bool(ended)
    assert found.avg_logprob == pytest.approx(mean, abs=1e-4)
    assert found.sequence == text


def test_the_first_text_of_a_batch_is_not_that_of_another(real: WhisperModel, cross: dict[str, Any]) -> None:
    """After any reordering each member's logits are those of its own tokens."""
    random = np.random.default_rng(1)
    hypothesis, texts = real.start(cross), [[]]
    for size in (3, 8, 2, 2, 5, 1, 4):
        sources = random.integers(0, len(texts), size).tolist()
        column = random.integers(0, 250, size)
        real.reorder(hypothesis, sources)
        logits = real.step_batch(hypothesis, column[:, None])
        texts = [[*texts[source], int(token)] for source, token in zip(sources, column, strict=True)]
        for row, text in zip(logits[:, 0], texts, strict=True):
            np.testing.assert_allclose(row, real.step(real.start(cross), text)[0], atol=1e-4)


def test_what_was_computed_before_changes_nothing(real: WhisperModel) -> None:
    mel = np.random.default_rng(5).normal(0, 0.5, (80, 60)).astype(np.float32)
    decoder, cross = Decoder(real), real.encode(mel)
    works = [Work("en", "transcribe", 12, Options(beam_size=n)) for n in (4, 1, 8)]
    first = [decoder.decode(cross, work, Unattended()) for work in works]
    assert [decoder.decode(cross, work, Unattended()) for work in reversed(works)] == first[::-1]
