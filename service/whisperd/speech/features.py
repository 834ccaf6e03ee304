"""Whisper's log-mel spectrogram in numpy.

The definition is that of openai/whisper `audio.py` (Radford et al., "Robust Speech Recognition via
Large-Scale Weak Supervision", section 2.2): 25 ms Hann windows every 10 ms, 80 mel bands, log10 power.
The reference first pads a clip with silence to 30 s; here only the frames that hold the clip's samples are
computed, because a frame of silence is a constant that `silence_value` gives without an FFT.
"""

from __future__ import annotations

from typing import Any, Final

import numpy as np
import numpy.typing as npt

SAMPLE_RATE: Final = 16_000
N_FFT: Final = 400  # samples in a window: 25 ms
HOP_LENGTH: Final = 160  # samples between windows: 10 ms
FRAMES_PER_SECOND: Final = SAMPLE_RATE // HOP_LENGTH

LOG_FLOOR: Final = -10.0  # log10 of the smallest power, 1e-10: what a band of silence has
DYNAMIC_RANGE: Final = 8.0  # decades kept below the loudest band of the clip

Float32Array = npt.NDArray[np.float32]

_PAD = N_FFT // 2  # windows are centred on their hop, so the first one reaches this far back
_BATCH = 128  # frames transformed at once: keeps the float64 scratch near 1 MB, whatever the clip's length


class LogMel:
    """Computes raw log10 mel spectrograms. Holds only constants, so one instance serves every thread.

    Args:
        n_mels: number of mel bands, 80 for every Whisper up to large-v2 and 128 from large-v3 on.

    Raises:
        ValueError: a band count so high that a band would lie between two bins of the FFT.
    """

    def __init__(self, n_mels: int = 80) -> None:
        filters = mel_filters(n_mels)
        if not filters.any(axis=1).all():
            raise ValueError(f"{n_mels} mel bands are too narrow for {N_FFT} point spectra")
        self.n_mels: Final = n_mels
        # Periodic Hann, as torch.hann_window and scipy's fftbins=True have it.
        self._window: Final = 0.5 - 0.5 * np.cos(2.0 * np.pi * np.arange(N_FFT) / N_FFT)
        # A triangle covers a few adjacent bins: about 400 of the 80 x 201 weights are not zero. Summing just
        # those is as fast as a matrix product, gives the same bits everywhere and wakes no BLAS threads.
        bands, self._bins = np.nonzero(filters)
        self._weights: Final = filters[bands, self._bins]
        self._band_starts: Final = np.searchsorted(bands, np.arange(n_mels))

    def __call__(self, pcm: npt.NDArray[np.int16] | Float32Array) -> Float32Array:
        """Transform a clip.

        The clip is reflected before its first sample, as the reference does, and followed by silence. The
        frames are those of the reference whose centre lies in the clip; up to two more, in which the clip's
        last samples fade out, are left out.

        Args:
            pcm: int16[n], or float32[n] in -1 .. 1 and finite; 16 kHz mono. Any length: the scratch memory
                does not grow with it, and cutting to the model's 30 s is the caller's part.

        Returns:
            float32[n_mels, ceil(n / 160)]: log10 of the power in each band, `LOG_FLOOR` or more, before
            `normalise`.

        Raises:
            ValueError: `pcm` is not one-dimensional, or neither int16 nor float32.
        """
        samples = _as_unit_float(pcm)
        n_frames = -(-samples.size // HOP_LENGTH)
        log_mel = np.empty((self.n_mels, n_frames), np.float32)
        if n_frames == 0:
            return log_mel

        # Zeros first, then the reflection: this is the reference's order, and it makes clips that are shorter
        # than the reflection a case like any other.
        padded = np.zeros(_PAD + max(n_frames * HOP_LENGTH, _PAD) + _PAD, np.float32)
        padded[_PAD : _PAD + samples.size] = samples
        padded[:_PAD] = padded[2 * _PAD : _PAD : -1]

        frames = np.lib.stride_tricks.sliding_window_view(padded, N_FFT)[::HOP_LENGTH]
        for start in range(0, n_frames, _BATCH):
            stop = min(start + _BATCH, n_frames)
            # In float64 on purpose: numpy 1.x transforms float32 in float64 and numpy 2.x does not, and in
            # single precision the quiet bands of a loud frame drown in rounding.
            spectrum = np.fft.rfft(frames[start:stop] * self._window, axis=1)
            power = spectrum.real**2 + spectrum.imag**2
            mel = np.add.reduceat(power[:, self._bins] * self._weights, self._band_starts, axis=1)
            log_mel[:, start:stop] = np.log10(np.maximum(mel, 10.0**LOG_FLOOR)).T
        return log_mel


def normalise(log_mel: Float32Array, maximum: float | None = None) -> Float32Array:
    """Give the encoder's input: `DYNAMIC_RANGE` decades below the loudest band, scaled to about -1 .. 1.5.

    Args:
        log_mel: float32[n_mels, T] from `LogMel`.
        maximum: the loudest value of the clip; by default that of `log_mel`. Windows of a long clip share
            the clip's.

    Returns:
        float32[n_mels, T], a new array.
    """
    if maximum is None:
        maximum = float(log_mel.max(initial=LOG_FLOOR))
    limited = np.maximum(log_mel, np.float32(maximum - DYNAMIC_RANGE))
    return (limited + np.float32(4.0)) / np.float32(4.0)


def sounding(mel: Float32Array, decades: float) -> int:
    """Frames up to the last one that is at most `decades` below the loudest: what lies behind them is quiet.

    Args:
        mel: float32[n_mels, T] from `normalise`, T at least 1.
    """
    loudness = mel.max(axis=0)
    return int(np.flatnonzero(loudness >= loudness.max() - np.float32(decades / 4.0))[-1]) + 1


def silence_value(maximum: float) -> float:
    """What `normalise` makes of silence in a clip whose loudest raw value is `maximum`.

    This is the pad value to the right of a clip's last frame. It is (maximum - 8 + 4) / 4 unless the clip
    is so quiet that the logarithm's floor lies above that.
    """
    return (max(LOG_FLOOR, maximum - DYNAMIC_RANGE) + 4.0) / 4.0


def mel_filters(n_mels: int) -> npt.NDArray[np.float64]:
    """Triangular mel filters on Slaney's scale, each of unit area.

    Scale and norm are those of Malcolm Slaney's Auditory Toolbox (1998), which `librosa.filters.mel` follows
    and with which Whisper was trained: linear to 1 kHz at 200/3 Hz per mel, logarithmic above.

    Returns:
        float64[n_mels, N_FFT // 2 + 1], rows from low to high.

    Raises:
        ValueError: `n_mels` is less than 1.
    """
    if n_mels < 1:
        raise ValueError(f"a mel spectrogram needs at least one band, not {n_mels}")
    edges = _mel_to_hz(np.linspace(0.0, _hz_to_mel(SAMPLE_RATE / 2), n_mels + 2))
    bins = np.arange(N_FFT // 2 + 1) * (SAMPLE_RATE / N_FFT)
    low, centre, high = edges[:-2, None], edges[1:-1, None], edges[2:, None]
    rising = (bins - low) / (centre - low)
    falling = (high - bins) / (high - centre)
    filters: npt.NDArray[np.float64] = np.maximum(0.0, np.minimum(rising, falling)) * (2.0 / (high - low))
    return filters


_LINEAR_HZ_PER_MEL = 200.0 / 3.0
_LOG_START_HZ = 1000.0
_LOG_START_MEL = _LOG_START_HZ / _LINEAR_HZ_PER_MEL
_LOG_STEP = np.log(6.4) / 27.0


def _hz_to_mel(hz: float) -> float:
    """Slaney's scale, for a frequency in its logarithmic part."""
    return float(_LOG_START_MEL + np.log(hz / _LOG_START_HZ) / _LOG_STEP)


def _mel_to_hz(mel: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    logarithmic = _LOG_START_HZ * np.exp(_LOG_STEP * (mel - _LOG_START_MEL))
    return np.where(mel < _LOG_START_MEL, mel * _LINEAR_HZ_PER_MEL, logarithmic)


def _as_unit_float(pcm: npt.NDArray[Any]) -> Float32Array:
    if pcm.ndim != 1:
        raise ValueError(f"audio must be one-dimensional, not of shape {pcm.shape}")
    if pcm.dtype == np.int16:
        return pcm.astype(np.float32) / np.float32(32768.0)
    if pcm.dtype == np.float32:
        return pcm
    raise ValueError(f"audio must be int16 or float32, not {pcm.dtype}")
