"""The silent tail: what the encoder computes over 30 s of silence, kept at every `stride`-th position.

Whisper's encoder always sees 30 s, and its decoder counts on the silence behind the words. Instead of
computing that silence for every clip, its attention keys and values are computed here once. Everything is
float64 in plain numpy and rounded to float16 at the end, so that no BLAS's or CPU's last bits get into the
bundle, whose sha256 a recipe pins.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt

from .graphs import Tail
from .weights import Weights

Float64Array = npt.NDArray[np.float64]

#: log10 of the loudest mel bin that the daemon scales every clip to; silence then has one known value.
LOUDEST = 1.5
#: The reference's normalisation of a silent bin, (max(x, loudest - 8) + 4) / 4 with x far below.
SILENCE = (LOUDEST - 8.0 + 4.0) / 4.0


def _gelu(x: Float64Array) -> Float64Array:
    """Exact GELU. math.erf row by row keeps the temporary objects few."""
    erf = np.frompyfunc(math.erf, 1, 1)
    for i in range(len(x)):
        x[i] *= 0.5 * (1.0 + erf(x[i] * math.sqrt(0.5)).astype(np.float64))
    return x


def _norm(x: Float64Array, t: dict[str, Any], name: str) -> Float64Array:
    centred = x - x.mean(axis=-1, keepdims=True)
    spread = np.sqrt((centred**2).mean(axis=-1, keepdims=True) + 1e-5)
    return np.asarray(centred / spread * t[f"{name}.weight"] + t[f"{name}.bias"])


def _linear(x: Float64Array, t: dict[str, Any], name: str) -> Float64Array:
    y: Float64Array = x @ t[f"{name}.weight"].astype(np.float64).T
    if f"{name}.bias" in t:
        y += t[f"{name}.bias"]
    return y


def _conv(x: Float64Array, t: dict[str, Any], name: str, stride: int) -> Float64Array:
    """Convolution of [T, in] with kernel 3 and padding 1, as one matrix product: [T / stride, out]."""
    padded = np.pad(x, ((1, 1), (0, 0)))
    columns = np.concatenate([padded[k : k + len(x) : stride] for k in range(3)], axis=1)
    kernel = t[f"{name}.weight"].astype(np.float64)
    kernel = kernel.transpose(2, 1, 0).reshape(-1, kernel.shape[0])
    return np.asarray(columns @ kernel + t[f"{name}.bias"])


def _attention(q: Float64Array, k: Float64Array, v: Float64Array, n_head: int) -> Float64Array:
    head = q.shape[1] // n_head
    out = np.empty_like(q)
    for h in range(n_head):
        part = slice(h * head, (h + 1) * head)
        logits = (q[:, part] @ k[:, part].T) / math.sqrt(head)
        weights = np.exp(logits - logits.max(axis=1, keepdims=True))
        out[:, part] = (weights @ v[:, part]) / weights.sum(axis=1, keepdims=True)
    return out


def silent_tail(w: Weights, stride: int, advance: Callable[[], None] = lambda: None) -> Tail:
    """Run the encoder over silence and keep the rows that the daemon appends.

    Args:
        w: the checkpoint.
        stride: distance of the rows kept, in positions of 20 ms, at least 1.
        advance: called after each encoder layer.
    """
    d, t = w.dims, w.tensors
    x = np.full((2 * d.n_audio_ctx, d.n_mels), SILENCE)
    x = _gelu(_conv(x, t, "encoder.conv1", 1))
    x = _gelu(_conv(x, t, "encoder.conv2", 2))
    x += t["encoder.positional_embedding"]
    keys, values = [], []
    for i in range(d.n_audio_layer):
        b = f"encoder.blocks.{i}"
        normed = _norm(x, t, f"{b}.attn_ln")
        q, k, v = (_linear(normed, t, f"{b}.attn.{p}") for p in ("query", "key", "value"))
        keys.append(k[::stride].astype(np.float16))
        values.append(v[::stride].astype(np.float16))
        x += _linear(_attention(q, k, v, d.n_head), t, f"{b}.attn.out")
        hidden = _gelu(_linear(_norm(x, t, f"{b}.mlp_ln"), t, f"{b}.mlp.0"))
        x += _linear(hidden, t, f"{b}.mlp.2")
        advance()
    rows = _norm(x, t, "encoder.ln_post")[::stride]
    cross = [f"decoder.blocks.{i}.cross_attn" for i in range(d.n_text_layer)]
    return Tail(
        stride=stride,
        encoder_k=tuple(keys),
        encoder_v=tuple(values),
        cross_k=tuple(_linear(rows, t, f"{b}.key").astype(np.float16) for b in cross),
        cross_v=tuple(_linear(rows, t, f"{b}.value").astype(np.float16) for b in cross),
    )
