"""Audio files to samples, through libsndfile: WAV, FLAC, OGG, MP3 and what else it reads.

Files are read in blocks, so that memory grows with the result and not with the file's rate and channels.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, BinaryIO, Final

import numpy as np

from ..errors import AudioTooLong, BadAudio, BadFormat
from .pcm import MAX_CHANNELS, MAX_RATE, MIN_RATE, SAMPLE_RATE, Int16Samples, mix, to_int16
from .resample import Resampler

#: Frames read at once: 0.2 s at 384 kHz, 4 s at 16 kHz; with 8 channels 2 MB of float32.
BLOCK_FRAMES: Final = 65_536
#: Most bytes of audio that come from memory or a pipe: 600 s of 48 kHz stereo in 32-bit floats.
MAX_BYTES: Final = 256 << 20


def read_audio(source: str | os.PathLike[str] | bytes | BinaryIO, max_seconds: float) -> Int16Samples:
    """Read a whole file as int16[n] at 16 kHz mono.

    Args:
        source: a path, a file's content, or a stream that gives it (such as standard input).
        max_seconds: longest audio that is accepted.

    Raises:
        BadAudio: no audio file, cut short, without samples, or with samples that are not numbers.
        BadFormat: a rate or channel count that cannot be converted.
        AudioTooLong: longer than `max_seconds`; known before it is decoded, where the header tells.
        OSError: the file cannot be opened.
    """
    import soundfile

    with _opened(source) as (descriptor, name, size):
        try:
            with soundfile.SoundFile(descriptor, closefd=False) as file:
                return _read(file, name, size, max_seconds)
        except soundfile.LibsndfileError as error:
            raise BadAudio(f"{name} is no audio file that can be read: {error.error_string}") from None


def _read(file: Any, name: str, size: int, max_seconds: float) -> Int16Samples:
    rate, channels, promised = file.samplerate, file.channels, file.frames
    if not MIN_RATE <= rate <= MAX_RATE:
        raise BadFormat(f"{name}: a rate of {rate} Hz is not within {MIN_RATE} to {MAX_RATE}")
    if not 1 <= channels <= MAX_CHANNELS:
        raise BadFormat(f"{name}: {channels} channels are not within 1 to {MAX_CHANNELS}")
    limit = int(max_seconds * rate)
    if promised > limit:
        raise AudioTooLong(f"{name} is {promised / rate:.0f} s long; at most {max_seconds:g} s are accepted")
    _check_size(file, name, size)
    resampler = Resampler(rate, SAMPLE_RATE)
    parts, done = [], 0
    while len(block := file.read(BLOCK_FRAMES, dtype="float32", always_2d=True)):
        if not np.isfinite(block).all():
            frame = done + int(np.argwhere(~np.isfinite(block))[0][0])
            raise BadAudio(f"{name}: sample {frame} (at {frame / rate:.3f} s) is not a number")
        done += len(block)
        if done > limit:
            raise AudioTooLong(f"{name} is longer than {max_seconds:g} s, which is the most that is accepted")
        parts.append(to_int16(resampler.push(mix(block))))
    if not done:
        raise BadAudio(f"{name} has no samples")
    if done < promised and file.format not in _ESTIMATES:
        raise BadAudio(f"{name} is cut short: {done} of {promised} frames are there")
    parts.append(to_int16(resampler.flush()))
    return np.concatenate(parts)


#: Formats whose headers only estimate how many frames there are.
_ESTIMATES: Final = ("MP3", "OGG")


def _check_size(file: Any, name: str, size: int) -> None:
    """A WAV that was cut in transfer: libsndfile takes what is there for all of it, without a word."""
    if file.format not in ("WAV", "WAVEX"):
        return
    promised = _wav_data_bytes(file, name)
    # Programs that write to a pipe cannot know the length and put 0 or the largest number there.
    if promised is not None and promised[1] not in (0, 0xFFFFFFFF, 0x7FFFFFFF) and sum(promised) > size:
        start, length = promised
        raise BadAudio(f"{name} is cut short: {size - start} of {length} bytes of samples are there")


def _wav_data_bytes(file: Any, name: str) -> tuple[int, int] | None:
    """(offset, length) of the data chunk as the header states it; None where there is none."""
    descriptor: int = file.name
    offset = 12
    for _ in range(64):
        head = os.pread(descriptor, 8, offset)
        if len(head) < 8:
            return None
        length = int.from_bytes(head[4:], "little")
        if head[:4] == b"data":
            return offset + 8, length
        offset += 8 + length + length % 2
    return None


@contextmanager
def _opened(source: str | os.PathLike[str] | bytes | BinaryIO) -> Iterator[tuple[int, str, int]]:
    """(descriptor, name for messages, size) of a seekable file that holds the source.

    Bytes go through a memfd: soundfile reads objects through callbacks made at run time, which a process that
    may not have writable and executable memory cannot make.
    """
    if isinstance(source, (str, os.PathLike)):
        name = os.fspath(source)
        descriptor = os.open(source, os.O_RDONLY | os.O_CLOEXEC)
    else:
        name = "standard input" if getattr(source, "name", "") == "<stdin>" else "the audio"
        descriptor = _in_memory(source, name)
    try:
        if stat.S_ISREG((status := os.fstat(descriptor)).st_mode):
            yield descriptor, name, status.st_size
        elif stat.S_ISDIR(status.st_mode):
            raise BadAudio(f"{name} is a folder")
        else:
            with os.fdopen(os.dup(descriptor), "rb") as stream, _opened(stream) as (inner, _, size):
                yield inner, name, size
    finally:
        os.close(descriptor)


def _in_memory(source: bytes | BinaryIO, name: str) -> int:
    """A memfd with the source's bytes."""
    descriptor = os.memfd_create("audio", os.MFD_CLOEXEC)
    try:
        with os.fdopen(os.dup(descriptor), "wb") as file:
            if isinstance(source, bytes):
                file.write(source)
            else:
                while block := source.read(1 << 20):
                    if file.tell() + len(block) > MAX_BYTES:
                        raise AudioTooLong(f"{name} has more than {MAX_BYTES >> 20} MiB")
                    file.write(block)
        os.lseek(descriptor, 0, os.SEEK_SET)
    except BaseException:
        os.close(descriptor)
        raise
    return descriptor
