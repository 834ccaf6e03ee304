"""Which tokens may come next, and how probable they then are: the filters of the reference's decoding.

Follows openai/whisper, decoding.py (`SuppressBlank`, `SuppressTokens`, `ApplyTimestampRules`), and CTranslate2
for the repetition penalty and the n-grams that come only once. Nothing here knows of audio or of a model.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from .bundle import Manifest
from .constraint import Constraint
from .options import Options
from .types import Float32Array

#: Seconds from one timestamp token to the next.
TIMESTAMP_S = 0.02
#: In place of a list of tokens: the model's own.
MODELS_LIST = -1
_NEVER = np.float32(-np.inf)


def log_softmax(logits: Float32Array) -> Float32Array:
    """Over the last axis; float32[..., n]."""
    shifted = logits - logits.max(axis=-1, keepdims=True)
    result: Float32Array = shifted - np.log(np.exp(shifted).sum(axis=-1, keepdims=True))
    return result


class Rules:
    """The rules of one decoding.

    Args:
        manifest: of the model.
        options: what the client chose; its token ids are below the vocabulary's size.
        seconds: length of the window; None where no timestamps are asked for.
        lead: tokens that were not chosen, and count as if they had been: those of a prefix.
        constraint: what the text has to follow beside.
    """

    def __init__(
        self,
        manifest: Manifest,
        options: Options,
        seconds: float | None = None,
        lead: Sequence[int] = (),
        constraint: Constraint | None = None,
    ) -> None:
        tokens = manifest.tokens
        self._begin = tokens.timestamp_begin
        self._eot = tokens.eot
        self._timestamps = seconds is not None
        self._lead = tuple(lead)
        self._constraint = constraint
        self._penalty = np.float32(options.repetition_penalty)
        self._ngram = options.no_repeat_ngram_size
        # Above the end of text there are only special tokens and timestamps, and none of them is text.
        mask = np.zeros(manifest.dimensions.n_vocab, np.float32)
        for token in options.suppress_tokens or ():
            mask[list(manifest.suppress) if token == MODELS_LIST else token] = _NEVER
        mask[tokens.eot] = 0
        mask[tokens.eot + 1 :] = _NEVER
        if seconds is not None:
            # No segment ends behind the window.
            mask[self._begin : self._begin + math.ceil(seconds / TIMESTAMP_S) + 1] = 0
        self._mask = mask
        self._first_mask = mask.copy()
        if options.suppress_blank:
            self._first_mask[list(manifest.suppress_begin)] = _NEVER
        if self._timestamps:
            self._first_mask[: self._begin] = _NEVER
            self._first_mask[self._begin + round(options.max_initial_timestamp / TIMESTAMP_S) + 1 :] = _NEVER

    def logprobs(self, logits: Float32Array, chosen: Sequence[int]) -> Float32Array:
        """What may come after the tokens that were `chosen`, the beginning of the decoding not among them.

        Args:
            logits: float32[n_vocab].

        Returns:
            float32[n_vocab], natural log-probabilities; -inf for what may not come. A grammar changes none of what
            may come, so that a text that it has forced is seen to be improbable.

        Raises:
            BadOption: see `Constraint`.
        """
        if self._lead:
            chosen = (*self._lead, *chosen)
        scores = self._unconstrained(logits, chosen)
        return scores if self._constraint is None else self._constraint.apply(scores, chosen)

    def _unconstrained(self, logits: Float32Array, chosen: Sequence[int]) -> Float32Array:
        masked = logits + (self._mask if chosen else self._first_mask)
        if self._penalty != 1 and chosen:
            self._penalise(masked, chosen)
        if self._ngram:
            for token in self._completing(chosen):
                masked[token] = _NEVER
        if not self._timestamps:
            return log_softmax(masked)
        if chosen:
            self._order(masked, chosen)
        scores = log_softmax(masked)
        # Where a time, whichever, is more probable than any text, it is a time that comes.
        times = scores[self._begin :]
        most = times.max()
        if most > _NEVER and most + np.log(np.exp(times - most).sum()) > scores[: self._begin].max():
            masked[: self._begin] = _NEVER
            return log_softmax(masked)
        return scores

    def _order(self, masked: Float32Array, chosen: Sequence[int]) -> None:
        """Times come in pairs, but for the last, and never go back."""
        begin = self._begin
        last = chosen[-1] >= begin
        paired = last and (len(chosen) < 2 or chosen[-2] >= begin)
        if paired:
            masked[begin:] = _NEVER
        elif last:
            masked[: self._eot] = _NEVER
        newest = next((token for token in reversed(chosen) if token >= begin), None)
        if newest is not None:
            # A segment that has begun does not end where it began.
            masked[begin : newest + (not last or paired)] = _NEVER

    def _penalise(self, masked: Float32Array, chosen: Sequence[int]) -> None:
        seen = np.unique([token for token in chosen if token < self._eot])
        if seen.size:
            scores = masked[seen]
            masked[seen] = np.where(scores < 0, scores * self._penalty, scores / self._penalty)

    def _completing(self, chosen: Sequence[int]) -> list[int]:
        """The tokens that would make a sequence come a second time."""
        text = [token for token in chosen if token < self._eot]
        size = self._ngram - 1
        if len(text) < size:
            return []
        tail = text[len(text) - size :]
        return [text[i + size] for i in range(len(text) - size) if text[i : i + size] == tail]
