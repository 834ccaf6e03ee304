"""How probable it is that what was found was said: a figure of 0 to 1 for a word and for a text. Pure.

A decoder's probabilities say how sure it is of the next token, given that all before it are right. What that
means for a word was counted: these are logistic functions fitted to words that were right and words that were
not, of six languages, as they come, in noise, quiet, far and clipped. `scripts/bench/accuracy --calibrate` makes
the constants, and docs/models.md ("Confidence") tells what is to be expected of them.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

#: A word's: constant, per unit of the logit of its probability, and per nat of the text's mean log-probability.
WORD = (1.681, 0.835, 1.740)
#: A text's: constant, and per nat of its mean log-probability.
TEXT = (3.036, 4.474)
#: Nothing is more certain than one minus this, nor less probable than that.
CERTAIN, HOPELESS = 1e-4, 1e-9
#: A mean log-probability below this, in nats, is as bad.
LEAST_MEAN = -20.0


def of_word(logprobs: Sequence[float], mean: float) -> float:
    """Probability that a word was said; 0 without tokens.

    Args:
        logprobs: natural log-probabilities of its tokens, marks of punctuation left out.
        mean: mean log-probability of the text that it stands in.
    """
    if not logprobs:
        return 0.0
    probability = min(max(math.exp(sum(logprobs)), HOPELESS), 1.0 - CERTAIN)
    logit = math.log(probability / (1.0 - probability))
    return _logistic(WORD[0] + WORD[1] * logit + WORD[2] * max(mean, LEAST_MEAN))


def of_text(mean: float) -> float:
    """Share of a text's words that were probably said, of the mean log-probability of its tokens."""
    return _logistic(TEXT[0] + TEXT[1] * max(mean, LEAST_MEAN))


def _logistic(x: float) -> float:
    return 1.0 / (1.0 + math.exp(-x))
