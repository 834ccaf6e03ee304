"""Sample formats: raw PCM of any rate, width and channel count to the one that speech recognition wants."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np
import numpy.typing as npt

from ..errors import BadFormat, BadPayload
from .resample import Float32Array, Resampler

Int16Samples = npt.NDArray[np.int16]

SAMPLE_RATE: Final = 16_000
MIN_RATE, MAX_RATE = 4_000, 384_000
MAX_CHANNELS: Final = 8
WIDTHS: Final = (1, 2, 3, 4)

_FULL_SCALE = np.float32(32768)


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

    def frames_of(self, payload: bytes) -> int:
        """How many frames a chunk has; raises BadPayload where they are not whole."""
        frames, rest = divmod(len(payload), self.frame_bytes)
        if rest:
            raise BadPayload(
                f"audio-chunk of {len(payload)} bytes is not a whole number of {self.frame_bytes}-byte frames"
            )
        return frames


class PcmConverter:
    """Converts one stream of raw PCM to int16 at 16 kHz mono. Any split of the bytes gives the same samples.

    int16 at 16 kHz mono comes out as it went in: its way through float32 is without rounding.
    """

    def __init__(self, fmt: PcmFormat) -> None:
        self._format = fmt
        self._resampler = Resampler(fmt.rate, SAMPLE_RATE)
        self._rest = b""  # less than a frame

    def push(self, data: bytes | bytearray | memoryview) -> Int16Samples:
        """Take bytes, which may end within a frame; give the int16[m] that are certain by now.

        Raises:
            ValueError: the stream was flushed.
        """
        joined = self._rest + bytes(data)
        whole = len(joined) - len(joined) % self._format.frame_bytes
        self._rest = joined[whole:]
        frames = _samples(joined[:whole], self._format.width).reshape(-1, self._format.channels)
        return to_int16(self._resampler.push(mix(frames)))

    def flush(self) -> Int16Samples:
        """Give the rest of the stream and end it.

        Raises:
            BadPayload: the stream ended within a frame.
            ValueError: the stream was flushed already.
        """
        if self._rest:
            size = self._format.frame_bytes
            raise BadPayload(f"the audio ends with {len(self._rest)} bytes of a frame of {size}")
        return to_int16(self._resampler.flush())


def mix(frames: Float32Array) -> Float32Array:
    """float32[n, channels] to float32[n]: the mean, so that no sum can clip."""
    # Channel by channel, always in the same order: a reduction along the short axis is slower, and free to
    # add in an order that depends on n.
    total = frames[:, 0].copy()
    for channel in range(1, frames.shape[1]):
        total += frames[:, channel]
    return total / np.float32(frames.shape[1])


def to_int16(samples: Float32Array) -> Int16Samples:
    """float32[n] in -1 .. 1 to int16[n]: rounded, and clipped where it is louder than full scale."""
    clipped: Float32Array = np.clip(np.rint(samples * _FULL_SCALE), -32768, 32767)
    return clipped.astype(np.int16)


def _samples(data: bytes, width: int) -> Float32Array:
    """Raw samples to float32[n] in -1 .. 1."""
    if width == 1:
        return (np.frombuffer(data, np.uint8).astype(np.float32) - np.float32(128)) / np.float32(128)
    if width == 2:
        return np.frombuffer(data, "<i2").astype(np.float32) / _FULL_SCALE
    if width == 3:
        # Three bytes become the upper three of an int32, which keeps the sign.
        wide = np.zeros((len(data) // 3, 4), np.uint8)
        wide[:, 1:] = np.frombuffer(data, np.uint8).reshape(-1, 3)
        data = wide.tobytes()
    return np.frombuffer(data, "<i4").astype(np.float32) / np.float32(2**31)
