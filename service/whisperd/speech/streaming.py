"""Which part of an unfinished utterance's text stands. Pure.

While somebody speaks, the utterance so far is decoded again and again. Its last words change from pass to pass:
the audio ends within them, and they lack what follows. A policy says, after each pass, how many tokens will not
change any more; they are shown as such, and are given to all later passes as the beginning of their text.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final, Protocol

import numpy as np
import numpy.typing as npt

from .decoding import Decoded
from .types import Float32Array, Known

POSITION_S: Final = 0.02
"""Seconds of audio of one position of the encoder's output."""


class Policy(Protocol):
    """Decides what stands after a pass."""

    @property
    def attends(self) -> bool:
        """Whether it needs to know where the tokens looked."""

    def standing(self, known: Known, decoded: Decoded, positions: int) -> int:
        """How many of the decoded tokens stand; those of `known.stable` do in any case.

        Args:
            known: what this pass was given.
            decoded: what it found; it came to its end.
            positions: of 20 ms, that the utterance has so far; what lies behind is padding and tail.
        """


@dataclass(frozen=True)
class LocalAgreement:
    """Tokens stand in which two passes in a row agree (Liu et al., 2020, as in whisper_streaming).

    Two passes over the same half sentence can agree in a mistake, which the rest would have put right; the decoder
    knows that it is guessing. So it must also have been sure of each.

    Attributes:
        sure: least probability of a token that may stand.
    """

    sure: float = 0.5
    attends: bool = False

    def standing(self, known: Known, decoded: Decoded, positions: int) -> int:
        """The length of the beginning that this pass and the one before have in common, while it is sure."""
        count = len(known.stable)
        for old, new, logprob in zip(known.draft, decoded.tokens[count:], decoded.logprobs[count:], strict=False):
            if old != new or logprob < math.log(self.sure):
                break
            count += 1
        return count


@dataclass(frozen=True)
class AlignAtt:
    """Tokens stand up to the first that looked at the last moments of the audio (Papi et al., 2023).

    Attributes:
        margin_s: how long the last moments are.
        sure: as with `LocalAgreement`.
    """

    margin_s: float = 0.5
    sure: float = 0.5
    attends: bool = True

    def standing(self, known: Known, decoded: Decoded, positions: int) -> int:
        """The number of tokens before the first that looked beyond the margin, or was a guess."""
        assert decoded.attention is not None
        edge = positions - round(self.margin_s / POSITION_S)
        fails = looked_at(decoded.attention, positions) >= edge
        fails |= np.asarray(decoded.logprobs) < math.log(self.sure)
        fails[: len(known.stable)] = False
        first = np.flatnonzero(fails)
        return int(first[0]) if first.size else len(decoded.tokens)


POLICIES: Final[Mapping[str, Policy]] = {"local-agreement": LocalAgreement(), "alignatt": AlignAtt()}
"""By the name that the configuration has for them."""

DEFAULT_POLICY: Final = "local-agreement"


def looked_at(attention: Float32Array, positions: int) -> npt.NDArray[np.int64]:
    """The position of the audio at which each token looked most, by the mean of all heads.

    A quarter of the attention, and of some heads the most, rests on the silence behind the audio, where nothing
    is: only the first `positions` are compared.

    Returns:
        int64[tokens], each below `positions`.
    """
    looked: npt.NDArray[np.int64] = attention[:, :, :positions].mean(axis=1).argmax(axis=1)
    return looked


def settle(tokens: Sequence[int], standing: int, known: Known, decode: Callable[[Sequence[int]], bytes]) -> int:
    """`standing`, moved back to where a word begins, but not behind what is stable already.

    Half a word would be stable and wrong: " air" stands while "plane" is still heard as "port". Languages that
    write no spaces have no such places; there a whole character is enough.

    Args:
        tokens: of this pass.
        standing: how many of them the policy lets stand.
        decode: tokens to UTF-8, which may end within a character.
    """
    count = min(standing, len(tokens))
    while count > len(known.stable) and not _word_begins(tokens, count, decode):
        count -= 1
    return max(count, min(len(known.stable), len(tokens)))


def _word_begins(tokens: Sequence[int], at: int, decode: Callable[[Sequence[int]], bytes]) -> bool:
    """Whether the text may be cut before token `at`: a space or a non-ASCII character begins there."""
    if at == len(tokens):
        return False
    following = decode(tokens[at : at + 1])
    return following[:1] == b" " or (following[:1] >= b"\xe0" and _whole(decode(tokens[:at])))


def _whole(text: bytes) -> bool:
    try:
        text.decode("utf-8")
    except UnicodeDecodeError:
        return False
    return True
