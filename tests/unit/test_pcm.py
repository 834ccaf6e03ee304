"""Raw PCM of every format to int16 16 kHz mono: values, splits, mixing, and what is refused."""

from __future__ import annotations

import struct
from fractions import Fraction

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from traced import tracing
from whisperd.audio import pcm, resample
from whisperd.audio.pcm import MAX_CHANNELS, MAX_RATE, MIN_RATE, PcmConverter, PcmFormat, mix, to_int16
from whisperd.errors import BadFormat, BadPayload

Int16Samples = npt.NDArray[np.int16]

formats = st.builds(
    PcmFormat,
    rate=st.sampled_from([4_000, 8_000, 11_025, 16_000, 16_001, 44_100, 48_000, 384_000]),
    width=st.integers(1, 4),
    channels=st.integers(1, MAX_CHANNELS),
)


def convert(fmt: PcmFormat, *pieces: bytes) -> Int16Samples:
    """The whole stream, pushed in these pieces."""
    converter = PcmConverter(fmt)
    return np.concatenate((*(converter.push(piece) for piece in pieces), converter.flush()))


def encode(sample: int, width: int) -> bytes:
    """One sample as it is on the wire; only 8 bits are unsigned."""
    return bytes([sample + 128]) if width == 1 else sample.to_bytes(width, "little", signed=True)


def at_16_bits(sample: Fraction) -> int:
    """A sample in 16-bit steps to the nearest int16, ties to even, clipped: in exact arithmetic."""
    return max(-32768, min(32767, round(sample)))


# --- values -----------------------------------------------------------------------------------------------


def test_16_khz_mono_16_bits_pass_through_bit_by_bit() -> None:
    every = np.arange(-32768, 32768).astype("<i2")
    output = convert(PcmFormat(16_000, 2, 1), every.tobytes())
    assert output.dtype == np.int16
    np.testing.assert_array_equal(output, every)


@pytest.mark.parametrize("width", [1, 2, 3, 4])
def test_extremes_and_middle_of_every_width(width: int) -> None:
    half = 1 << (8 * width - 1)
    samples = (-half, -half // 2, -1, 0, 1, half // 2, half - 1)
    output = convert(PcmFormat(16_000, width, 1), b"".join(encode(s, width) for s in samples))
    assert output.tolist() == [at_16_bits(Fraction(s * 32768, half)) for s in samples]


def test_8_bits_are_unsigned() -> None:
    assert convert(PcmFormat(16_000, 1, 1), bytes([0, 64, 127, 128, 129, 255])).tolist() == [
        -32768, -16384, -256, 0, 256, 32512,
    ]  # fmt: skip


def test_24_bits_keep_their_sign() -> None:
    data = bytes.fromhex("0000ff 00ff7f ffffff 000080 560000 00fffe")
    assert convert(PcmFormat(16_000, 3, 1), data).tolist() == [-256, 32767, 0, -32768, 0, -257]


@given(st.data(), st.integers(1, 3), st.integers(1, MAX_CHANNELS))
def test_every_frame_is_the_mean_of_its_channels(data: st.DataObject, width: int, channels: int) -> None:
    half = 1 << (8 * width - 1)
    frame = st.lists(st.integers(-half, half - 1), min_size=channels, max_size=channels)
    frames = data.draw(st.lists(frame, max_size=20))
    raw = b"".join(encode(s, width) for f in frames for s in f)
    output = convert(PcmFormat(16_000, width, channels), raw)
    exact = [Fraction(sum(f) * 32768, half * channels) for f in frames]
    # Half a step is rounding; float32 may put a value that is nearly a tie on either side.
    for got, wanted in zip(output.tolist(), exact, strict=True):
        assert abs(got - max(-32768, min(32767, wanted))) <= Fraction(51, 100)


def test_5_1_is_mixed_and_cannot_clip() -> None:
    loud = struct.pack("<6h", *[32767] * 6)
    centre = struct.pack("<6h", 0, 0, 12_000, 0, 0, 0)
    assert convert(PcmFormat(16_000, 2, 6), loud + centre).tolist() == [32767, 2000]


def test_opposite_channels_cancel() -> None:
    assert convert(PcmFormat(16_000, 2, 2), struct.pack("<4h", 9, -9, -32768, 32767)).tolist() == [0, 0]


def test_floats_are_rounded_and_clipped() -> None:
    floats = np.array([1.0, -1.0, 7.5, -7.5, 0.4 / 32768, 0.6 / 32768, -0.6 / 32768], np.float32)
    assert to_int16(floats).tolist() == [32767, -32768, 32767, -32768, 0, 1, -1]


def test_a_full_scale_square_wave_does_not_wrap_around() -> None:
    """Filters overshoot at edges: that must clip, not change its sign."""
    square = np.tile(np.repeat(np.array([32767, -32768], "<i2"), 480), 20)
    output = convert(PcmFormat(48_000, 2, 1), square.tobytes())
    assert output.max() == 32767
    assert output.min() == -32768
    assert np.abs(np.diff(output.astype(int))).max() < 50_000
    signs = np.sign(output.reshape(-1, 160)[:, 40:120].astype(int))
    np.testing.assert_array_equal(signs, np.tile([[1], [-1]], (20, 80)))


@pytest.mark.parametrize("channels", range(1, MAX_CHANNELS + 1))
def test_mix_does_not_depend_on_how_many_frames_come(channels: int) -> None:
    frames = np.random.default_rng(channels).uniform(-1, 1, (257, channels)).astype(np.float32)
    one_by_one = np.concatenate([mix(frames[i : i + 1]) for i in range(len(frames))])
    np.testing.assert_array_equal(mix(frames), one_by_one)


def test_mix_leaves_its_input_alone() -> None:
    frames = np.ones((3, 2), np.float32)
    mix(frames)
    np.testing.assert_array_equal(frames, 1)


@pytest.mark.parametrize("width", [1, 2, 3, 4])
@pytest.mark.parametrize("rate", [8_000, 44_100, 48_000])
def test_a_tone_of_every_width_and_rate_stays_a_tone(rate: int, width: int) -> None:
    half = 1 << (8 * width - 1)
    wave = 0.5 * np.sin(2 * np.pi * 440 * np.arange(rate) / rate)
    data = b"".join(encode(int(s), width) for s in np.rint(wave * (half - 1)))
    output = convert(PcmFormat(rate, width, 1), data)
    expected = 16_384 * np.sin(2 * np.pi * 440 * np.arange(output.size) / 16_000)
    step = 256 if width == 1 else 3
    assert np.abs(output - expected)[500:-500].max() < step


# --- streaming --------------------------------------------------------------------------------------------


@settings(max_examples=100, deadline=None)
@given(fmt=formats, data=st.binary(max_size=5_000), cuts=st.lists(st.integers(0, 5_000), max_size=10))
@example(fmt=PcmFormat(16_000, 2, 1), data=bytes(range(10)), cuts=list(range(10)))
@example(fmt=PcmFormat(48_000, 4, 8), data=bytes(range(256)) * 2, cuts=list(range(512)))
def test_any_split_of_the_bytes_gives_the_same_samples(fmt: PcmFormat, data: bytes, cuts: list[int]) -> None:
    data = data[: len(data) - len(data) % fmt.frame_bytes]
    edges = [0, *sorted(min(cut, len(data)) for cut in cuts), len(data)]
    pieces = [data[a:b] for a, b in zip(edges, edges[1:], strict=False)]
    np.testing.assert_array_equal(convert(fmt, *pieces), convert(fmt, data))


@settings(max_examples=60, deadline=None)
@given(fmt=formats, frames=st.integers(0, 500))
def test_length_follows_the_rate(fmt: PcmFormat, frames: int) -> None:
    output = convert(fmt, bytes(frames * fmt.frame_bytes))
    assert abs(output.size - frames * 16_000 / fmt.rate) <= 1


@pytest.mark.parametrize("kind", [bytes, bytearray, memoryview])
def test_anything_that_is_bytes_is_taken(kind: type) -> None:
    data = struct.pack("<4h", 1, 2, 3, 4)
    converter = PcmConverter(PcmFormat(16_000, 2, 1))
    parts = [converter.push(kind(piece)) for piece in (data[:3], data[3:])]
    assert np.concatenate(parts).tolist() == [1, 2, 3, 4]


def test_output_is_not_a_view_of_the_input() -> None:
    """The buffer of a socket is used again."""
    buffer = bytearray(struct.pack("<2h", 7, 8))
    output = PcmConverter(PcmFormat(16_000, 2, 1)).push(buffer)
    buffer[:] = bytes(4)
    assert output.tolist() == [7, 8]


@pytest.mark.parametrize("fmt", [PcmFormat(16_000, 2, 1), PcmFormat(44_100, 3, 2)])
def test_no_samples_are_no_samples(fmt: PcmFormat) -> None:
    assert convert(fmt).size == 0
    assert convert(fmt, b"", b"").size == 0


@pytest.mark.parametrize("rest", [1, 2, 3, 4, 5])
def test_an_incomplete_frame_at_the_end_is_refused(rest: int) -> None:
    converter = PcmConverter(PcmFormat(16_000, 3, 2))
    converter.push(bytes(12 + rest))
    with pytest.raises(BadPayload, match=f"ends with {rest} bytes of a frame of 6"):
        converter.flush()


@pytest.mark.parametrize("rate", [16_000, 48_000])
def test_a_flushed_stream_has_ended(rate: int) -> None:
    converter = PcmConverter(PcmFormat(rate, 2, 1))
    converter.flush()
    with pytest.raises(ValueError, match="flushed"):
        converter.push(b"\0\0")


def test_a_long_stream_holds_no_memory() -> None:
    converter = PcmConverter(PcmFormat(44_100, 2, 2))
    payload = bytes(65_535)  # never a whole number of frames
    converter.push(payload)
    with tracing(pcm, resample) as held:
        for _ in range(200):
            converter.push(payload)
        assert held() < 100_000


# --- formats ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("rate", "width", "channels"),
    [(MIN_RATE, 1, 1), (MAX_RATE, 4, MAX_CHANNELS), (16_000, 2, 1), (44_100, 3, 6)],
)
def test_formats_up_to_the_bounds_are_taken(rate: int, width: int, channels: int) -> None:
    fmt = PcmFormat(rate, width, channels)
    assert fmt.frame_bytes == width * channels
    assert convert(fmt, bytes(fmt.frame_bytes * 100)).any() == (width == 1)


@pytest.mark.parametrize(
    ("rate", "width", "channels", "named"),
    [
        (MIN_RATE - 1, 2, 1, "3999 Hz"),
        (MAX_RATE + 1, 2, 1, "384001 Hz"),
        (1, 2, 1, "1 Hz"),
        (0, 2, 1, "0 Hz"),
        (-16_000, 2, 1, "-16000 Hz"),
        (2**63, 2, 1, "9223372036854775808 Hz"),
        (16_000, 0, 1, "width of 0"),
        (16_000, 5, 1, "width of 5"),
        (16_000, 16, 1, "width of 16"),
        (16_000, 2, 0, "0 channels"),
        (16_000, 2, MAX_CHANNELS + 1, "9 channels"),
        (16_000, 2, -1, "-1 channels"),
    ],
)
def test_formats_beyond_the_bounds_are_refused_by_name(rate: int, width: int, channels: int, named: str) -> None:
    with pytest.raises(BadFormat, match=named):
        PcmFormat(rate, width, channels)
