"""How probable it is that what was found was said: a figure of 0 to 1 for a word and for a text. Pure.

A decoder's probabilities say how sure it is of the next token, given that all before it are right, and it is
surer than it is right. These formulas are fitted to words that were right and words that were not
(docs/models.md, "Confidence").
"""

from __future__ import annotations

import math
from collections.abc import Sequence


def of_word(logprobs: Sequence[float]) -> float:
    """Probability that a word was said, of the natural log-probabilities of its tokens; 0 without tokens."""
    if not logprobs:
        return 0.0
    return math.exp(sum(logprobs) / len(logprobs))


def of_text(logprobs: Sequence[float]) -> float:
    """Share of a text's words that was probably said, of its tokens' natural log-probabilities; 0 for none."""
    if not logprobs:
        return 0.0
    return math.exp(sum(logprobs) / len(logprobs))
