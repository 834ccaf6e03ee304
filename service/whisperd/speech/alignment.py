"""When each token was said: the decoder's cross-attention, followed through the audio by dynamic time warping.

Follows the reference (openai/whisper, timing.py, `find_alignment`): of the heads that follow the audio, the
attention is normalised over the tokens, smoothed over time and averaged; the cheapest path through it that goes
forward in both tokens and time says at which position each token begins. Here it is numpy alone, with one pass of
vector operations for each anti-diagonal of the matrix.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from .types import Float32Array

#: Positions over which a median is taken, 20 ms each; the reference's.
MEDIAN_WIDTH = 7
#: Compared and exchanged, in this order, the fourth of seven is their median (Devillard, 1998).
_MEDIAN_OF_7 = (
    *((0, 5), (0, 3), (1, 6), (2, 4), (0, 1), (3, 5), (2, 6)),
    *((2, 3), (3, 6), (4, 5), (1, 4), (1, 3), (3, 4)),
)
#: Where a path comes from: both before, the token before, the position before.
_DIAGONAL, _TOKEN, _POSITION = 0, 1, 2


def begins(attention: Float32Array, positions: int) -> npt.NDArray[np.int64]:
    """The position at which each token begins.

    Args:
        attention: float32[tokens, heads, K], weights over positions of 20 ms, of which the first `positions` are
            of the clip.
        positions: at least 1.

    Returns:
        int64[tokens], rising, below `positions`.
    """
    weights = attention[:, :, :positions]
    # As if silence and tail had not been there to look at.
    weights = weights / np.maximum(weights.sum(axis=-1, keepdims=True), np.float32(1e-9))
    spread = weights.std(axis=0, keepdims=True)
    weights = (weights - weights.mean(axis=0, keepdims=True)) / np.maximum(spread, np.float32(1e-9))
    matrix = median_filter(weights).mean(axis=1)
    tokens, times = warp(-matrix)
    return times[np.flatnonzero(np.diff(tokens, prepend=-1))]


def median_filter(x: Float32Array) -> Float32Array:
    """Median of `MEDIAN_WIDTH` neighbours along the last axis, which is reflected at its ends."""
    half = MEDIAN_WIDTH // 2
    if x.shape[-1] <= half:
        return x
    padded = np.pad(x, [(0, 0)] * (x.ndim - 1) + [(half, half)], mode="reflect")
    rows = [padded[..., k : k + x.shape[-1]] for k in range(MEDIAN_WIDTH)]
    for low, high in _MEDIAN_OF_7:
        rows[low], rows[high] = np.minimum(rows[low], rows[high]), np.maximum(rows[low], rows[high])
    return rows[half]


def warp(cost: Float32Array) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
    """The cheapest path from the first to the last entry of a matrix, a step down, right, or both at a time.

    Args:
        cost: float32[n, m], n and m at least 1.

    Returns:
        Rows and columns of the path, int64[k] each. Where two ways are equal it goes along the row, as the
        reference does, even if that costs more than both.
    """
    n, m = cost.shape
    # Total cost and origin by anti-diagonal d = i + j, at index i; one row more at the top, which costs too much.
    origin = np.zeros((n + m - 1, n), np.int8)
    before = np.full(n + 1, np.inf, np.float64)
    last = np.full(n + 1, np.inf, np.float64)
    flipped = cost.astype(np.float64)
    for d in range(n + m - 1):
        low, high = max(0, d - m + 1), min(n, d + 1)
        i = np.arange(low, high)
        diagonal, token, position = before[low:high], last[low:high], last[low + 1 : high + 1]
        from_token = (token < diagonal) & (token < position)
        from_diagonal = (diagonal < token) & (diagonal < position)
        best = np.where(from_diagonal, diagonal, np.where(from_token, token, position))
        if d == 0:
            best = np.zeros(1)
        origin[d, low:high] = np.where(from_diagonal, _DIAGONAL, np.where(from_token, _TOKEN, _POSITION))
        now = np.full(n + 1, np.inf, np.float64)
        now[low + 1 : high + 1] = flipped[i, d - i] + best
        before, last = last, now
    i, j, rows, columns = n - 1, m - 1, [], []
    while True:
        rows.append(i)
        columns.append(j)
        if i == 0 and j == 0:
            break
        came = _POSITION if i == 0 else _TOKEN if j == 0 else origin[i + j, i]
        i -= came != _POSITION
        j -= came != _TOKEN
    return np.array(rows[::-1], np.int64), np.array(columns[::-1], np.int64)
