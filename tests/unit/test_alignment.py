"""Where each token was said: the warp against a plain one, the filter against numpy, and beginnings that rise."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from whisperd.speech.alignment import MEDIAN_WIDTH, begins, median_filter, warp

# Few values, so that there are ties; and all of them exact in float32, as their sums are.
TIED = hnp.arrays(np.float32, hnp.array_shapes(min_dims=2, max_dims=2, max_side=9), elements=st.integers(-2, 2))
ANY = hnp.arrays(
    np.float32, hnp.array_shapes(min_dims=2, max_dims=2, max_side=12), elements=st.floats(-4, 4, width=16)
)


def plain_warp(cost: np.ndarray) -> list[tuple[int, int]]:
    """Dynamic time warping as in a textbook, cell by cell, with the reference's choice among equal ways."""
    n, m = cost.shape
    total = np.full((n + 1, m + 1), math.inf)
    total[0, 0] = 0.0
    came = np.zeros((n + 1, m + 1), int)
    for i, j in itertools.product(range(1, n + 1), range(1, m + 1)):
        both, up, left = total[i - 1, j - 1], total[i - 1, j], total[i, j - 1]
        if both < up and both < left:
            came[i, j], before = 0, both
        elif up < both and up < left:
            came[i, j], before = 1, up
        else:
            came[i, j], before = 2, left
        total[i, j] = float(cost[i - 1, j - 1]) + before
    came[0, :], came[:, 0] = 2, 1
    i, j, path = n, m, []
    while i or j:
        path.append((i - 1, j - 1))
        i, j = i - (came[i, j] != 2), j - (came[i, j] != 1)
    return path[::-1]


def cheapest(cost: np.ndarray) -> float:
    """What the cheapest path costs."""
    total: dict[tuple[int, int], float] = {}
    for i, j in np.ndindex(*cost.shape):
        before = [total[p] for p in ((i - 1, j - 1), (i - 1, j), (i, j - 1)) if p in total]
        total[i, j] = float(cost[i, j]) + (min(before) if before else 0.0)
    return total[cost.shape[0] - 1, cost.shape[1] - 1]


@given(st.integers(1, 12), st.integers(1, 12), st.integers(0, 10**6))
@settings(max_examples=300, deadline=None)
def test_a_warp_is_the_cheapest_path(n: int, m: int, seed: int) -> None:
    cost = np.random.default_rng(seed).normal(size=(n, m)).astype(np.float32)  # no two ways are equal
    before = cost.copy()
    rows, columns = warp(cost)
    path = list(zip(rows.tolist(), columns.tolist(), strict=True))
    np.testing.assert_array_equal(cost, before)
    assert path[0] == (0, 0)
    assert path[-1] == (cost.shape[0] - 1, cost.shape[1] - 1)
    for (i, j), (down, right) in itertools.pairwise(path):
        assert (down - i, right - j) in {(1, 1), (1, 0), (0, 1)}
    assert sum(float(cost[p]) for p in path) == pytest.approx(cheapest(cost), abs=1e-9)


@given(TIED | ANY)
@settings(max_examples=400, deadline=None)
def test_of_equal_ways_it_takes_the_reference_s(cost: np.ndarray) -> None:
    rows, columns = warp(cost)
    assert list(zip(rows.tolist(), columns.tolist(), strict=True)) == plain_warp(cost)


@pytest.mark.parametrize("shape", [(1, 1), (1, 7), (7, 1), (40, 3), (3, 40), (60, 200)])
def test_degenerate_matrices(shape: tuple[int, int]) -> None:
    cost = np.random.default_rng(1).normal(size=shape).astype(np.float32)
    rows, columns = warp(cost)
    assert list(zip(rows.tolist(), columns.tolist(), strict=True)) == plain_warp(cost)


@given(
    hnp.arrays(
        np.float32,
        hnp.array_shapes(min_dims=1, max_dims=3, min_side=1, max_side=12),
        elements=st.floats(-9, 9, width=32),
    )
)
@settings(max_examples=300, deadline=None)
def test_the_filter_is_numpy_s_median(x: np.ndarray) -> None:
    before = x.copy()
    found = median_filter(x)
    np.testing.assert_array_equal(x, before)
    half = MEDIAN_WIDTH // 2
    if x.shape[-1] <= half:  # cannot be reflected so far
        np.testing.assert_array_equal(found, x)
        return
    padded = np.pad(x, [(0, 0)] * (x.ndim - 1) + [(half, half)], mode="reflect")
    windows = np.lib.stride_tricks.sliding_window_view(padded, MEDIAN_WIDTH, axis=-1)
    np.testing.assert_array_equal(found, np.median(windows, axis=-1).astype(np.float32))
    assert found.shape == x.shape


def attention(tokens: int, heads: int, width: int, seed: int = 0) -> np.ndarray:
    weights = np.random.default_rng(seed).exponential(size=(tokens, heads, width)).astype(np.float32)
    return weights / weights.sum(axis=-1, keepdims=True)


@given(st.integers(1, 30), st.integers(1, 4), st.integers(1, 60), st.integers(0, 40), st.integers(0, 999))
@settings(max_examples=200, deadline=None)
def test_beginnings_rise_and_lie_within_the_clip(
    tokens: int, heads: int, positions: int, tail: int, seed: int
) -> None:
    found = begins(attention(tokens, heads, positions + tail, seed), positions)
    assert found.dtype == np.int64
    assert found.shape == (tokens,)
    assert found[0] == 0
    assert (np.diff(found) >= 0).all()
    assert found[-1] < positions


@pytest.mark.parametrize("value", [0.0, 1.0, np.float32(1e-30)])
def test_attention_that_tells_nothing(value: float) -> None:
    for shape in ((1, 1, 1), (1, 2, 9), (5, 2, 1), (5, 2, 3), (9, 1, 4), (3, 2, 30)):
        found = begins(np.full(shape, value, np.float32), shape[2])
        assert np.isfinite(found).all()
        assert (np.diff(found) >= 0).all()
        assert found.min() >= 0
        assert found.max() < shape[2]


def test_a_token_begins_where_the_decoder_begins_to_look() -> None:
    """Each of five tokens looks at a stretch of its own; and at the tail, which is none of the clip's."""
    edges = [0, 20, 45, 50, 80, 100]
    weights = np.full((5, 3, 140), 1e-4, np.float32)
    for token, (low, high) in enumerate(itertools.pairwise(edges)):
        weights[token, :, low:high] = 1.0
    weights[:, :, 100:] = np.array([0.0, 50.0, 3.0, 0.0, 90.0])[:, None, None]
    weights /= weights.sum(axis=-1, keepdims=True)
    np.testing.assert_allclose(begins(weights, 100), edges[:-1], atol=1)


def test_a_single_glance_elsewhere_is_smoothed_away() -> None:
    weights = np.full((2, 1, 40), 1e-3, np.float32)
    weights[0, 0, :20] = weights[1, 0, 20:] = 1.0
    weights[1, 0, 5:7] = 9.0
    assert begins(weights, 40)[1] == pytest.approx(20, abs=1)
