"""Audio files to samples, through libsndfile: WAV, FLAC, OGG, MP3 and what else it reads.

Files are read in blocks, so that memory grows with the result and not with the file's rate and channels.
"""

from __future__ import annotations

import io
import os
import stat
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import Any, BinaryIO, Final, Literal, TypeAlias

import numpy as np

from ..errors import AudioTooLong, BadAudio, BadFormat
from .pcm import SAMPLE_RATE, Int16Samples, PcmFormat, mix, to_int16
from .resample import Float32Array, Resampler

Source: TypeAlias = "str | os.PathLike[str] | bytes | BinaryIO"
"""A path, a file's content, or a stream that gives it."""

BLOCK_FRAMES: Final = 65_536
"""Frames read at once: 0.2 s at 384 kHz, 4 s at 16 kHz; with 8 channels 2 MB of float32."""

MAX_BYTES: Final = 256 << 20
"""Most bytes of audio that come from memory or a pipe: 600 s of 48 kHz stereo in 32-bit floats."""

_LOUDEST = 8.0  # times full scale, 18 dB: more is not a signal, and would be clipped anyway
_UNKNOWN_LENGTH = 0x7FFF_0000  # bytes; shorter by at most a header than the largest signed 32-bit number
_MAX_CHUNKS = 1024  # of a WAV, looked at before its samples


def read_audio(source: Source, max_seconds: float) -> Int16Samples:
    """Read a whole file as int16[n] at 16 kHz mono.

    Args:
        source: a path, a file's content, or a stream that gives it (such as standard input).
        max_seconds: longest audio that is accepted.

    Raises:
        BadAudio: no audio file, cut short, without samples, or with samples that are not numbers.
        BadFormat: a rate or channel count that cannot be converted.
        AudioTooLong: longer than `max_seconds`, which is known before it is decoded where the header tells (in
            all but MP3, whose headers guess); or more than `MAX_BYTES` from memory or a pipe.
        OSError: the file cannot be opened or read.
    """
    with open_audio(source, max_seconds) as audio:
        pcm = bytearray()  # one growing buffer: joining a list would take the result's memory twice
        for block in audio.blocks():
            pcm += block.tobytes()
        return np.frombuffer(pcm, np.int16)


@contextmanager
def open_audio(source: Source, max_seconds: float | None = None) -> Iterator[AudioFile]:
    """The same file block by block, as long as the block of this context manager lasts.

    Args:
        max_seconds: None for any length.

    Raises:
        As `read_audio`; what cannot be known beforehand is raised by `AudioFile.blocks`.
    """
    import soundfile

    with _opened(source) as (descriptor, name, size), ExitStack() as stack:
        try:
            file = stack.enter_context(soundfile.SoundFile(descriptor, closefd=False))
        except soundfile.LibsndfileError as error:
            raise BadAudio(f"{name} cannot be decoded: {error.error_string}") from None
        # After each block soundfile seeks to where the file is already, if it thinks that it can. In an
        # MP3 that makes the decoder start anew and spoils the samples that follow.
        file.seekable = lambda: False
        yield AudioFile(file, name, size, max_seconds)


class AudioFile:
    """A file that is being decoded.

    Args:
        file: an open soundfile.SoundFile, whose bytes are `size`.
        name: of it, in messages.
        max_seconds: longest audio that is accepted; None for any length.

    Attributes:
        seconds: how long it says it is; None where only its end tells.

    Raises:
        BadAudio, BadFormat, AudioTooLong: as `read_audio`.
    """

    def __init__(self, file: Any, name: str, size: int, max_seconds: float | None) -> None:
        self._file = file
        self._rate: int = file.samplerate
        self._max_seconds = max_seconds
        self.name = name
        try:
            PcmFormat(self._rate, 4, file.channels)
        except BadFormat as error:
            raise BadFormat(f"{name}: {error.text}") from None
        self._promised = _promised_frames(file)
        self.seconds = None if self._promised is None else self._promised / self._rate
        if max_seconds is not None and self.seconds is not None and self.seconds > max_seconds:
            raise AudioTooLong(f"{name} is {self.seconds:.0f} s long; at most {max_seconds:g} s are accepted")
        _check_wav_is_whole(file.name, name, size)

    def blocks(self) -> Iterator[Int16Samples]:
        """Its samples as int16[n] at 16 kHz mono, some seconds at a time; once.

        Raises:
            BadAudio: it cannot be decoded further, is cut short, has no samples, or samples that are not numbers.
            AudioTooLong: it is longer than it said.
        """
        resampler = Resampler(self._rate, SAMPLE_RATE)
        done = 0  # frames
        while len(frames := self._next(done)):
            done += len(frames)
            if self._max_seconds is not None and done > self._max_seconds * self._rate:
                most = f"{self._max_seconds:g} s, which is the most that is accepted"
                raise AudioTooLong(f"{self.name} is longer than {most}")
            # Floats may be beyond full scale; those near the end of their range would overflow in the resampler.
            yield to_int16(resampler.push(mix(np.clip(frames, -_LOUDEST, _LOUDEST))))
        if self._promised is not None and done < self._promised:
            at = f"it ends at {done / self._rate:.3f} s"
            raise BadAudio(f"{self.name} is cut short: {done} of {self._promised} frames are there, {at}")
        if not done:
            raise BadAudio(f"{self.name} has no samples")
        yield to_int16(resampler.flush())

    def _next(self, done: int) -> Float32Array:
        """float32[n, channels], finite; n = 0 at the end."""
        import soundfile

        try:
            frames: Float32Array = self._file.read(BLOCK_FRAMES, dtype="float32", always_2d=True)
        except soundfile.LibsndfileError as error:
            at = f"from {done / self._rate:.3f} s on"
            raise BadAudio(f"{self.name} cannot be decoded {at}: {error.error_string}") from None
        _check_numbers(frames, self.name, done, self._rate)
        return frames


def _promised_frames(file: Any) -> int | None:
    """How many frames the header says there are; None where it does not know."""
    # The length of an MP3 without a table of contents is a guess from its first frame's bit rate, and a FLAC
    # from a pipe has none, for which libsndfile says 2^63 - 1.
    if file.format == "MP3" or file.frames >= 2**62:
        return None
    frames: int = file.frames
    return frames


def _check_numbers(block: Float32Array, name: str, first: int, rate: int) -> None:
    """Refuse float32[n, channels] with a NaN or an infinity, naming the place; `first` is its first frame."""
    finite = np.isfinite(block).all(axis=1)
    if not finite.all():
        frame = first + int(np.argmin(finite))
        raise BadAudio(f"{name}: sample {frame} (at {frame / rate:.3f} s) is not a finite number")


def _check_wav_is_whole(descriptor: int, name: str, size: int) -> None:
    """Refuse a WAV that was cut in transfer: libsndfile takes what is there for all of it, without a word."""
    data = _wav_data_chunk(descriptor)
    if data is None:
        return
    start, length = data
    # Who records into a pipe cannot know the length. Such programs write the largest number, signed or
    # unsigned, or a little less to leave room for the header or to stay a multiple of the frame.
    if length < _UNKNOWN_LENGTH and start + length > size:
        raise BadAudio(f"{name} is cut short: {size - start} of {length} bytes of samples are there")


def _wav_data_chunk(descriptor: int) -> tuple[int, int] | None:
    """(offset, length) of a WAV's samples, in bytes, as its header states them; None for any other file.

    RIFF: Microsoft and IBM, "Multimedia Programming Interface and Data Specifications 1.0" (1991); RIFX is the
    same in big-endian; RF64: EBU Tech 3306, where a ds64 chunk comes first and has the length in 64 bits.
    """
    head = os.pread(descriptor, 12, 0)
    if head[:4] not in (b"RIFF", b"RIFX", b"RF64") or head[8:] != b"WAVE":
        return None
    order: Literal["big", "little"] = "big" if head[:4] == b"RIFX" else "little"
    long_length = None
    offset = 12
    for _ in range(_MAX_CHUNKS):
        head = os.pread(descriptor, 24, offset)
        if len(head) < 8:
            return None
        kind, length = head[:4], int.from_bytes(head[4:8], order)
        if kind == b"data":
            return offset + 8, length if long_length is None else long_length
        if kind == b"ds64" and len(head) == 24:
            long_length = int.from_bytes(head[16:24], "little")
        offset += 8 + length + length % 2
    return None


@contextmanager
def _opened(source: Source) -> Iterator[tuple[int, str, int]]:
    """(descriptor, name for messages, size) of a seekable file that holds the source.

    What is no file, such as bytes or a pipe, goes through a memfd: soundfile reads Python's objects through
    callbacks made at run time, which a process that is denied writable and executable memory cannot make.
    """
    with ExitStack() as stack:
        if isinstance(source, (str, os.PathLike)):
            name = os.fspath(source)
            stream: BinaryIO = stack.enter_context(open(source, "rb"))
            status = os.fstat(stream.fileno())
            if stat.S_ISREG(status.st_mode):
                yield stream.fileno(), name, status.st_size
                return
        elif isinstance(source, bytes):
            name, stream = "the audio", io.BytesIO(source)
        else:
            name, stream = "standard input" if getattr(source, "name", "") == "<stdin>" else "the audio", source
        memory = stack.enter_context(os.fdopen(os.memfd_create("audio"), "w+b"))
        while block := stream.read(1 << 20):
            if memory.tell() + len(block) > MAX_BYTES:
                raise AudioTooLong(f"{name} has more than {MAX_BYTES >> 20} MiB, the most of what is no file")
            memory.write(block)
        size = memory.tell()
        memory.seek(0)
        yield memory.fileno(), name, size
