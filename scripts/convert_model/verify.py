"""Compare a bundle with the same weights in float32 over the full 30 s, on a clip."""

from __future__ import annotations

import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from .bundle import Recipe, write_bundle
from .weights import Weights, WeightsError

_SERVICE = Path(__file__).resolve().parents[2] / "service"


@dataclass(frozen=True)
class Report:
    """What `verify` found.

    Attributes:
        worst: largest difference of a log-probability among the tokens that matter (within 5 of the best).
        text, reference: what the bundle and the reference make of the clip.
        steps: decoder steps compared.
    """

    worst: float
    text: str
    reference: str
    steps: int

    @property
    def same(self) -> bool:
        """Whether the texts are equal to the letter."""
        return self.text == self.reference


def verify(bundle: Path, weights: Weights, clip: Path, threads: int = 2) -> Report:
    """Transcribe `clip` with the bundle and with a float32 bundle made for this, then compare.

    Log-probabilities are compared step by step along the reference's own tokens.

    Raises:
        WeightsError: the clip cannot be read, or the bundle cannot be loaded.
    """
    if str(_SERVICE) not in sys.path:
        sys.path.insert(0, str(_SERVICE))
    # The daemon's own code does the work, and is only needed here.
    from whisperd.audio.files import read_audio
    from whisperd.errors import WhisperdError
    from whisperd.speech.bundle import verify as verify_files
    from whisperd.speech.options import Options
    from whisperd.speech.transcribe import load
    from whisperd.speech.types import Unattended

    try:
        pcm = read_audio(clip, 30.0)
        verify_files(bundle)
        with tempfile.TemporaryDirectory(prefix="whisper-fp32-") as folder:
            exact = Path(folder) / "fp32"
            write_bundle(weights, Recipe("fp32", "fp32"), exact)
            ours = load(bundle, threads=threads, language="en")
            text = ours.transcribe(pcm, Options(), Unattended()).text
            reference = load(exact, threads=threads, language="en")
            found = reference.transcribe(pcm, Options(), Unattended(), full_context=True)
            tokens = [token for segment in found.segments for token in segment.tokens]
            left = ours.token_logprobs(pcm, tokens)
            right = reference.token_logprobs(pcm, tokens, full_context=True)
    except WhisperdError as error:
        raise WeightsError(str(error)) from None
    return Report(_worst(left, right), text, found.text, len(tokens) + 1)


def _worst(left: npt.NDArray[Any], right: npt.NDArray[Any]) -> float:
    """Largest difference where the reference gives a token at least e^-5 of the best one's probability."""
    near = right > right.max(axis=1, keepdims=True) - 5.0
    return float(np.abs(left - right)[near].max())
