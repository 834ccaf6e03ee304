"""Sample formats: raw PCM of any rate, width and channel count to the one that speech recognition wants."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from ..errors import BadFormat, BadPayload
from .resample import Resampler

Int16Samples = npt.NDArray[np.int16]
Float32Array = npt.NDArray[np.float32]

SAMPLE_RATE: Final = 16_000
MIN_RATE, MAX_RATE = 4_000, 384_000
MAX_CHANNELS: Final = 8
WIDTHS: Final = (1, 2, 3, 4)

_FULL_SCALE = 32768.0


@dataclass(frozen=True)
class PcmFormat:
    """How raw samples are to be read.

    Attributes:
        rate: frames per second, 4000 to 384000.
        width: bytes of a sample: 1 is unsigned, 2 to 4 are signed and little-endian, as in WAV.
        channels: samples of a frame, interleaved, 1 to 8; they are mixed to one with equal weights.

    Raises:
        BadFormat: naming the field that is out of range.
    """

    rate: int
    width: int
    channels: int

    def __post_init__(self) -> None:
        if not MIN_RATE <= self.rate <= MAX_RATE:
            raise BadFormat(f"a rate of {self.rate} Hz is not within {MIN_RATE} to {MAX_RATE}")
        if self.width not in WIDTHS:
            raise BadFormat(f"a width of {self.width} bytes is none of {', '.join(map(str, WIDTHS))}")
        if not 1 <= self.channels <= MAX_CHANNELS:
            raise BadFormat(f"{self.channels} channels are not within 1 to {MAX_CHANNELS}")

    @property
    def frame_bytes(self) -> int:
        """Bytes of one frame, all channels."""
        return self.width * self.channels


class PcmConverter:
    """Converts one stream of raw PCM to int16 at 16 kHz mono. Any split of the bytes gives the same samples."""

    def __init__(self, fmt: PcmFormat) -> None:
        self._format = fmt
        self._exact = fmt == PcmFormat(SAMPLE_RATE, 2, 1)
        self._resampler = Resampler(fmt.rate, SAMPLE_RATE)
        self._rest = b""

    def push(self, data: bytes | bytearray | memoryview) -> Int16Samples:
        """Take bytes, which may end within a frame; give the int16[m] that are certain by now."""
        joined = self._rest + bytes(data) if self._rest else bytes(data)
        whole = len(joined) - len(joined) % self._format.frame_bytes
        self._rest = joined[whole:]
        if self._exact:
            return np.frombuffer(joined, "<i2", whole // 2).astype(np.int16, copy=False)
        frames = _samples(joined[:whole], self._format.width).reshape(-1, self._format.channels)
        return to_int16(self._resampler.push(mix(frames)))

    def flush(self) -> Int16Samples:
        """Give the rest of the stream and end it.

        Raises:
            BadPayload: the stream ended within a frame.
        """
        if self._rest:
            size = self._format.frame_bytes
            raise BadPayload(f"the audio ends with {len(self._rest)} bytes of a frame of {size}")
        return to_int16(self._resampler.flush())


def _samples(data: bytes, width: int) -> Float32Array:
    """Raw samples to float32[n] in -1 .. 1."""
    if width == 1:
        return (np.frombuffer(data, np.uint8).astype(np.float32) - np.float32(128)) / np.float32(128)
    if width == 2:
        return np.frombuffer(data, "<i2").astype(np.float32) / np.float32(_FULL_SCALE)
    if width == 3:
        # Three bytes become the upper three of an int32, which keeps the sign.
        wide = np.zeros((len(data) // 3, 4), np.uint8)
        wide[:, 1:] = np.frombuffer(data, np.uint8).reshape(-1, 3)
        data = wide.tobytes()
    return np.frombuffer(data, "<i4").astype(np.float32) / np.float32(2**31)


def mix(frames: npt.NDArray[Any]) -> Float32Array:
    """float32[n, channels] to float32[n]: the mean, so that no sum can clip."""
    if frames.shape[1] == 1:
        return np.ascontiguousarray(frames[:, 0], dtype=np.float32)
    return np.asarray(frames.mean(axis=1, dtype=np.float32))


def to_int16(samples: Float32Array) -> Int16Samples:
    """float32[n] in -1 .. 1 to int16[n]: rounded, and clipped where it is louder than full scale."""
    scaled = np.rint(samples * np.float32(_FULL_SCALE))
    clipped: Int16Samples = np.clip(scaled, -32768, 32767).astype(np.int16)
    return clipped
