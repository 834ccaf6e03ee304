"""Where to cut a clip that is longer than Whisper's 30 s: at the quietest place of each stretch."""

from __future__ import annotations

import numpy as np

from .features import SAMPLE_RATE
from .types import Int16Samples

#: What the encoder can hear at once, in seconds and samples.
WINDOW_S = 30
WINDOW = WINDOW_S * SAMPLE_RATE
#: A cut is looked for between these, seconds after the window's start: late, since each window costs a
#: prompt and loses the context before it, but before the end, which keeps the peak of memory down.
EARLIEST_S, LATEST_S = 15, 26
#: Loudness is taken over hops of 20 ms, and a pause should be this many of them (0.3 s) long.
HOP = SAMPLE_RATE // 50
PAUSE_HOPS = 15


def window_end(pcm: Int16Samples, start: int) -> int:
    """Where the window that begins at a sample ends: with the clip, or in its quietest place within 30 s.

    Args:
        pcm: int16[n] at 16 kHz mono.
        start: below n.
    """
    if len(pcm) - start <= WINDOW:
        return len(pcm)
    earliest = start + EARLIEST_S * SAMPLE_RATE
    return earliest + quietest(pcm[earliest : start + LATEST_S * SAMPLE_RATE])


def quietest(pcm: Int16Samples) -> int:
    """Middle of the quietest 0.3 s, in samples; the last one where several are equally quiet.

    Of less than 0.3 s, the middle of all.
    """
    if len(pcm) < HOP * PAUSE_HOPS:
        return len(pcm) // 2
    hops = pcm[: len(pcm) // HOP * HOP].reshape(-1, HOP).astype(np.float32)
    total = np.concatenate([[0.0], np.cumsum((hops**2).sum(axis=1, dtype=np.float64))])
    energy = total[PAUSE_HOPS:] - total[:-PAUSE_HOPS]
    # Differences of cumulated sums carry rounding; a hair above the least counts as the least.
    last = np.flatnonzero(energy <= energy.min() + 1.0)[-1]
    return int(last) * HOP + PAUSE_HOPS * HOP // 2
