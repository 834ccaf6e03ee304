"""The log-mel spectrogram: against values by librosa, at every edge of a clip's length, and its memory."""

from __future__ import annotations

import importlib.util
import tracemalloc
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from whisperd.audio import pcm as audio_pcm
from whisperd.speech import features
from whisperd.speech.features import LOG_FLOOR, LogMel, mel_filters, normalise, silence_value, sounding

DATA = Path(__file__).parents[1] / "data"


def load_maker() -> Any:
    """The script that made the reference, for its signals."""
    spec = importlib.util.spec_from_file_location("make_mel_reference", DATA / "make_mel_reference.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


MAKER = load_maker()
REFERENCE = np.load(DATA / "mel_reference.npz")
CASES = [(name, n_mels) for n_mels in (80, 128) for name in MAKER.LENGTHS]


@pytest.mark.parametrize("n_mels", [80, 128])
def test_filters_are_those_of_the_reference(n_mels: int) -> None:
    assert np.abs(mel_filters(n_mels) - REFERENCE[f"filters_{n_mels}"]).max() < 1e-9


@pytest.mark.parametrize(("name", "n_mels"), CASES)
def test_values_are_those_of_the_reference(name: str, n_mels: int) -> None:
    log_mel = LogMel(n_mels)(MAKER.signal(MAKER.LENGTHS[name]))
    assert log_mel.dtype == np.float32
    assert log_mel.shape == (n_mels, -(-MAKER.LENGTHS[name] // 160))
    kept = log_mel[:, :: MAKER.STEP]
    assert np.abs(kept - REFERENCE[f"raw_{name}_{n_mels}"]).max() < 1e-5


@pytest.mark.parametrize(("name", "n_mels"), CASES)
def test_normalised_values_are_those_of_the_reference(name: str, n_mels: int) -> None:
    log_mel = LogMel(n_mels)(MAKER.signal(MAKER.LENGTHS[name]))
    kept = normalise(log_mel)[:, :: MAKER.STEP]
    assert kept.dtype == np.float32
    assert np.abs(kept - REFERENCE[f"normalised_{name}_{n_mels}"]).max() < 1e-5
    assert abs(silence_value(float(log_mel.max())) - REFERENCE[f"silence_{name}_{n_mels}"]) < 1e-5


def test_float_and_int16_give_the_same() -> None:
    pcm = MAKER.signal(5_000)
    as_float = pcm.astype(np.float32) / np.float32(32_768)
    np.testing.assert_array_equal(LogMel()(pcm), LogMel()(as_float))


@settings(deadline=None)
@given(samples=st.integers(0, 45_000))
def test_a_clip_is_the_start_of_that_clip_with_silence_after_it(samples: int) -> None:
    pcm = MAKER.signal(1_000).repeat(45)[:samples]
    log_mel = LogMel()(pcm)
    frames = -(-samples // 160)
    assert log_mel.shape == (80, frames)
    padded = LogMel()(np.concatenate((pcm, np.zeros(2_000, np.int16))))
    np.testing.assert_array_equal(padded[:, :frames], log_mel)
    np.testing.assert_array_equal(padded[:, frames + 2 :], np.float32(LOG_FLOOR))


def test_no_samples_are_no_frames() -> None:
    assert LogMel()(np.zeros(0, np.int16)).shape == (80, 0)
    assert normalise(np.zeros((80, 0), np.float32)).shape == (80, 0)


def test_silence_is_the_floor() -> None:
    log_mel = LogMel()(np.zeros(800, np.int16))
    np.testing.assert_array_equal(log_mel, np.float32(LOG_FLOOR))
    np.testing.assert_array_equal(normalise(log_mel), np.float32(silence_value(LOG_FLOOR)))
    assert silence_value(LOG_FLOOR) == -1.5


@pytest.mark.parametrize("maximum", [-9.0, -2.0, -1.9, 0.0, 2.5])
def test_silence_value_is_what_normalise_makes_of_silence(maximum: float) -> None:
    log_mel = np.array([[maximum, LOG_FLOOR]], np.float32)
    assert normalise(log_mel)[0, 1] == pytest.approx(silence_value(maximum), abs=1e-6)


def test_windows_of_a_clip_share_its_maximum() -> None:
    log_mel = LogMel()(MAKER.signal(20_000))
    maximum = float(log_mel.max())
    np.testing.assert_array_equal(normalise(log_mel[:, :10], maximum), normalise(log_mel)[:, :10])


@pytest.mark.parametrize(("last", "frames"), [(0.0, 4), (-0.99, 4), (-1.01, 2)])
def test_sounding_frames_end_with_the_last_that_is_not_far_below_the_loudest(last: float, frames: int) -> None:
    mel = np.full((80, 4), -2.0, np.float32)
    mel[3, 0], mel[70, 1], mel[9, 3] = 0.0, -0.5, last  # a quarter is a decade
    assert sounding(mel, 4.0) == frames
    assert sounding(mel[:, :1], 4.0) == 1


@pytest.mark.parametrize("pcm", [np.zeros(9, np.float64), np.zeros(9, np.uint8), np.zeros((9, 2), np.int16)])
def test_other_arrays_are_refused(pcm: Any) -> None:
    with pytest.raises(ValueError, match="audio must be"):
        LogMel()(pcm)


@pytest.mark.parametrize("n_mels", [0, -1, 1_000])
def test_impossible_band_counts_are_refused(n_mels: int) -> None:
    with pytest.raises(ValueError, match="mel"):
        LogMel(n_mels)


def test_scratch_memory_does_not_grow_with_the_clip() -> None:
    log_mel = LogMel()
    pcm = np.zeros(120 * 16_000, np.int16)
    tracemalloc.start()
    try:
        result = log_mel(pcm)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    # The result, the samples as float32 once converted and once padded, and a batch.
    assert peak < result.nbytes + 2 * 4 * pcm.size + 5_000_000


def test_rate_is_the_rate_that_audio_is_converted_to() -> None:
    assert features.SAMPLE_RATE == audio_pcm.SAMPLE_RATE
