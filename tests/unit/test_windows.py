"""Cutting long clips: at pauses, without a gap, never over 30 s."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from whisperd.speech.windows import EARLIEST_S, LATEST_S, SAMPLE_RATE, WINDOW, window_end


def speech(seconds: float, pauses: tuple[float, ...] = ()) -> np.ndarray:
    """Noise with pauses of 0.4 s that begin at the given seconds."""
    pcm = np.random.default_rng(1).normal(0, 3000, int(seconds * SAMPLE_RATE)).astype(np.int16)
    for start in pauses:
        pcm[int(start * SAMPLE_RATE) : int((start + 0.4) * SAMPLE_RATE)] = 0
    return pcm


def split_at_pauses(pcm: np.ndarray) -> list[tuple[int, int]]:
    """Windows end to end."""
    windows = []
    start = 0
    while start < len(pcm):
        windows.append((start, window_end(pcm, start)))
        start = windows[-1][1]
    return windows


def test_up_to_30_seconds_is_one_window() -> None:
    assert split_at_pauses(np.zeros(0, np.int16)) == []
    assert split_at_pauses(speech(1)) == [(0, SAMPLE_RATE)]
    assert split_at_pauses(np.ones(WINDOW, np.int16)) == [(0, WINDOW)]
    assert len(split_at_pauses(np.ones(WINDOW + 1, np.int16))) == 2


def test_cuts_lie_in_the_pauses() -> None:
    pauses = (7.0, 21.5, 33.0, 47.2, 61.0, 71.0)
    windows = split_at_pauses(speech(85, pauses))
    cuts = [end / SAMPLE_RATE for _, end in windows[:-1]]
    assert len(cuts) == 3
    for cut, pause in zip(cuts, (21.5, 47.2, 71.0), strict=True):
        assert pause < cut < pause + 0.4


def test_of_equal_pauses_the_last_is_taken() -> None:
    assert 24.0 < split_at_pauses(speech(40, (18.0, 24.0)))[0][1] / SAMPLE_RATE < 24.4


@settings(max_examples=25, deadline=None)
@given(seconds=st.floats(0, 200), seed=st.integers(0, 9), level=st.sampled_from([0, 1, 3000]))
def test_windows_cover_everything_once(seconds: float, seed: int, level: int) -> None:
    size = int(seconds * SAMPLE_RATE)
    pcm = (np.random.default_rng(seed).random(size) * level).astype(np.int16)
    windows = split_at_pauses(pcm)
    joints = [0, *(end for _, end in windows)]
    assert [start for start, _ in windows] == joints[:-1]
    assert joints[-1] == size
    assert all(0 < end - start <= WINDOW for start, end in windows)
    assert all(EARLIEST_S <= (end - start) / SAMPLE_RATE <= LATEST_S for start, end in windows[:-1])


@pytest.mark.parametrize("sample", [-32768, 32767])
def test_full_scale_does_not_overflow(sample: int) -> None:
    pcm = np.full(40 * SAMPLE_RATE, sample, np.int16)
    pcm[20 * SAMPLE_RATE : 21 * SAMPLE_RATE] = 0
    assert 20 <= split_at_pauses(pcm)[0][1] / SAMPLE_RATE <= 21
