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
