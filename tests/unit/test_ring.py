"""The ring: what is kept, what is forgotten, and the bound between."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from whisperd.audio.ring import RING_S, Ring

CAPACITY = 160  # 10 ms


def counted(start: int, end: int) -> np.ndarray:
    return np.arange(start, end).astype(np.int16)


def test_a_minute_is_kept() -> None:
    ring = Ring()
    ring.write(np.ones(960_001, np.int16))
    assert (ring.begin, ring.end, RING_S) == (1, 960_001, 60.0)


@given(st.lists(st.integers(0, 400), max_size=12), st.integers(0, 400), st.integers(0, 400))
def test_the_newest_samples_are_there_and_no_others(sizes: list[int], back: int, length: int) -> None:
    ring, end = Ring(CAPACITY / 16_000), 0
    for size in sizes:
        ring.write(counted(end, end + size))
        end += size
    assert (ring.begin, ring.end) == (max(0, end - CAPACITY), end)
    start = end - back
    stop = start + length
    if back <= min(CAPACITY, end) and stop <= end:
        np.testing.assert_array_equal(ring.read(start, stop), counted(start, stop))
    else:
        with pytest.raises(ValueError, match="are not within"):
            ring.read(start, stop)


def test_what_is_read_does_not_change_any_more() -> None:
    ring = Ring(CAPACITY / 16_000)
    ring.write(counted(0, CAPACITY))
    read = ring.read(10, 20)
    ring.write(counted(5000, 5000 + CAPACITY))
    np.testing.assert_array_equal(read, counted(10, 20))
