"""From encoded audio to token ids: the prompt, what may be chosen, greedy search, and when to stop.

Follows the reference (openai/whisper, decoding.py) without timestamps, with one addition: the search also
ends where the same tokens come round again and again, as they do when the decoder has lost the audio.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from .bundle import Manifest, Tokens
from .model import WhisperModel
from .types import Control, Float32Array, Known

#: Tokens allowed for a clip: a constant for punctuation and short words, and a rate. Fast English speech has
#: 5 tokens a second; scripts that the tokenizer spells in bytes reach 15.
MIN_TOKENS = 16
TOKENS_PER_SECOND = 16.0

#: A loop is the same stretch of tokens three times in a row and at least this long altogether, so that
#: "five five five" is none.
LOOP_REPEATS = 3
LOOP_MIN_TOKENS = 15
LOOP_MAX_PERIOD = 24

NOTHING_KNOWN = Known()


@dataclass(frozen=True)
class Decoded:
    """What greedy search found.

    Attributes:
        tokens: text tokens, without prompt and end of text.
        avg_logprob: mean natural log-probability over tokens and end of text.
        no_speech_prob: probability of the no-speech token where speech would begin.
        ended: whether the decoder chose the end of text, and not the cap or a loop ended the search.
        logprobs: natural log-probability of each token.
        attention: float32[tokens, heads, K], where the decoder looked for each (see `Hypothesis`), if asked.
    """

    tokens: tuple[int, ...]
    avg_logprob: float
    no_speech_prob: float
    ended: bool
    logprobs: tuple[float, ...] = ()
    attention: Float32Array | None = None


def max_tokens(audio_s: float, n_text_ctx: int) -> int:
    """Most text tokens that `audio_s` seconds can need; at most half the context, as in the reference."""
    return min(n_text_ctx // 2, MIN_TOKENS + int(audio_s * TOKENS_PER_SECOND))


def prompt(tokens: Tokens, multilingual: bool, language: str, task: str) -> list[int]:
    """The tokens that tell the decoder what to do. English-only models know neither language nor task."""
    ids = [tokens.sot]
    if multilingual:
        ids += [tokens.languages[language], tokens.translate if task == "translate" else tokens.transcribe]
    return [*ids, tokens.no_timestamps]


def loop_length(tokens: Sequence[int]) -> int:
    """Length of the stretch that `tokens` end in three copies of, or 0.

    >>> loop_length([9, 1, 2, 3, 4, 5, 1, 2, 3, 4, 5, 1, 2, 3, 4, 5])
    5
    """
    for period in range(1, LOOP_MAX_PERIOD + 1):
        repeats = max(LOOP_REPEATS, -(-LOOP_MIN_TOKENS // period))
        span = period * repeats
        if span > len(tokens):
            continue
        tail = tokens[len(tokens) - span :]
        if all(tail[i] == tail[i + period] for i in range(span - period)):
            return period
    return 0


def without_loop(tokens: Sequence[int]) -> tuple[int, ...]:
    """`tokens` with the copies at their end reduced to one."""
    kept = list(tokens)
    period = loop_length(kept)
    while period and len(kept) >= 2 * period and kept[-period:] == kept[-2 * period : -period]:
        del kept[-period:]
    return tuple(kept)


def _log_softmax(logits: Float32Array) -> Float32Array:
    """Over the last axis; float32[..., n]."""
    shifted = logits - logits.max(axis=-1, keepdims=True)
    result: Float32Array = shifted - np.log(np.exp(shifted).sum(axis=-1, keepdims=True))
    return result


class GreedyDecoder:
    """Greedy search over one model; holds what is the same for every clip."""

    def __init__(self, model: WhisperModel) -> None:
        self._model = model
        manifest: Manifest = model.manifest
        self._tokens = manifest.tokens
        self._multilingual = manifest.multilingual
        self._context = manifest.dimensions.n_text_ctx
        # Above the end of text there are only special tokens and timestamps, and none of them is text.
        self._mask = np.zeros(manifest.dimensions.n_vocab, np.float32)
        self._mask[list(manifest.suppress)] = -np.inf
        self._mask[self._tokens.eot + 1 :] = -np.inf
        self._first_mask = self._mask.copy()
        self._first_mask[list(manifest.suppress_begin)] = -np.inf

    def detect_language(self, cross: dict[str, Any], allowed: Sequence[str], control: Control) -> str:
        """The most probable of the `allowed` languages (reference: decoding.py, detect_language)."""
        control.step()
        start = self._model.start(cross)
        logits = self._model.step(start, [self._tokens.sot], run_options=control.run_options())[0]
        return max(allowed, key=lambda code: float(logits[self._tokens.languages[code]]))

    def decode(
        self,
        cross: dict[str, Any],
        language: str,
        task: str,
        limit: int,
        control: Control,
        *,
        leave_loops: bool = True,
        known: Known = NOTHING_KNOWN,
        attend: bool = False,
        temperature: float = 0.0,
    ) -> Decoded:
        """Search for the text of one window.

        The draft of `known` goes through the decoder in one run together with the prompt. As long as the search
        would have chosen its tokens, it needs no step of its own; the rest of the draft is taken back.

        Args:
            cross: what `WhisperModel.encode` gave.
            limit: most text tokens, at least 1.
            control: asked before every step whether to go on.
            leave_loops: end the search where it repeats itself, and not only at the cap.
            known: tokens that the text begins with, and a guess how it goes on.
            attend: tell where each token looked.
            temperature: 0 takes the most probable token; over 0 one is drawn, of probabilities to the power of its
                reciprocal, always with the same luck.
        """
        model, tokens = self._model, self._tokens
        start = prompt(tokens, self._multilingual, language, task)
        limit = min(limit, self._context - len(start))
        found = list(known.stable[:limit])
        logprobs = list(known.logprobs[:limit])
        certain = len(start) + len(found)
        draft = known.draft[: limit - len(found)]
        hypothesis = model.start(cross, attend=attend)
        control.step()
        ids = [*start, *found, *draft]
        logits = model.step(hypothesis, ids, (0, *range(certain - 1, len(ids))), control.run_options())
        no_speech = float(np.exp(_log_softmax(logits[0])[tokens.no_speech]))
        rows, row = logits[1:], 0
        luck = np.random.default_rng(0) if temperature else None
        ended, end_logprob = False, 0.0
        while True:
            scores = _log_softmax(rows[row] + (self._mask if found else self._first_mask))
            drawn = scores if luck is None else scores / temperature + luck.gumbel(size=scores.shape)
            token = int(drawn.argmax())
            if token == tokens.eot:
                ended, end_logprob = True, float(scores[token])
                break
            found.append(token)
            logprobs.append(float(scores[token]))
            if len(found) > limit or (leave_loops and loop_length(found)):
                break
            row += 1
            if row < len(rows) and draft[row - 1] == token:
                continue
            control.step()
            if row < len(rows):
                model.rewind(hypothesis, len(start) + len(found) - 1)
            rows, row = model.step(hypothesis, [token], run_options=control.run_options()), 0
        looked = hypothesis.attention
        return Decoded(
            tokens=tuple(found[:limit]),
            logprobs=tuple(logprobs[:limit]),
            avg_logprob=(sum(logprobs) + end_logprob) / (len(found) + ended),
            no_speech_prob=no_speech,
            ended=ended,
            # The attention with which a token was chosen is that of the token before it.
            attention=None if looked is None else np.stack(looked[len(start) - 1 :][: len(found[:limit])]),
        )

    def forced(self, cross: dict[str, Any], language: str, tokens: Sequence[int]) -> Float32Array:
        """Log-probabilities float32[len(tokens) + 1, n_vocab] along given tokens, nothing suppressed."""
        ids = [*prompt(self._tokens, self._multilingual, language, "transcribe"), *tokens]
        hypothesis = self._model.start(cross)
        return _log_softmax(self._model.step(hypothesis, ids, range(-len(tokens) - 1, 0)))
