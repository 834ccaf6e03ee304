"""Whisper in float64 numpy, written down from the paper's architecture and without any of the project's code.

Slow and plain on purpose: it is what the graphs are checked against.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[np.float64]
_erf = np.vectorize(math.erf)


class ReferenceWhisper:
    """One checkpoint under openai/whisper's tensor names."""

    def __init__(self, tensors: Mapping[str, npt.NDArray[Any]], heads: int) -> None:
        self.t = {name: tensor.astype(np.float64) for name, tensor in tensors.items()}
        self.heads = heads

    def _norm(self, x: Array, name: str) -> Array:
        mean, var = x.mean(-1, keepdims=True), x.var(-1, keepdims=True)
        return (x - mean) / np.sqrt(var + 1e-5) * self.t[f"{name}.weight"] + self.t[f"{name}.bias"]

    def _linear(self, x: Array, name: str) -> Array:
        return np.asarray(x @ self.t[f"{name}.weight"].T + self.t.get(f"{name}.bias", 0.0))

    def _attention(
        self, x: Array, source: Array, name: str, causal: bool = False, looked: list[Array] | None = None
    ) -> Array:
        q, k, v = (
            self._linear(s, f"{name}.{p}").reshape(len(s), self.heads, -1).transpose(1, 0, 2)
            for s, p in ((x, "query"), (source, "key"), (source, "value"))
        )
        scores = q @ k.transpose(0, 2, 1) / math.sqrt(q.shape[2])
        if causal:
            scores += np.triu(np.full(scores.shape[1:], -np.inf), 1)
        weights = np.exp(scores - scores.max(-1, keepdims=True))
        weights /= weights.sum(-1, keepdims=True)
        if looked is not None:
            looked.append(weights.transpose(1, 0, 2))
        return self._linear((weights @ v).transpose(1, 0, 2).reshape(len(x), -1), f"{name}.out")

    def _mlp(self, x: Array, name: str) -> Array:
        hidden = self._linear(x, f"{name}.0")
        return self._linear(hidden * 0.5 * (1 + _erf(hidden / math.sqrt(2))), f"{name}.2")

    def _layers(self, side: str) -> int:
        return len({name.split(".")[2] for name in self.t if name.startswith(f"{side}.blocks.")})

    def encode(self, mel: Array) -> Array:
        """[n_mels, T] -> [T / 2, n_state]."""
        x = mel.T
        for name, stride in (("encoder.conv1", 1), ("encoder.conv2", 2)):
            padded = np.vstack([np.zeros((1, x.shape[1])), x, np.zeros((1, x.shape[1]))])
            kernel = self.t[f"{name}.weight"]
            x = sum(padded[k : len(padded) - 2 + k] @ kernel[:, :, k].T for k in range(3))[::stride]
            x = x + self.t[f"{name}.bias"]
            x = x * 0.5 * (1 + _erf(x / math.sqrt(2)))
        x = x + self.t["encoder.positional_embedding"][: len(x)]
        for i in range(self._layers("encoder")):
            name = f"encoder.blocks.{i}"
            normed = self._norm(x, f"{name}.attn_ln")
            x = x + self._attention(normed, normed, f"{name}.attn")
            x = x + self._mlp(self._norm(x, f"{name}.mlp_ln"), f"{name}.mlp")
        return self._norm(x, "encoder.ln_post")

    def attention(self, audio: Array, tokens: Sequence[int]) -> list[Array]:
        """Of each decoder layer [len(tokens), heads, positions]: where a token looks in the audio."""
        looked: list[Array] = []
        self.logits(audio, tokens, looked)
        return looked

    def logits(self, audio: Array, tokens: Sequence[int], looked: list[Array] | None = None) -> Array:
        """[len(tokens), n_vocab], each row after its token."""
        embedding = self.t["decoder.token_embedding.weight"]
        x = embedding[list(tokens)] + self.t["decoder.positional_embedding"][: len(tokens)]
        for i in range(self._layers("decoder")):
            name = f"decoder.blocks.{i}"
            normed = self._norm(x, f"{name}.attn_ln")
            x = x + self._attention(normed, normed, f"{name}.attn", causal=True)
            normed = self._norm(x, f"{name}.cross_attn_ln")
            x = x + self._attention(normed, audio, f"{name}.cross_attn", looked=looked)
            x = x + self._mlp(self._norm(x, f"{name}.mlp_ln"), f"{name}.mlp")
        return self._norm(x, "decoder.ln") @ embedding.T
