"""Write a checkpoint as a whisper.cpp model file, quantised to q8_0, so that the stranger runs the same weights.

Format (whisper.cpp, models/convert-pt-to-ggml.py and ggml's block formats): magic, eleven int32 of sizes and
file type, mel filters, vocabulary, then tensors as (dimensions, name, type, data) with the innermost
dimension first.
"""

from __future__ import annotations

import struct
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from convert_model.vocabulary import text_tokens
from convert_model.weights import Weights

Array = npt.NDArray[Any]

_MAGIC = 0x67676D6C
_F32, _F16, _Q8_0 = 0, 1, 8
#: File type "mostly q8_0" in quantisation format version 2.
_FILE_TYPE = 2 * 1000 + 7
_BLOCK = 32


def write_ggml(weights: Weights, mel_filters: npt.NDArray[np.float32], path: Path) -> None:
    """Write `weights` to `path`.

    Args:
        mel_filters: float32[n_mels, 201].
    """
    d = weights.dims
    with path.open("wb") as file:
        sizes = (
            d.n_vocab,
            d.n_audio_ctx,
            d.n_state,
            d.n_head,
            d.n_audio_layer,
            d.n_text_ctx,
            d.n_state,
            d.n_head,
            d.n_text_layer,
            d.n_mels,
            _FILE_TYPE,
        )
        file.write(struct.pack("<I11i", _MAGIC, *sizes))
        file.write(struct.pack("<2i", *mel_filters.shape) + mel_filters.astype("<f4").tobytes())
        tokens = text_tokens(weights)  # whisper.cpp adds the special ones itself
        file.write(struct.pack("<i", len(tokens)))
        for token in tokens:
            file.write(struct.pack("<i", len(token)) + token)
        for name, tensor in weights.tensors.items():
            kind, shape, data = _stored(name, tensor)
            encoded = name.encode()
            file.write(struct.pack("<3i", len(shape), len(encoded), kind))
            file.write(struct.pack(f"<{len(shape)}i", *reversed(shape)) + encoded + data)


def _stored(name: str, tensor: Array) -> tuple[int, tuple[int, ...], bytes]:
    """ggml type, shape and bytes of a tensor, as whisper.cpp's own tools choose them."""
    if tensor.ndim == 3:
        return _F16, tensor.shape, tensor.astype("<f2").tobytes()
    if tensor.ndim == 2 and "positional_embedding" not in name:
        return _Q8_0, tensor.shape, _q8_0(tensor.astype(np.float32))
    shape = (tensor.shape[0], 1) if name.startswith("encoder.conv") else tensor.shape
    return _F32, shape, tensor.astype("<f4").tobytes()


def _q8_0(tensor: npt.NDArray[np.float32]) -> bytes:
    """Blocks of 32 values along the rows: a float16 scale and 32 int8."""
    blocks = tensor.reshape(-1, _BLOCK)
    scale = np.abs(blocks).max(axis=1) / np.float32(127)
    inverse = np.divide(1, scale, out=np.zeros_like(scale), where=scale > 0)
    packed = np.zeros(len(blocks), np.dtype([("d", "<f2"), ("q", "i1", _BLOCK)]))
    packed["d"] = scale
    packed["q"] = np.rint(blocks * inverse[:, None])
    return packed.tobytes()
