"""The resampler: stop band, pass band, delay, length, any split the same, memory, and odd ratios."""

from __future__ import annotations

import math
from collections.abc import Iterable

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from traced import tracing
from whisperd.audio import resample as resample_module
from whisperd.audio.resample import MAX_RATIO, PASS_BAND, RATE_TOLERANCE, Resampler, conversion_ratio

Float32Array = npt.NDArray[np.float32]

OUT = 16_000
DOWN = (22_050, 24_000, 32_000, 44_100, 48_000, 88_200, 96_000, 192_000, 384_000)
UP = (8_000, 11_025, 12_000)
#: Rates whose ratio to 16 kHz is not in lowest terms, or needs large terms.
ODD = (4_001, 8_001, 15_998, 16_002, 37_800, 44_101, 48_010, 64_007, 368_037, 383_999)


def resample(samples: Float32Array, rate: int, cuts: Iterable[int] = ()) -> Float32Array:
    """The whole clip, pushed in the pieces that the cuts make."""
    resampler = Resampler(rate, OUT)
    edges = [0, *sorted(cuts), samples.size]
    parts = [resampler.push(samples[a:b]) for a, b in zip(edges, edges[1:], strict=False)]
    return np.concatenate((*parts, resampler.flush()))


def tone(hz: float, rate: int, seconds: float) -> Float32Array:
    return np.sin(2 * np.pi * hz * np.arange(round(rate * seconds)) / rate).astype(np.float32)


def sweep(first_hz: float, last_hz: float, rate: int, seconds: float) -> Float32Array:
    """A sine of amplitude 1 that glides from one frequency to the other.

    It is faded in at rest and gathers speed slowly, so that all its energy is where it should be: a click, or a
    kink in the glide, would have energy in the pass band.
    """
    lead = rate // 2
    glide = first_hz + (last_hz - first_hz) * np.sin(np.linspace(0, np.pi / 2, round(rate * seconds))) ** 4
    hz = np.concatenate((np.full(lead, first_hz), glide, np.full(lead, last_hz)))
    wave = np.sin(2 * np.pi * np.cumsum(hz) / rate)
    fade = np.sin(np.linspace(0, np.pi / 2, lead)) ** 4
    wave[:lead] *= fade
    wave[-lead:] *= fade[::-1]
    return wave.astype(np.float32)


def db(amplitude: float) -> float:
    return 20 * math.log10(max(amplitude, 1e-12))


# --- stop band --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("rate", [*DOWN, 37_800, 44_101, 383_999])
def test_nothing_above_the_output_nyquist_comes_through(rate: int) -> None:
    """A sweep over all that would alias: the loudest output sample is 90 dB below it."""
    output = resample(sweep(OUT / 2, rate / 2, rate, 1.5), rate)
    assert db(float(np.abs(output).max())) < -90


def test_the_sweep_is_heard_without_a_filter() -> None:
    """The measurement above can fail: taking every third sample lets the sweep through."""
    assert db(float(np.abs(sweep(8_000, 24_000, 48_000, 1.5)[::3]).max())) > -1


@pytest.mark.parametrize("rate", [*UP, 4_001, 8_001, 15_998])
def test_no_images_above_the_input_nyquist(rate: int) -> None:
    """Tones up to the input's Nyquist frequency: nothing but the tone itself is in the output."""
    for fraction in (0.02, 0.11, 0.25, 0.5, 0.75, 0.89, 0.93, 0.97, 0.999):
        hz = fraction * rate / 2
        output = resample(tone(hz, rate, 1.4), rate)[3_000:19_384]
        # Kaiser, beta 20: side lobes below -150 dB, main lobe within 8 bins of about 1 Hz.
        spectrum = np.abs(np.fft.rfft(output * np.kaiser(output.size, 20)))
        full_scale = np.kaiser(output.size, 20).sum() / 2
        up, down = conversion_ratio(rate, OUT)
        own = round(hz / rate * down / up * output.size)
        spectrum[max(0, own - 20) : own + 21] = 0
        if fraction < PASS_BAND:
            assert db(float(spectrum.max() / full_scale)) < -90
        else:  # a tone in the transition band is itself attenuated; its image is above the Nyquist frequency
            nyquist = math.ceil(rate / 2 * output.size / OUT)
            assert db(float(spectrum[nyquist:].max(initial=0.0) / full_scale)) < -90


# --- pass band --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("rate", [*UP, *DOWN])
def test_pass_band_is_flat_and_without_delay(rate: int) -> None:
    """Every output sample is the tone at that sample's time: level, delay and rate in one."""
    edge = PASS_BAND * min(rate, OUT) / 2
    for hz in (20.0, 300.0, edge / 2, 0.9 * edge, 0.97 * edge, edge):
        output = resample(tone(hz, rate, 0.6), rate)
        expected = np.sin(2 * np.pi * hz * np.arange(output.size) / OUT)
        middle = slice(2_000, -2_000)
        assert np.abs(output[middle] - expected[middle]).max() < 1e-4


def test_pass_band_reaches_7_khz_from_44_and_48_khz() -> None:
    for rate in (44_100, 48_000):
        output = resample(tone(7_000.0, rate, 0.6), rate)[2_000:-2_000]
        level = db(float(np.sqrt(2 * np.mean(output.astype(np.float64) ** 2))))
        assert abs(level) < 0.1


@pytest.mark.parametrize("rate", [*UP, *DOWN, *ODD])
def test_a_constant_stays_the_same(rate: int) -> None:
    output = resample(np.full(rate, 0.5, np.float32), rate)
    assert np.abs(output[2_000:-2_000] - 0.5).max() < 1e-4


# --- streaming --------------------------------------------------------------------------------------------


@settings(max_examples=60, deadline=None)
@given(
    rate=st.sampled_from([*UP, *DOWN, *ODD, OUT]),
    size=st.integers(0, 6_000),
    cuts=st.lists(st.floats(0, 1), max_size=12),
)
@example(rate=44_100, size=2_000, cuts=[i / 2_000 for i in range(2_000)])
@example(rate=11_025, size=1_500, cuts=[i / 1_500 for i in range(1_500)])
def test_any_split_gives_the_same_samples(rate: int, size: int, cuts: list[float]) -> None:
    samples = np.random.default_rng(size).uniform(-1, 1, size).astype(np.float32)
    whole = resample(samples, rate)
    np.testing.assert_array_equal(resample(samples, rate, (int(c * size) for c in cuts)), whole)


@settings(max_examples=100, deadline=None)
@given(rate=st.integers(4_000, 384_000), size=st.integers(0, 3_000))
@example(rate=384_000, size=1)
@example(rate=4_000, size=1)
@example(rate=48_000, size=0)
def test_length_is_that_of_the_clip(rate: int, size: int) -> None:
    up, down = conversion_ratio(rate, OUT)
    assert resample(np.zeros(size, np.float32), rate).size == -(-size * up // down)
    assert abs(-(-size * up // down) - size * OUT / rate) <= 1 + size * OUT / rate * RATE_TOLERANCE


def test_equal_rates_pass_through() -> None:
    samples = np.random.default_rng(0).uniform(-1, 1, 999).astype(np.float32)
    np.testing.assert_array_equal(resample(samples, OUT, [1, 500]), samples)


def test_output_comes_while_input_comes() -> None:
    """A second of 48 kHz in: all but the filter's half length (4 ms) and one step (20 ms) is out."""
    assert Resampler(48_000, OUT).push(np.zeros(48_000, np.float32)).size >= OUT * 0.975


# --- bounds -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("rate", [4_001, 15_998, 64_007, 384_000, 368_037])
def test_memory_is_bounded(rate: int) -> None:
    """For the worst ratios too, and however long the stream is."""
    block = np.zeros(rate // 8, np.float32)
    with tracing(resample_module) as held:
        resampler = Resampler(rate, OUT)
        assert held() < 6_500_000
        resampler.push(block)
        after_one = held()
        for _ in range(23):
            resampler.push(block)
        after_all = held()
    assert after_one > 0 and after_all - after_one < 500_000


@settings(max_examples=500)
@given(rate=st.integers(4_000, 384_000))
@example(rate=382_184)  # off by the whole tolerance
@example(rate=368_037)  # the largest table
@example(rate=15_999)
@example(rate=31_999)
def test_ratio_is_within_its_tolerance_and_simple(rate: int) -> None:
    up, down = conversion_ratio(rate, OUT)
    assert math.gcd(up, down) == 1
    assert abs(up * rate - down * OUT) <= RATE_TOLERANCE * down * OUT
    assert down <= 5_000
    assert up <= 20_000


def test_rates_in_use_are_exact() -> None:
    for rate in (*UP, *DOWN, 16_000, 37_800, 47_250, 50_000, 176_400, 352_800):
        up, down = conversion_ratio(rate, OUT)
        assert up * rate == down * OUT


def test_ratios_at_the_bound() -> None:
    assert conversion_ratio(1_000 * MAX_RATIO, 1_000) == (1, MAX_RATIO)
    assert conversion_ratio(1_000, 1_000 * MAX_RATIO) == (MAX_RATIO, 1)
    for rates in ((1_000 * MAX_RATIO + 1, 1_000), (1_000, 1_000 * MAX_RATIO + 1)):
        with pytest.raises(ValueError, match="factor of 32"):
            Resampler(*rates)
    for rates in ((0, OUT), (OUT, 0), (-8_000, OUT)):
        with pytest.raises(ValueError, match="positive"):
            Resampler(*rates)


@pytest.mark.parametrize("rate", [OUT, 48_000])
def test_a_flushed_stream_has_ended(rate: int) -> None:
    resampler = Resampler(rate, OUT)
    resampler.flush()
    with pytest.raises(ValueError, match="flushed"):
        resampler.push(np.zeros(1, np.float32))
    with pytest.raises(ValueError, match="flushed"):
        resampler.flush()


@pytest.mark.parametrize("samples", [np.zeros(4), np.zeros((2, 2), np.float32), np.zeros(4, np.int16)])
def test_other_arrays_are_refused(samples: Float32Array) -> None:
    with pytest.raises(ValueError, match=r"float32\[n\]"):
        Resampler(48_000, OUT).push(samples)
