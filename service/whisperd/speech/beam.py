"""Searches that follow several texts at once: beam search, and drawing several. One decoder run serves all of
them.

Beam search is the reference's (openai/whisper, decoding.py, `BeamSearchDecoder`, with patience after Kasai et al.,
2022); texts are compared by their log-probability over a power of their length, as CTranslate2 does.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from .model import Hypothesis, WhisperModel
from .rules import Rules
from .types import Control, Float32Array


@dataclass(frozen=True)
class Text:
    """One text that is followed.

    Attributes:
        tokens: chosen so far, timestamps among them, the end of text not.
        logprobs: natural log-probability of each.
        end_logprob: that of the end of text, or None while it has not been chosen.
    """

    tokens: tuple[int, ...] = ()
    logprobs: tuple[float, ...] = ()
    end_logprob: float | None = None

    @property
    def total(self) -> float:
        """Natural log-probability of all."""
        return sum(self.logprobs) + (self.end_logprob or 0.0)

    @property
    def ended(self) -> bool:
        """Whether the end of text was chosen."""
        return self.end_logprob is not None

    @property
    def mean(self) -> float:
        """Mean natural log-probability of its tokens and, where it has ended, of the end."""
        return self.score(1.0)

    def score(self, length_penalty: float) -> float:
        """What it is compared by."""
        return float(self.total / max(1, len(self.tokens) + self.ended) ** length_penalty)

    def plus(self, token: int, logprob: float) -> Text:
        """With one token more."""
        return Text((*self.tokens, token), (*self.logprobs, logprob))

    def with_end(self, logprob: float) -> Text:
        """Ended."""
        return Text(self.tokens, self.logprobs, logprob)


@dataclass(frozen=True)
class Search:
    """What the searches have in common.

    Attributes:
        hypothesis: whose decoder has read the beginning.
        logits: float32[n_vocab], after the beginning.
        limit: most tokens of a text.
        lost: whether a text has lost its way, and is followed no longer.
    """

    model: WhisperModel
    hypothesis: Hypothesis
    logits: Float32Array
    rules: Rules
    eot: int
    limit: int
    control: Control
    lost: Callable[[Sequence[int]], bool]

    def step(self, sources: Sequence[int], tokens: Sequence[int]) -> Float32Array:
        """float32[n, n_vocab]: one more token for each of n texts, the j-th of which went on from text
        sources[j].
        """
        self.control.step()
        self.model.reorder(self.hypothesis, sources)
        column = np.asarray(tokens, np.int64)[:, None]
        logits = self.model.step_batch(self.hypothesis, column, (-1,), self.control.run_options())
        return logits[:, 0]


def beam_search(search: Search, size: int, patience: float, length_penalty: float) -> Text:
    """The best of the texts that ended among `size` that are followed; if none did, the best that did not.

    Args:
        size: texts that are followed, at least 1.
        patience: the search goes on until this many times `size` have ended.
    """
    wanted = max(1, round(size * patience))
    texts, rows = [Text()], search.logits[None]
    finished: list[Text] = []
    while True:
        going: list[tuple[int, Text]] = []
        lost: list[Text] = []
        for source, token, logprob in _most_probable(search.rules, texts, rows, size):
            if token == search.eot:
                finished.append(texts[source].with_end(logprob))
                continue
            longer = texts[source].plus(token, logprob)
            if search.lost(longer.tokens):
                lost.append(longer)
            else:
                going.append((source, longer))
            if len(going) == size:
                break
        # Texts as long as the limit are asked once more, whether they end there.
        full = len(texts[0].tokens) >= search.limit
        if len(finished) >= wanted or full or not going:
            break
        rows = search.step([source for source, _ in going], [text.tokens[-1] for _, text in going])
        texts = [text for _, text in going]
    # A text that is lost is kept with the token that shows it, by which its repetitions are found.
    candidates = finished or (not full and lost) or texts
    return max(candidates, key=lambda text: text.score(length_penalty))


def _most_probable(
    rules: Rules, texts: Sequence[Text], rows: Float32Array, size: int
) -> list[tuple[int, int, float]]:
    """(text, token, log-probability) of the best continuations, the best first. One more of each text than are
    followed: one may be the end.
    """
    found: list[tuple[float, int, int, float]] = []
    for source, (text, row) in enumerate(zip(texts, rows, strict=True)):
        scores = rules.logprobs(row, text.tokens)
        best = np.argpartition(scores, -(size + 1))[-(size + 1) :]
        for token in best:
            if scores[token] > -np.inf:
                found.append((text.total + float(scores[token]), source, int(token), float(scores[token])))
    found.sort(key=lambda entry: (-entry[0], entry[1], entry[2]))
    return [entry[1:] for entry in found]


def best_drawn(search: Search, count: int, temperature: float, length_penalty: float) -> Text:
    """The most probable of `count` texts that are drawn, of probabilities to the power of 1 / temperature.

    The luck is the same each time: the same clip has the same text.
    """
    luck = np.random.default_rng(0)
    texts, rows = [Text()] * count, np.repeat(search.logits[None], count, axis=0)
    finished: list[Text] = []
    while True:
        going: list[tuple[int, Text]] = []
        for source, (text, row) in enumerate(zip(texts, rows, strict=True)):
            scores = search.rules.logprobs(row, text.tokens)
            token = drawn(scores, temperature, luck)
            if token == search.eot:
                finished.append(text.with_end(float(scores[token])))
                continue
            longer = text.plus(token, float(scores[token]))
            if len(longer.tokens) > search.limit:
                finished.append(text)
            elif search.lost(longer.tokens):
                finished.append(longer)
            else:
                going.append((source if text.tokens else 0, longer))  # all go on from the same beginning
        if not going:
            break
        rows = search.step([source for source, _ in going], [text.tokens[-1] for _, text in going])
        texts = [text for _, text in going]
    ended = [text for text in finished if text.ended]
    return max(ended or finished, key=lambda text: text.score(length_penalty))


def drawn(scores: Float32Array, temperature: float, luck: np.random.Generator) -> int:
    """A token, drawn of probabilities to the power of 1 / temperature.

    Args:
        scores: float32[n_vocab], natural log-probabilities.
        temperature: over 0, however little.
    """
    with np.errstate(over="ignore"):
        # Relative to the best one, which is left alone when there is hardly any temperature.
        powers = (scores - scores.max()).astype(np.float64) / temperature
    return int((powers + luck.gumbel(size=scores.shape)).argmax())
