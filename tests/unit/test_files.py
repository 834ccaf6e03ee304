"""Audio files of every kind to int16 16 kHz mono: formats, lies in headers, limits, memory."""

from __future__ import annotations

import io
import os
import struct
import subprocess
import sys
import tracemalloc
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
import rootfs
import soundfile
from hypothesis import given, settings
from hypothesis import strategies as st
from whisperd.audio import files
from whisperd.audio.files import BLOCK_FRAMES, read_audio
from whisperd.audio.pcm import PcmConverter, PcmFormat
from whisperd.errors import AudioTooLong, BadAudio, BadFormat, WhisperdError

SAMPLE = Path(__file__).parents[1] / "data" / "sample.wav"
#: libsndfile reads and writes MP3 from 1.1 on; the target's is 1.0.31.
needs_mp3 = pytest.mark.skipif("MP3" not in soundfile.available_formats(), reason="libsndfile without MP3")

SUBTYPES = {
    "PCM_U8": 2**-7,
    "PCM_16": 2**-15,
    "PCM_24": 2**-15,
    "PCM_32": 2**-15,
    "FLOAT": 2**-15,
    "DOUBLE": 2**-15,
    "ULAW": 2**-5,
}


def tone(rate: int, seconds: float = 1.0, hz: float = 440.0) -> npt.NDArray[np.float64]:
    return 0.5 * np.sin(2 * np.pi * hz * np.arange(round(rate * seconds)) / rate)


def encoded(samples: npt.NDArray[Any], rate: int, kind: str = "WAV", subtype: str | None = None) -> bytes:
    file = io.BytesIO()
    soundfile.write(file, samples, rate, format=kind, subtype=subtype)
    return file.getvalue()


def wav(
    data: bytes, rate: int = 16_000, channels: int = 1, width: int = 2, *, says: int | None = None, tag: int = 1
) -> bytes:
    """A WAV by hand; `says` is the length that its header states."""
    length = len(data) if says is None else says
    fmt = struct.pack("<HHIIHH", tag, channels, rate, 0, width * channels, 8 * width)
    body = b"WAVEfmt " + struct.pack("<I", len(fmt)) + fmt + b"data" + struct.pack("<I", length)
    return b"RIFF" + struct.pack("<I", min(len(body) + length, 2**32 - 1)) + body + data


def assert_is_tone(pcm: npt.NDArray[np.int16], tolerance: float, seconds: float = 1.0) -> None:
    assert pcm.dtype == np.int16
    assert abs(pcm.size - 16_000 * seconds) <= 1
    expected = tone(16_000, seconds)[: pcm.size] * 32_768
    assert np.abs(pcm[: expected.size] - expected)[400:-400].max() <= tolerance * 32_768 + 2


# --- formats ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("subtype", SUBTYPES)
@pytest.mark.parametrize("rate", [16_000, 44_100])
def test_wav_of_every_width(subtype: str, rate: int) -> None:
    assert_is_tone(read_audio(encoded(tone(rate), rate, "WAV", subtype), 10), SUBTYPES[subtype])


@pytest.mark.parametrize("kind", ["WAV", "WAVEX", "RF64", "W64", "AIFF", "FLAC", "CAF", "AU"])
def test_lossless_files_are_read_bit_by_bit(kind: str, tmp_path: Path) -> None:
    pcm, rate = soundfile.read(SAMPLE, dtype="int16")
    assert rate == 16_000
    path = tmp_path / "clip"
    path.write_bytes(encoded(pcm, rate, kind, "PCM_16"))
    np.testing.assert_array_equal(read_audio(path, 10), pcm)
    np.testing.assert_array_equal(read_audio(str(path), 10), pcm)
    np.testing.assert_array_equal(read_audio(path.read_bytes(), 10), pcm)
    with path.open("rb") as stream:
        np.testing.assert_array_equal(read_audio(stream, 10), pcm)


@pytest.mark.parametrize("rate", [16_000, 44_100])
@pytest.mark.parametrize(
    ("kind", "subtype"), [("OGG", "VORBIS"), pytest.param("MP3", "MPEG_LAYER_III", marks=needs_mp3)]
)
def test_lossy_files_are_read_nearly_so(kind: str, subtype: str, rate: int) -> None:
    speech = read_audio(SAMPLE, 10)
    converter = PcmConverter(PcmFormat(16_000, 2, 1))
    assert np.array_equal(converter.push(SAMPLE.read_bytes()[44:]), speech)
    original = speech if rate == 16_000 else (tone(rate, 2.0) * 32_767).astype(np.int16)
    output = read_audio(encoded(original, rate, kind, subtype), 10)
    wanted = speech if rate == 16_000 else tone(16_000, 2.0)
    assert abs(output.size - wanted.size) <= 1
    size = min(output.size, wanted.size)
    assert np.corrcoef(output[:size], wanted[:size])[0, 1] > 0.99


@needs_mp3
def test_blocks_of_an_mp3_join_without_a_seam(monkeypatch: pytest.MonkeyPatch) -> None:
    noise = np.random.default_rng(0).normal(0, 0.1, 5 * 16_000)
    mp3 = encoded(noise, 16_000, "MP3")
    in_one = read_audio(mp3, 10)
    monkeypatch.setattr(files, "BLOCK_FRAMES", 1_000)
    np.testing.assert_array_equal(read_audio(mp3, 10), in_one)


@pytest.mark.parametrize("kind", ["WAV", "FLAC", "OGG"])
def test_blocks_join_without_a_seam(kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    stereo = np.random.default_rng(0).normal(0, 0.1, (2 * 44_100, 2))
    data = encoded(stereo, 44_100, kind)
    assert len(stereo) > BLOCK_FRAMES
    whole = read_audio(data, 10)
    monkeypatch.setattr(files, "BLOCK_FRAMES", 999)
    np.testing.assert_array_equal(read_audio(data, 10), whole)


@pytest.mark.parametrize("channels", range(1, 9))
def test_channels_are_mixed(channels: int) -> None:
    one = np.zeros((16_000, channels))
    one[:, channels // 2] = tone(16_000)
    output = read_audio(encoded(one, 16_000), 10)
    assert np.abs(output - tone(16_000) * 32_768 / channels).max() <= 2


@pytest.mark.parametrize("rate", [4_000, 8_000, 11_025, 22_050, 48_000, 96_000, 192_000, 384_000])
def test_rates_up_to_the_bounds(rate: int) -> None:
    assert_is_tone(read_audio(encoded(tone(rate), rate), 10), 2**-12)


@pytest.mark.parametrize("rate", [1, 2, 3_999, 384_001, 4_000_000])
def test_rates_beyond_the_bounds_are_refused(rate: int, tmp_path: Path) -> None:
    path = tmp_path / "odd.wav"
    path.write_bytes(wav(bytes(2_000), rate))
    with pytest.raises(BadFormat, match=rf"odd\.wav.*{rate} Hz"):
        read_audio(path, 10_000)


def test_too_many_channels_are_refused() -> None:
    with pytest.raises(BadFormat, match="the audio: 9 channels"):
        read_audio(wav(bytes(18 * 100), channels=9), 10)


def test_floats_beyond_full_scale_clip() -> None:
    loud = np.array([1.5, -1.5, 1e30, -1e30, 3e38, -3e38] * 2_000, np.float32)
    output = read_audio(encoded(loud, 16_000, "WAV", "FLOAT"), 10)
    assert output.tolist() == [32_767, -32_768] * 6_000
    # The sum of both channels is beyond what a float32 holds.
    stereo = np.full((48_000, 2), 3e38, np.float32)
    resampled = read_audio(encoded(stereo, 48_000, "WAV", "FLOAT"), 10)
    assert (resampled[400:-400] == 32_767).all()


# --- what is no audio -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "junk",
    [b"", b"\0", bytes(4_096), b"hello, world\n" * 100, b"RIFF", b"RIFF\0\0\0\0WAVE", wav(b"")[:30]]
    + [b"fLaC" + bytes(99), b"OggS" + bytes(99), b"ID3" + bytes(99), b"%PDF-1.7\n" + bytes(range(256)) * 9],
)
def test_what_is_no_audio_is_refused_by_name(junk: bytes, tmp_path: Path) -> None:
    path = tmp_path / "letter.txt"
    path.write_bytes(junk)
    with pytest.raises(BadAudio, match=r"letter\.txt cannot be decoded"):
        read_audio(path, 10)


@settings(max_examples=150, deadline=None)
@given(
    start=st.integers(0, 60),
    change=st.binary(min_size=1, max_size=12),
    kind=st.sampled_from(["WAV", "FLAC", "AIFF", "AU", "CAF"]),
    end=st.integers(0, 3_000),
)
def test_a_damaged_file_is_read_or_refused(start: int, change: bytes, kind: str, end: int) -> None:
    damaged = bytearray(encoded(tone(8_000, 0.1), 8_000, kind))
    damaged[start : start + len(change)] = change
    try:
        output = read_audio(bytes(damaged[:end]), 5)
    except WhisperdError as error:
        assert error.code in ("bad-audio", "bad-format", "audio-too-long")
    else:
        assert 0 < output.size <= 5 * 16_000 + 1


@pytest.mark.parametrize("kind", ["WAV", "RF64", "AIFF", "AU"])
def test_no_samples_are_refused(kind: str) -> None:
    with pytest.raises(BadAudio, match="the audio has no samples"):
        read_audio(encoded(np.zeros(0), 16_000, kind), 10)


def test_one_sample_is_audio() -> None:
    assert read_audio(wav(struct.pack("<h", 5)), 10).tolist() == [5]
    assert read_audio(wav(struct.pack("<h", 5), 384_000), 10).size == 1


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("subtype", ["FLOAT", "DOUBLE"])
@pytest.mark.parametrize("frame", [0, 12_000, BLOCK_FRAMES, 79_999])
def test_what_is_no_number_is_refused_with_its_place(value: float, subtype: str, frame: int) -> None:
    samples = np.zeros((80_000, 2))
    samples[frame, 1] = value
    place = rf"sample {frame} \(at {frame / 8_000:.3f} s\)"
    with pytest.raises(BadAudio, match=place):
        read_audio(encoded(samples, 8_000, "WAV", subtype), 20)


def test_a_double_that_overflows_is_no_number() -> None:
    with pytest.raises(BadAudio, match=r"sample 1 \(at 0\.000 s\)"):
        read_audio(encoded(np.array([0.0, 1e300]), 8_000, "WAV", "DOUBLE"), 10)


def test_a_missing_file_and_a_folder_are_the_systems_errors(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        read_audio(tmp_path / "none.wav", 10)
    with pytest.raises(IsADirectoryError):
        read_audio(tmp_path, 10)


# --- headers that lie -------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["WAV", "WAVEX", "RF64"])
@pytest.mark.parametrize("missing", [1, 2, 1_000, 31_999])
def test_a_wav_that_was_cut_short_is_refused(kind: str, missing: int, tmp_path: Path) -> None:
    path = tmp_path / "half.wav"
    whole = encoded(tone(16_000), 16_000, kind)
    path.write_bytes(whole[:-missing])
    with pytest.raises(BadAudio, match=rf"half\.wav is cut short: {32_000 - missing} of 32000 bytes"):
        read_audio(path, 10)


def test_a_big_endian_wav_that_was_cut_short_is_refused() -> None:
    file = io.BytesIO()
    soundfile.write(file, tone(16_000), 16_000, format="WAV", endian="BIG")
    assert file.getvalue()[:4] == b"RIFX"
    assert_is_tone(read_audio(file.getvalue(), 10), 2**-15)
    with pytest.raises(BadAudio, match="cut short: 31990 of 32000 bytes"):
        read_audio(file.getvalue()[:-10], 10)


def test_chunks_around_the_samples_of_a_wav_are_skipped() -> None:
    pcm = np.arange(-500, 500, dtype="<i2")
    plain = wav(pcm.tobytes())
    odd = b"LIST" + struct.pack("<I", 5) + b"hello" + b"\0"
    body = plain[8:36] + odd + plain[36:] + odd
    data = b"RIFF" + struct.pack("<I", len(body)) + body
    np.testing.assert_array_equal(read_audio(data, 10), pcm)
    with pytest.raises(BadAudio, match="cut short: 1998 of 2000 bytes"):
        read_audio(data[: -len(odd) - 2], 10)


@pytest.mark.parametrize("says", [0xFFFF_FFFF, 0xFFFF_FFFF - 36, 0x7FFF_FFFF, 0x7FFF_FFFF - 36, 0x7FFF_F000])
def test_a_wav_recorded_into_a_pipe_is_as_long_as_it_is(says: int) -> None:
    pcm = np.arange(-500, 500, dtype="<i2")
    np.testing.assert_array_equal(read_audio(wav(pcm.tobytes(), says=says), 10), pcm)


def test_a_flac_that_was_cut_short_is_refused() -> None:
    noise = np.random.default_rng(0).normal(0, 0.1, 80_000)
    with pytest.raises(BadAudio, match="the audio (cannot be decoded|is cut short)"):
        read_audio(encoded(noise, 16_000, "FLAC")[:-30_000], 10)


def test_a_flac_from_a_pipe_is_as_long_as_it_is() -> None:
    """It has no number of samples in its header: those are the last 36 bits of STREAMINFO's bytes 10 to 17."""
    data = bytearray(encoded(tone(16_000), 16_000, "FLAC"))
    (fields,) = struct.unpack_from(">Q", data, 18)
    assert fields % 2**36 == 16_000
    struct.pack_into(">Q", data, 18, fields - 16_000)
    assert_is_tone(read_audio(bytes(data), 10), 2**-15)
    with pytest.raises(AudioTooLong, match=r"longer than 0\.9 s"):
        read_audio(bytes(data), 0.9)


# --- limits -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["WAV", "FLAC", "OGG", pytest.param("MP3", marks=needs_mp3)])
def test_length_at_the_limit(kind: str) -> None:
    rate = 16_000
    assert read_audio(encoded(tone(rate, 1.5), rate, kind), 1.5).size == 1.5 * rate
    longer = encoded(np.concatenate((tone(rate, 1.5), [0.0])), rate, kind)
    with pytest.raises(AudioTooLong, match=r"1\.5 s"):
        read_audio(longer, 1.5)


def test_ten_hours_are_refused_before_they_are_decoded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "long.wav"
    length = 10 * 3_600 * 32_000
    with path.open("wb") as file:
        file.write(wav(b"", says=length))
        file.truncate(44 + length)
    assert path.stat().st_blocks < 100  # a sparse file: it takes no room
    monkeypatch.setattr(soundfile.SoundFile, "read", None)
    with pytest.raises(AudioTooLong, match=r"long\.wav is 36000 s long; at most 600 s"):
        read_audio(path, 600)


def test_ten_hours_that_a_header_promises_are_refused() -> None:
    with pytest.raises(BadAudio, match="cut short: 100 of 1152000000 bytes"):
        read_audio(wav(bytes(100), says=10 * 3_600 * 32_000), 600)


def test_memory_does_not_grow_with_rate_and_channels(tmp_path: Path) -> None:
    """6 s of 384 kHz with 8 channels of 32 bits are 74 MB, in float32 too; what comes out is 0.2 MB."""
    path = tmp_path / "wide.wav"
    length = 6 * 384_000 * 32
    with path.open("wb") as file:
        file.write(wav(b"", 384_000, 8, 4, says=length))
        file.truncate(44 + length)
    tracemalloc.start()
    try:
        assert read_audio(path, 600).size == 6 * 16_000
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < 20_000_000


def test_a_pipe_is_read_to_its_limit(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    data = SAMPLE.read_bytes()
    pcm = read_audio(data, 10)
    monkeypatch.setattr(files, "MAX_BYTES", len(data))

    class Dribble(io.RawIOBase):
        """A pipe gives what it has, which is less than was asked for."""

        def __init__(self, content: bytes) -> None:
            self._content = io.BytesIO(content)

        def read(self, size: int = -1) -> bytes:
            return self._content.read(min(size, 1_000))

    np.testing.assert_array_equal(read_audio(data, 10), pcm)
    np.testing.assert_array_equal(read_audio(Dribble(data), 10), pcm)  # type: ignore[arg-type]
    for source in (data + b"\0", Dribble(data + b"\0")):
        with pytest.raises(AudioTooLong, match="the audio has more than"):
            read_audio(source, 10)  # type: ignore[arg-type]


def test_a_named_pipe_is_read(tmp_path: Path) -> None:
    path = tmp_path / "pipe"
    os.mkfifo(path)
    writer = subprocess.Popen(["cp", str(SAMPLE), str(path)])
    try:
        np.testing.assert_array_equal(read_audio(path, 10), read_audio(SAMPLE, 10))
    finally:
        writer.wait(10)


def test_no_descriptor_is_left_open(tmp_path: Path) -> None:
    bad = tmp_path / "bad.wav"
    bad.write_bytes(wav(bytes(100), says=200))
    before = os.listdir("/proc/self/fd")
    for source in (SAMPLE, SAMPLE.read_bytes(), io.BytesIO(SAMPLE.read_bytes())):
        read_audio(source, 10)
    for broken in (bad, bad.read_bytes(), b"junk", wav(b"")):
        with pytest.raises(BadAudio):
            read_audio(broken, 10)
    assert len(os.listdir("/proc/self/fd")) == len(before)


W_XOR_X = """
import ctypes, io, sys
import soundfile
from whisperd.audio.files import read_audio

PR_SET_MDWE, PR_MDWE_REFUSE_EXEC_GAIN = 65, 1
if ctypes.CDLL(None).prctl(PR_SET_MDWE, PR_MDWE_REFUSE_EXEC_GAIN, 0, 0, 0):
    sys.exit(77)
data = open(sys.argv[1], "rb").read()
try:
    soundfile.read(io.BytesIO(data))
except MemoryError:
    print("denied")
print(len(read_audio(data, 10)), len(read_audio(sys.argv[1], 10)), len(read_audio(io.BytesIO(data), 10)))
"""


def test_bytes_are_decoded_where_write_and_execute_memory_is_denied() -> None:
    """As systemd's MemoryDenyWriteExecute= does, through the same system call."""
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(p for p in sys.path if p)}
    command = [sys.executable, "-c", W_XOR_X, str(SAMPLE)]
    result = subprocess.run(command, capture_output=True, text=True, timeout=60, env=environment, check=False)
    if result.returncode == 77:
        rootfs.skip("tests/unit, memory denied", "the kernel cannot deny it to a process: Linux 6.3 can")
    size = soundfile.info(SAMPLE).frames
    assert result.stdout.split() == ["denied", str(size), str(size), str(size)], result.stderr
