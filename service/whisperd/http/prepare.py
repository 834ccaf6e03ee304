"""What a request may want done with a recording before it is transcribed. Pure.

Whisper hears the shape of a spectrum and not its loudness, and silence around a sentence is not what costs time
here. What these do for the text is therefore little; docs/http.md says when they help.
"""

from __future__ import annotations

from typing import Final

import numpy as np

from ..audio.pcm import SAMPLE_RATE
from ..live import Endpoints
from ..speech.endpoint import Change, Ended, Started
from ..speech.types import Int16Samples

PEAK: Final = 0.891 * 32768  # -1 dB of full scale
MAX_GAIN: Final = 31.6  # 30 dB
_BLOCK: Final = 30 * SAMPLE_RATE


def normalized(pcm: Int16Samples) -> Int16Samples:
    """int16[n] raised to a peak of -1 dB of full scale, by at most 30 dB; what is louder already stays."""
    peak = max(int(pcm.max(initial=0)), -int(pcm.min(initial=0)))
    gain = min(PEAK / peak, MAX_GAIN) if peak else 1.0
    if gain <= 1.0:
        return pcm
    raised = np.empty_like(pcm)
    for start in range(0, len(pcm), _BLOCK):  # so that no second copy in float is in memory
        block = pcm[start : start + _BLOCK]
        raised[start : start + _BLOCK] = np.rint(block * np.float32(gain))
    return raised


def voiced_range(pcm: Int16Samples, endpoints: Endpoints) -> tuple[int, int]:
    """First and last sample of int16[n] between which there is speech, with what the endpointer leaves around it.

    (0, n) where nobody speaks: then it is the engine's to say so.
    """
    changes: list[Change] = []
    for start in range(0, len(pcm), _BLOCK):
        changes += endpoints.push(pcm[start : start + _BLOCK])
    changes += endpoints.finish()
    first = last = begun = None
    for change in changes:
        if isinstance(change, Started):
            begun = change.at
        elif isinstance(change, Ended):
            first = begun if first is None else first
            last = change.until
    if first is None or last is None:
        return 0, len(pcm)
    return first, min(len(pcm), last)
