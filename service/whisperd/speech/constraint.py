"""A text that has to follow a grammar: which tokens may come next. Pure.

A grammar is followed byte by byte, by all the ways at once in which the text so far may be read. For the next
token all 50,000 are taken through it together, the first byte of each, then the second: most are out after one.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Sequence
from typing import Final

import numpy as np
import numpy.typing as npt

from ..errors import BadOption
from .grammar import END, Byte, Call, Grammar
from .options import FORBIDDEN
from .tokenizer import Spelling
from .types import Float32Array

#: Ways in which a text may be read at once, and numbers in all of them together. A list of a thousand names has a
#: thousand ways.
MAX_WAYS, MAX_SIZE = 2_000, 5_000
#: Ways that are looked at for one token, at most: half a second of a PC.
MAX_WORK: Final = 200_000
#: What is remembered: numbers in the states that steps lead to, and states of texts, each with its tokens.
_STEPS_SIZE, _TEXTS, _MASKS = 100_000, 64, 32
_NEVER: Final = np.float32(-np.inf)

Way = tuple[int, ...]
"""Where in the grammar's elements one reading goes on, the innermost rule last; empty: it is complete."""
State = frozenset[Way]
"""All readings. Empty: the text has left the grammar."""


class Constraint:
    """Follows one grammar.

    Args:
        grammar: none of its rules begins with itself.
        spelling: of the tokens of text.
        penalty: what is taken from the log-probability of a token that the grammar does not have; `FORBIDDEN`: it
            never comes.

    Raises:
        BadOption: the grammar can be read in too many ways at once. So do all its methods.
    """

    def __init__(self, grammar: Grammar, spelling: Spelling, penalty: float = FORBIDDEN) -> None:
        self._grammar = grammar
        self._spelling = spelling
        self._penalty = np.float32(np.inf if penalty >= FORBIDDEN else penalty)
        self._steps: dict[tuple[State, int], State] = {}
        self._steps_size = self._work = 0
        self._texts: OrderedDict[tuple[int, ...], State] = OrderedDict()
        self._masks: OrderedDict[State, npt.NDArray[np.bool_]] = OrderedDict()
        self._begin = self._opened([(start,) for start in grammar.rules[grammar.root]])

    def apply(self, scores: Float32Array, chosen: Sequence[int]) -> Float32Array:
        """Log-probabilities float32[n_vocab] of what may come after `chosen`, in which there may be times.

        What may come keeps its own. Times are left as they are. Where nothing may come, because other rules forbid
        what the grammar wants, the text ends.
        """
        eot = self._spelling.count
        state = self.state(chosen)
        if not state:  # a small penalty lets a text leave the grammar, and then nothing is in it
            return scores
        limited = scores.copy()
        allowed = self.allowed(state)
        limited[:eot][~allowed] -= self._penalty
        if () not in state:
            limited[eot] -= self._penalty
        if limited.max() == _NEVER:
            limited[eot] = max(scores[eot], np.float32(-FORBIDDEN))
        return limited

    def state(self, chosen: Sequence[int]) -> State:
        """After these tokens, times left out; empty where the grammar has no text that begins so."""
        text = tuple(token for token in chosen if token < self._spelling.count)
        if not text:
            return self._begin
        # Most often it is known for all but the last.
        count = len(text)
        while count and text[:count] not in self._texts:
            count -= 1
        state = self._texts[text[:count]] if count else self._begin
        self._work = 0
        for token in text[count:]:
            for byte in self._spelling.of(token):
                state = self._step(state, byte)
        self._texts[text] = state
        if len(self._texts) > _TEXTS:
            self._texts.popitem(last=False)
        return state

    def allowed(self, state: State) -> npt.NDArray[np.bool_]:
        """bool[tokens of text]: which may come next."""
        known = self._masks.get(state)
        if known is not None:
            return known
        self._work = 0
        spelling = self._spelling
        mask = np.zeros(spelling.count, np.bool_)
        tokens = np.flatnonzero(spelling.lengths)
        at = np.zeros(len(tokens), np.int64)  # index into `states` of each token
        states, read = [state], 0
        while tokens.size:
            following = spelling.byte(tokens, read)
            fits = self._bits(states)[at, following]
            tokens, at, following = tokens[fits], at[fits], following[fits]
            # Each pair of a state and a byte once, by marking them: to sort 50,000 takes longer than all the rest.
            keys = at * 256 + following
            marked = np.zeros(len(states) * 256, np.bool_)
            marked[keys] = True
            numbers: dict[State, int] = {}
            after = np.zeros(marked.size, np.int64)
            for pair in np.flatnonzero(marked).tolist():
                after[pair] = numbers.setdefault(self._step(states[pair >> 8], pair & 255), len(numbers))
            at = after[keys]
            read += 1
            ends = spelling.lengths[tokens] == read
            mask[tokens[ends]] = True
            tokens, at, states = tokens[~ends], at[~ends], list(numbers)
        self._masks[state] = mask
        if len(self._masks) > _MASKS:
            self._masks.popitem(last=False)
        return mask

    def _step(self, state: State, byte: int) -> State:
        key = (state, byte)
        after = self._steps.get(key)
        if after is None:
            elements = self._grammar.elements
            going = []
            for way in state:
                element = elements[way[-1]] if way else None
                if isinstance(element, Byte) and element.mask >> byte & 1:
                    going.append((*way[:-1], way[-1] + 1))
            after = self._opened(going)
            self._steps_size += 1 + sum(map(len, after))
            if self._steps_size > _STEPS_SIZE:
                self._steps.clear()
                self._steps_size = 0
            self._steps[key] = after
        return after

    def _bits(self, states: Sequence[State]) -> npt.NDArray[np.bool_]:
        """bool[states, 256]: the bytes that may come next."""
        found = np.zeros((len(states), 256), np.bool_)
        for state, row in zip(states, found, strict=True):
            mask = 0
            for way in state:
                element = self._grammar.elements[way[-1]] if way else None
                if isinstance(element, Byte):
                    mask |= element.mask
            row[:] = np.unpackbits(np.frombuffer(mask.to_bytes(32, "little"), np.uint8), bitorder="little")
        return found

    def _opened(self, ways: Sequence[Way]) -> State:
        """Ways gone on with until each stands before a byte, or is complete."""
        elements, rules = self._grammar.elements, self._grammar.rules
        waiting, seen, found = list(ways), set(ways), set()
        size = 0
        while waiting:
            way = waiting.pop()
            element = elements[way[-1]] if way else None
            if not way or isinstance(element, Byte):
                found.add(way)
                size += len(way)
                following: list[Way] = []
            elif isinstance(element, Call):
                # What comes behind the rule. If that is nothing, the rule stands in its caller's place, so that
                # what is repeated does not lie ever deeper.
                rest = (*way[:-1], way[-1] + 1) if elements[way[-1] + 1] is not END else way[:-1]
                following = [(*rest, start) for start in rules[element.rule]]
            else:
                following = [way[:-1]]
            new = [other for other in following if other not in seen]
            seen.update(new)
            waiting += new
            if len(seen) > MAX_WAYS or size > MAX_SIZE:
                raise BadOption("grammar lets a text be read in too many ways, or lie too deep", "grammar")
        self._work += len(seen) + len(ways)
        if self._work > MAX_WORK:
            raise BadOption("grammar takes too long to follow", "grammar")
        return frozenset(found)
