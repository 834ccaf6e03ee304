"""Sample rate conversion: a polyphase, Kaiser-windowed sinc filter, streaming.

The method is the classic one (Crochiere and Rabiner, "Multirate Digital Signal Processing", 1983; window
from Kaiser, 1974): every output sample is the input, low-passed below both Nyquist frequencies, at that
sample's time. The filter's values for a short group of outputs and the inputs that they need are tabulated as
a matrix, so that a group is one small matrix product.
"""

from __future__ import annotations

import math
from fractions import Fraction
from typing import Final

import numpy as np
import numpy.typing as npt

Float32Array = npt.NDArray[np.float32]

STOP_BAND_DB: Final = 100.0  # design value; leaves 10 dB to the promised 90 for float32 and for the estimate
PASS_BAND: Final = 0.9  # of the lower Nyquist frequency: 7.2 kHz at 16 kHz. The stop band starts at 1.0.
MAX_RATIO: Final = 32  # between the two rates, either way
RATE_TOLERANCE: Final = Fraction(1, 10_000)

_MAX_EXACT = 1000  # largest term of an exact ratio; 11025 Hz to 16 kHz, the largest in use, is 640 / 441
_MIN_GROUP = 64  # outputs in one matrix: enough to make a product worth its call,
_MAX_GROUP = 160  # and few enough that not too much of the matrix is zero
_STEP = 320  # outputs in one step at most, 20 ms at 16 kHz


class Resampler:
    """Converts one stream of samples from one rate to another. Any split into pushes gives the same samples.

    The filter's delay is removed: output sample j is the input at time j / rate_out. The pass band ends at
    `PASS_BAND` of the lower Nyquist frequency; from the Nyquist frequency on, aliases and images are at least
    90 dB down.

    A ratio with a term above 1000 is replaced by the simplest one within `RATE_TOLERANCE` of it, which bounds
    the filter's memory to 6 MB between 4 and 384 kHz. The pitch changes by at most a hundredth of a percent,
    and time by 0.1 ms in a second. Equal rates, also when equal only within the tolerance, pass through.

    Args:
        rate_in: Hz.
        rate_out: Hz.

    Raises:
        ValueError: a rate is not positive, or their ratio is larger than `MAX_RATIO`.
    """

    def __init__(self, rate_in: int, rate_out: int) -> None:
        self.up, self.down = conversion_ratio(rate_in, rate_out)
        self._received = 0
        self._produced = 0
        self._flushed = False

        # Kaiser's estimate of the length for this transition, in input samples on each side.
        nyquist = min(1.0, self.up / self.down) / 2  # cycles per input sample
        transition = (1.0 - PASS_BAND) * nyquist
        self._reach = math.ceil((STOP_BAND_DB - 7.95) / (2 * 2.285 * 2 * math.pi * transition))
        cutoff = (1.0 + PASS_BAND) / 2 * nyquist

        # A cycle is the stretch after which the filter's phases repeat. Short cycles are tabulated several
        # times over to fill one group; long ones are cut into groups.
        repeats = max(1, _MIN_GROUP // self.up)
        self._cycle_out = self.up * repeats
        self._cycle_in = self.down * repeats
        n_groups = -(-self._cycle_out // _MAX_GROUP)
        bounds = [self._cycle_out * g // n_groups for g in range(n_groups + 1)]
        # Equal rates have no use for the filter, which takes 2 ms of a PC: as much as all else that is done with a
        # short clip before it is decoded.
        spans = [] if self.up == self.down else list(zip(bounds, bounds[1:], strict=False))
        self._groups = [self._tabulate(start, stop, cutoff) for start, stop in spans]
        self._next_group = 0
        # The number of cycles that are computed at once does not depend on how much has come: numpy may add in
        # another order for another shape, and any split into pushes has to give the same samples.
        self._rows = max(1, _STEP // self._cycle_out) if n_groups == 1 else 1

        # Input from the first sample that the next group needs; the clip is preceded by silence.
        self._buffer: Float32Array = np.zeros(self._reach - 1, np.float32)

    def push(self, samples: Float32Array) -> Float32Array:
        """Take float32[n], finite; give as many float32[m] as are certain by now. n may be 0.

        Raises:
            ValueError: the stream was flushed, or the samples are not a one-dimensional float32 array.
        """
        if self._flushed:
            raise ValueError("the resampler was flushed: its stream has ended")
        if samples.ndim != 1 or samples.dtype != np.float32:
            raise ValueError(f"samples must be float32[n], not {samples.dtype}{samples.shape}")
        self._received += samples.size
        if self.up == self.down:
            return samples.copy()
        return self._run(samples)

    def flush(self) -> Float32Array:
        """Give the rest of the stream, which is followed by silence, and end it.

        After this the sum of all outputs is ceil(n * up / down) for n samples of input.

        Raises:
            ValueError: the stream was flushed already.
        """
        if self._flushed:
            raise ValueError("the resampler was flushed: its stream has ended")
        self._flushed = True
        missing = -(-self._received * self.up // self.down) - self._produced
        if self.up == self.down or missing <= 0:
            return np.zeros(0, np.float32)
        # Whole steps that hold the missing outputs, plus what the filter looks ahead.
        steps_in = -(-missing // (self._rows * self._cycle_out)) * self._rows * self._cycle_in
        silence = np.zeros(steps_in + self._cycle_in + 2 * self._reach, np.float32)
        return self._run(silence)[:missing]

    def _run(self, samples: Float32Array) -> Float32Array:
        buffer = np.concatenate((self._buffer, samples))
        start = 0  # of the current cycle in the buffer
        rows = self._rows
        outputs: list[Float32Array] = []
        while True:
            offset, matrix = self._groups[self._next_group]
            taps = matrix.shape[1]
            first = start + offset
            if first + (rows - 1) * self._cycle_in + taps > buffer.size:
                break
            strides = (self._cycle_in * buffer.itemsize, buffer.itemsize)
            windows = np.lib.stride_tricks.as_strided(buffer[first:], (rows, taps), strides, writeable=False)
            # Not `@`: for products of this size a BLAS wakes threads, which then spin beside those of the model.
            outputs.append(np.einsum("wi,oi->wo", windows, matrix).ravel())
            self._next_group = (self._next_group + 1) % len(self._groups)
            if self._next_group == 0:
                start += rows * self._cycle_in
        # A copy, so that a small rest does not keep a large push alive.
        self._buffer = buffer[start:].copy()
        if not outputs:
            return np.zeros(0, np.float32)
        produced = np.concatenate(outputs)
        self._produced += produced.size
        return produced

    def _tabulate(self, start: int, stop: int, cutoff: float) -> tuple[int, Float32Array]:
        """The filter for outputs start .. stop - 1 of a cycle.

        Returns:
            (offset, matrix): the first input that they need, counted from the first that the cycle needs, and
            float32[outputs, inputs], to be summed over the inputs, which are therefore adjacent in memory.
        """
        j = np.arange(start, stop)
        # Outputs' times in input samples, as integer plus remainder: exact in any position of the cycle.
        whole, rest = np.divmod(j * self.down, self.up)
        offset = int(whole[0])
        n = np.arange(offset - self._reach + 1, int(whole[-1]) + self._reach + 1)
        distance = (whole[:, None] - n) + rest[:, None] / self.up
        # Kaiser's alpha for this attenuation; np.i0 is the modified Bessel function of the window.
        beta = 0.1102 * (STOP_BAND_DB - 8.7)
        inside = np.abs(distance) < self._reach
        u = distance[inside]
        window = np.i0(beta * np.sqrt(1.0 - (u / self._reach) ** 2)) / np.i0(beta)
        matrix = np.zeros(distance.shape, np.float32)
        matrix[inside] = 2.0 * cutoff * np.sinc(2.0 * cutoff * u) * window
        return offset, matrix


def conversion_ratio(rate_in: int, rate_out: int) -> tuple[int, int]:
    """Give (up, down): rate_out / rate_in in lowest terms, or near it, as `Resampler` says.

    Raises:
        ValueError: a rate is not positive, or their ratio is larger than `MAX_RATIO`.
    """
    if rate_in < 1 or rate_out < 1:
        raise ValueError(f"sample rates must be positive, not {rate_in} Hz and {rate_out} Hz")
    if max(rate_in, rate_out) > MAX_RATIO * min(rate_in, rate_out):
        raise ValueError(f"{rate_in} Hz and {rate_out} Hz differ by more than a factor of {MAX_RATIO}")
    ratio = Fraction(rate_out, rate_in)
    if max(ratio.numerator, ratio.denominator) > _MAX_EXACT:
        ratio = _simplest_between(ratio * (1 - RATE_TOLERANCE), ratio * (1 + RATE_TOLERANCE))
    return ratio.numerator, ratio.denominator


def _simplest_between(low: Fraction, high: Fraction) -> Fraction:
    """The fraction in low .. high with the smallest numerator and denominator (Stern-Brocot tree)."""
    below = low.numerator // low.denominator
    if below == low:
        return Fraction(below)
    if below + 1 <= high:
        return Fraction(below + 1)
    return below + 1 / _simplest_between(1 / (high - below), 1 / (low - below))
