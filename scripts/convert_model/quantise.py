"""Symmetric int8 quantisation of weights, one scale per output channel.

Weights are signed because ONNX Runtime's NEON kernels for CPUs without dot-product instructions are u8 x s8.
Only elementwise float32 operations and maxima are used, so every PC gives the same bytes.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

#: Magnitudes are kept to 7 bits: x86 CPUs without VNNI add two u8 x s8 products in 16 bits with saturation,
#: and 2 * 255 * 64 is the largest sum that fits. The bundle then computes the same on the PC and on the Pi.
SAFE_RANGE = 64
#: All of int8's symmetric range: what a Cortex-A72 or a CPU with VNNI could use.
FULL_RANGE = 127
#: A hidden unit whose activation may reach this is not quantised with the others. In base these are 42 of 24576.
WILD = 16.0
#: How far a unit is taken to get from its mean, in standard deviations.
_DEVIATIONS = 4.0


def quantise_columns(
    weight: npt.NDArray[np.float32], weight_range: int
) -> tuple[npt.NDArray[np.int8], npt.NDArray[np.float32]]:
    """Quantise each row of float32[out, in] on its own.

    Returns:
        int8[out, in] with magnitudes up to `weight_range`, and float32[out] scales: weight ~ q * scale.
        A row of zeros gets scale 1.
    """
    peak = np.abs(weight).max(axis=1)
    scale = np.where(peak > 0, peak / np.float32(weight_range), np.float32(1)).astype(np.float32)
    levels = np.rint(weight / scale[:, None])
    return np.clip(levels, -weight_range, weight_range).astype(np.int8), scale


def wild_units(
    weight: npt.NDArray[np.floating],
    bias: npt.NDArray[np.floating],
    gamma: npt.NDArray[np.floating],
    beta: npt.NDArray[np.floating],
) -> npt.NDArray[np.intp]:
    """Units of an MLP's hidden layer whose activations would spoil those of all others.

    Activations are quantised with one scale for all units of all tokens that are computed together. A few units of
    Whisper reach a hundred times what the others do: one in base's decoder has 175 for every language token, and
    left nothing of the rest but zeros. Which they are, the weights tell: what a layer normalisation gives has a
    mean square of 1 before `gamma` and `beta`, so a unit's mean and spread are known without any data.

    Args:
        weight, bias: float[units, in] and float[units], of the hidden layer.
        gamma, beta: float[in], of the normalisation before it.

    Returns:
        Their indices, rising. They come of comparisons, so a PC's last bits do not get into a bundle.
    """
    rows = weight.astype(np.float64)
    mean = (rows * beta).sum(axis=1) + bias
    spread = np.sqrt(((rows * gamma) ** 2).sum(axis=1))
    return np.flatnonzero(mean + _DEVIATIONS * spread > WILD)
