"""From encoded audio to token ids: greedy search, where the others begin, and when to stop.

Follows the reference (openai/whisper, decoding.py), with one addition: the search also ends where the same tokens
come round again and again, as they do when the decoder has lost the audio.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from ..errors import BadOption
from .beam import Search, beam_search, best_drawn, drawn
from .bundle import Manifest
from .constraint import Constraint
from .gbnf import parse
from .model import WhisperModel
from .options import Options
from .prompting import Start, start
from .rules import Rules, log_softmax
from .tokenizer import Tokenizer
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

#: Tokens of a text that is aligned with its audio, in one run of the decoder.
ALIGNED_AT_ONCE = 32

NOTHING_KNOWN = Known()


@dataclass(frozen=True)
class Work:
    """What is to be found in a window, and how.

    Attributes:
        limit: most tokens, at least 1.
        timestamps: whether segments are to have times.
        seconds: length of the window; no time lies behind it.
        previous: text tokens as if they had been said before.
        prefix: text tokens that the text begins with.
        leave_loops: end the search where it repeats itself, and not only at the cap.
        known: tokens that the text begins with, and a guess how it goes on.
        attend: tell where each token looked.
        temperature: 0 takes the most probable token, or searches with a beam; over 0 tokens are drawn, of
            probabilities to the power of its reciprocal, always with the same luck.
    """

    language: str
    task: str
    limit: int
    options: Options = Options()
    timestamps: bool = False
    seconds: float = 30.0
    previous: tuple[int, ...] = ()
    prefix: tuple[int, ...] = ()
    leave_loops: bool = True
    known: Known = NOTHING_KNOWN
    attend: bool = False
    temperature: float = 0.0


@dataclass(frozen=True)
class Decoded:
    """What a search found.

    Attributes:
        tokens: text tokens, without prompt, times and end of text.
        avg_logprob: mean natural log-probability over tokens, times and end of text.
        no_speech_prob: probability of the no-speech token where speech would begin.
        ended: whether the decoder chose the end of text, and not the cap or a loop ended the search.
        logprobs: natural log-probability of each token.
        attention: float32[tokens, heads, K], where the decoder looked for each (see `Hypothesis`), if asked.
        sequence: the tokens with the times among them, if those were asked for; else `tokens` again.
        temperature: of the search.
    """

    tokens: tuple[int, ...]
    avg_logprob: float
    no_speech_prob: float
    ended: bool
    logprobs: tuple[float, ...] = ()
    attention: Float32Array | None = None
    sequence: tuple[int, ...] = ()
    temperature: float = 0.0


def max_tokens(audio_s: float, n_text_ctx: int) -> int:
    """Most text tokens that `audio_s` seconds can need; at most half the context, as in the reference."""
    return min(n_text_ctx // 2, MIN_TOKENS + int(audio_s * TOKENS_PER_SECOND))


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


class Decoder:
    """Searches over one model; `tokenizer` is needed for grammars alone."""

    def __init__(self, model: WhisperModel, tokenizer: Tokenizer | None = None) -> None:
        self._model = model
        self._tokenizer = tokenizer
        self._constraint: tuple[tuple[str, str, float], Constraint] | None = None
        self._manifest: Manifest = model.manifest
        self._context = self._manifest.dimensions.n_text_ctx

    def languages(
        self, cross: dict[str, Any], allowed: Sequence[str], control: Control
    ) -> tuple[tuple[str, float], ...]:
        """The `allowed` languages and how probable each is among them, the most probable first.

        Reference: decoding.py, detect_language.
        """
        control.step()
        tokens = self._manifest.tokens
        begun = self._model.start(cross)
        logits = self._model.step(begun, [tokens.sot], run_options=control.run_options())[0]
        scores = logits[[tokens.languages[code] for code in allowed]]
        shares = np.exp(log_softmax(scores))
        order = np.argsort(-shares, kind="stable")
        return tuple((allowed[i], float(shares[i])) for i in order)

    def decode(self, cross: dict[str, Any], work: Work, control: Control) -> Decoded:
        """Search for the text of one window.

        The draft of `work.known` goes through the decoder in one run together with the beginning. As long as the
        search would have chosen its tokens, it needs no step of its own; the rest of the draft is taken back. Only
        greedy search has drafts.

        Args:
            cross: what `WhisperModel.encode` gave.
            work: what is to be found, and how.
            control: asked before every step whether to go on.

        Raises:
            BadOption: a grammar that cannot be followed, or has not the prefix.
        """
        manifest, options = self._manifest, work.options
        begin = start(
            manifest.tokens,
            manifest.multilingual,
            work.language,
            work.task,
            timestamps=work.timestamps,
            previous=work.previous,
            prefix=work.prefix,
        )
        limit = min(work.limit, self._context - len(begin.ids))
        constraint = self._constrained(work)
        rules = Rules(manifest, options, work.seconds if work.timestamps else None, self._lead(work), constraint)
        followed = options.beam_size if work.temperature == 0 else options.best_of
        if followed == 1:
            return self._greedy(cross, work, control, begin, rules, limit)
        hypothesis = self._model.start(cross)
        control.step()
        logits = self._model.step(hypothesis, begin.ids, (begin.sot, len(begin.ids) - 1), control.run_options())
        search = Search(
            self._model, hypothesis, logits[1], rules, manifest.tokens.eot, limit, control, self._lost(work)
        )
        if work.temperature == 0:
            text = beam_search(search, followed, options.patience, options.length_penalty)
        else:
            text = best_drawn(search, followed, work.temperature, options.length_penalty)
        no_speech = self._no_speech(logits[0])
        return self._decoded(text.tokens, text.logprobs, no_speech, work, ended=text.ended, mean=text.mean)

    def _greedy(
        self, cross: dict[str, Any], work: Work, control: Control, begin: Start, rules: Rules, limit: int
    ) -> Decoded:
        """Follow one text: the most probable token each time, or one that is drawn."""
        model, known, ids = self._model, work.known, begin.ids
        found = list(known.stable[:limit])
        logprobs = list(known.logprobs[:limit])
        certain = len(ids) + len(found)
        draft = known.draft[: limit - len(found)]
        hypothesis = model.start(cross, attend=work.attend)
        control.step()
        fed = [*ids, *found, *draft]
        logits = model.step(hypothesis, fed, (begin.sot, *range(certain - 1, len(fed))), control.run_options())
        no_speech = self._no_speech(logits[0])
        rows, row = logits[1:], 0
        luck = np.random.default_rng(0) if work.temperature else None
        lost = self._lost(work)
        ended, end_logprob = False, 0.0
        while True:
            scores = rules.logprobs(rows[row], found)
            token = int(scores.argmax()) if luck is None else drawn(scores, work.temperature, luck)
            if token == self._manifest.tokens.eot:
                ended, end_logprob = True, float(scores[token])
                break
            found.append(token)
            logprobs.append(float(scores[token]))
            if len(found) > limit or lost(found):
                break
            row += 1
            if row < len(rows) and draft[row - 1] == token:
                continue
            control.step()
            if row < len(rows):
                model.rewind(hypothesis, len(ids) + len(found) - 1)
            rows, row = model.step(hypothesis, [token], run_options=control.run_options()), 0
        mean = (sum(logprobs) + end_logprob) / (len(found) + ended)
        looked = hypothesis.attention
        return replace(
            self._decoded(found[:limit], logprobs[:limit], no_speech, work, ended=ended, mean=mean),
            # The attention with which a token was chosen is that of the token before it.
            attention=None if looked is None else np.stack(looked[len(ids) - 1 :][: len(found[:limit])]),
        )

    def _constrained(self, work: Work) -> Constraint | None:
        """What the text has to follow; it is kept, since the windows of a clip follow the same."""
        options = work.options
        if not options.grammar:
            return None
        assert self._tokenizer is not None
        key = (options.grammar, options.grammar_rule, options.grammar_penalty)
        if self._constraint is None or self._constraint[0] != key:
            grammar = parse(options.grammar, options.grammar_rule)
            made = Constraint(grammar, self._tokenizer.spelling, options.grammar_penalty)
            self._constraint = key, made
        constraint = self._constraint[1]
        if not constraint.state(work.prefix):
            raise BadOption("grammar has no text that begins with the prefix", "grammar")
        return constraint

    def _lead(self, work: Work) -> tuple[int, ...]:
        """The prefix as it would have been chosen: with the time that it begins at."""
        first = (self._manifest.tokens.timestamp_begin,) if work.timestamps and work.prefix else ()
        return (*first, *work.prefix)

    def _no_speech(self, logits: Float32Array) -> float:
        return float(np.exp(log_softmax(logits)[self._manifest.tokens.no_speech]))

    def _lost(self, work: Work) -> Callable[[Sequence[int]], bool]:
        """Whether a text goes round in circles; the times in it differ from round to round."""
        if not work.leave_loops:
            return lambda found: False
        if not work.timestamps:
            return lambda found: loop_length(found) > 0
        eot = self._manifest.tokens.eot
        return lambda found: loop_length([token for token in found if token < eot]) > 0

    def _decoded(
        self,
        sequence: Sequence[int],
        logprobs: Sequence[float],
        no_speech: float,
        work: Work,
        *,
        ended: bool,
        mean: float,
    ) -> Decoded:
        """What was found, the text apart from the times. A prefix is text as well."""
        eot = self._manifest.tokens.eot
        pairs = [pair for pair in zip(sequence, logprobs, strict=True) if pair[0] < eot]
        if work.prefix:
            pairs = [*((token, 0.0) for token in work.prefix), *pairs]
            sequence = (*self._lead(work), *sequence)
        return Decoded(
            tokens=tuple(token for token, _ in pairs),
            logprobs=tuple(logprob for _, logprob in pairs),
            avg_logprob=mean,
            no_speech_prob=no_speech,
            ended=ended,
            sequence=tuple(sequence),
            temperature=work.temperature,
        )

    def forced(self, cross: dict[str, Any], language: str, tokens: Sequence[int]) -> Float32Array:
        """Log-probabilities float32[len(tokens) + 1, n_vocab] along given tokens, nothing suppressed."""
        manifest = self._manifest
        begin = start(manifest.tokens, manifest.multilingual, language, "transcribe")
        hypothesis = self._model.start(cross)
        ids = [*begin.ids, *tokens]
        return log_softmax(self._model.step(hypothesis, ids, range(-len(tokens) - 1, 0)))

    def attended(
        self, cross: dict[str, Any], language: str, task: str, tokens: Sequence[int], control: Control
    ) -> tuple[Float32Array, list[float]]:
        """Where the decoder looks along a text, and how probable it finds each token of it.

        Returns:
            float32[len(tokens) + 1, heads, K] (see `Hypothesis`): with which each token, and the end of text, is
            chosen; and the natural log-probability of each token.
        """
        manifest = self._manifest
        begin = start(manifest.tokens, manifest.multilingual, language, task)
        ids = [*begin.ids, *tokens]
        hypothesis = self._model.start(cross, attend=True)
        logprobs: list[float] = []
        # In pieces: the logits of a long text are 47 MB.
        for at in range(0, len(ids), ALIGNED_AT_ONCE):
            piece = ids[at : at + ALIGNED_AT_ONCE]
            wanted = [i for i in range(len(piece)) if len(begin.ids) - 1 <= at + i < len(ids) - 1]
            control.step()
            logits = self._model.step(hypothesis, piece, wanted or (-1,), control.run_options())
            for row, i in zip(logits, wanted, strict=False):
                logprobs.append(float(log_softmax(row)[ids[at + i + 1]]))
        assert hypothesis.attention is not None
        return np.stack(hypothesis.attention[len(begin.ids) - 1 :]), logprobs
