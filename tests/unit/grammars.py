"""What tests of grammars share: a vocabulary of a few tokens, and whether a text is in a grammar."""

from __future__ import annotations

import numpy as np
from whisperd.speech.constraint import Constraint
from whisperd.speech.gbnf import parse
from whisperd.speech.tokenizer import Spelling


def spelling(words: list[bytes]) -> Spelling:
    """Of tokens that are these, in order."""
    lengths = np.array([len(word) for word in words], np.int64)
    return Spelling(np.concatenate([[0], np.cumsum(lengths)]), np.frombuffer(b"".join(words), np.uint8), lengths)


BYTES = spelling([bytes([byte]) for byte in range(256)])
"""A token for each byte."""


def follows(grammar: str, text: str | bytes, root: str = "root") -> bool:
    """Whether a text is whole, in a grammar."""
    data = text.encode() if isinstance(text, str) else text
    return () in Constraint(parse(grammar, root), BYTES).state(list(data))
