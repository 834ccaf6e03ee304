"""Whisper's encoder and decoder as ONNX graphs made for this daemon's decoding loop.

Six things differ from the reference graph, none of them in what is computed over 30 s of context:

* Silent tail. The encoder runs over the real frames only. To every attention over audio positions come rows
  computed once over silence (tail.py), each standing for `stride` positions. That weight is log(stride) on
  the attention logit. Instead of an attention bias it is an extra component of each head: the query's is
  always 1, a real key's 0, a tail key's log(stride) / scale. So the attention needs no mask, and ONNX Runtime
  can use its blocked kernel, whose memory does not grow with the square of the length.
* The encoder ends with every decoder layer's cross-attention keys and values, computed once per clip.
* The decoder gives the queries of its cross-attention in the layers whose heads follow the audio. The daemon,
  which has the keys, computes from them where a token looked: nothing is paid for it where nobody asks.
* The decoder takes embedded tokens, which the daemon looks up in a mapped file, and gives the rows from which a
  graph of its own, the head, makes logits. Half of what a decoder step reads is the head: alone it has threads to
  itself, and its weights, columns where the look-up has rows, are packed as they lie in their file.
* In int8, the few hidden units whose activations would spoil all others' (quantise.py) are computed apart.

The scale of the decoder's attention is a factor of its queries' weights: the run-time's product of one row and a
matrix is faster where there is none.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from onnx import TensorProto

from .builder import CONTRIB, GraphBuilder, tensor_input
from .quantise import quantise_columns, wild_units
from .weights import Weights

Array = npt.NDArray[Any]
Float16Array = npt.NDArray[np.float16]

INT64 = TensorProto.INT64

EMBEDDING_FILE = "embedding.data"
EMBEDDING_SCALE_FILE = "embedding.scale"
POSITION_FILE = "position.data"


@dataclass(frozen=True)
class Tail:
    """Keys and values of silence, for attentions that look at audio positions.

    Attributes:
        stride: every how many positions there is a row; 0 where there is no tail.
        encoder_k, encoder_v: per encoder layer float16[rows, n_state], the self-attention's.
        cross_k, cross_v: per decoder layer float16[rows, n_state], the cross-attention's.
    """

    stride: int
    encoder_k: tuple[Float16Array, ...]
    encoder_v: tuple[Float16Array, ...]
    cross_k: tuple[Float16Array, ...]
    cross_v: tuple[Float16Array, ...]


class _Heads:
    """Widens each head by the component that carries a tail row's weight."""

    def __init__(self, n_head: int, n_state: int, stride: int) -> None:
        self.n_head, self.n_state, self.head = n_head, n_state, n_state // n_head
        self.scale = 1.0 / math.sqrt(self.head)
        self.width = n_head * (self.head + 1)
        self.weight = math.log(stride)

    def widen(self, rows: Array, extra: float) -> Array:
        """[n, n_state] -> [n, n_head * (head + 1)], `extra` as each head's last component."""
        rows = rows.astype(np.float32).reshape(rows.shape[0], self.n_head, self.head)
        column = np.full((rows.shape[0], self.n_head, 1), extra, np.float32)
        wide: Array = np.concatenate([rows, column], axis=2).reshape(rows.shape[0], self.width)
        return wide

    def weight_rows(self, weight: Array) -> Array:
        """A projection's [n_state, in] -> [n_head * (head + 1), in]; the extra outputs are 0."""
        rows: Array = self.widen(weight.T, 0.0).T
        return rows

    def bias(self, bias: Array | None, extra: float) -> Array:
        """A projection's bias -> the widened one."""
        flat = np.zeros(self.n_state, np.float32) if bias is None else bias
        row: Array = self.widen(flat[None], extra)[0]
        return row


def _tail_slice(g: GraphBuilder, length: str, stride: int) -> str:
    """First tail row that lies wholly behind the real positions: ceil(length / stride), int64[1]."""
    rounded = g.node("Add", [length, g.ints(stride - 1)])
    return str(g.node("Div", [rounded, g.ints(stride)]))


def _rows_from(g: GraphBuilder, name: str, value: Array, start: str, axis: int) -> str:
    """The tail rows from `start` on. They stay float16, in the mapped file, until a clip needs them."""
    rows = g.node("Slice", [g.constant(name, value), start, g.ints(value.shape[axis]), g.ints(axis)])
    return str(g.node("Cast", [rows], to=1))


def write_encoder(w: Weights, tail: Tail, weight_range: int | None, folder: Path) -> list[str]:
    """mel float32[1, n_mels, T] (T even) -> ck{i}, cv{i} of every decoder layer i.

    Both are float32[1, n_head, L + tail rows, head + 1], L = T / 2.
    """
    d, t = w.dims, w.tensors
    g = GraphBuilder("encoder", weight_range)
    heads = _Heads(d.n_head, d.n_state, tail.stride)
    x = "mel"
    for name, stride in (("conv1", 1), ("conv2", 2)):
        kernel = g.constant(f"{name}.w", t[f"encoder.{name}.weight"].astype(np.float32))
        offset = g.constant(f"{name}.b", t[f"encoder.{name}.bias"].astype(np.float32))
        x = g.node("Conv", [x, kernel, offset], kernel_shape=[3], pads=[1, 1], strides=[stride])
        x = g.node("Gelu", [x], domain=CONTRIB)
    x = g.node("Transpose", [x], perm=[0, 2, 1])
    length = g.node("Shape", [x], start=1, end=2)
    positions = g.constant("positions", t["encoder.positional_embedding"].astype(np.float16))
    positions = g.node("Slice", [positions, g.ints(0), length, g.ints(0)])
    residual = g.node("Add", [x, g.node("Cast", [positions], to=1)])
    first = _tail_slice(g, length, tail.stride)
    blocks = [f"encoder.blocks.{i}" for i in range(d.n_audio_layer)]
    normed = _norm(g, residual, t, f"{blocks[0]}.attn_ln")
    for i, b in enumerate(blocks):
        shared = g.quantise(normed)
        query, key, value = (t[f"{b}.attn.{part}.weight"] for part in ("query", "key", "value"))
        q = g.linear(shared, f"{b}.q", heads.weight_rows(query), heads.bias(t[f"{b}.attn.query.bias"], 1.0))
        k = g.linear(shared, f"{b}.k", heads.weight_rows(key), heads.bias(None, 0.0))
        v = g.linear(shared, f"{b}.v", value, t[f"{b}.attn.value.bias"])
        tail_k = heads.widen(tail.encoder_k[i], heads.weight / heads.scale).astype(np.float16)[None]
        k = g.node("Concat", [k, _rows_from(g, f"{b}.tail_k", tail_k, first, 1)], axis=1)
        v = g.node("Concat", [v, _rows_from(g, f"{b}.tail_v", tail.encoder_v[i][None], first, 1)], axis=1)
        x = g.node("MultiHeadAttention", [q, k, v], domain=CONTRIB, num_heads=d.n_head, scale=heads.scale)
        x = g.linear(x, f"{b}.out", t[f"{b}.attn.out.weight"], t[f"{b}.attn.out.bias"])
        normed, residual = _add_norm(g, x, residual, t, f"{b}.mlp_ln")
        x = _mlp(g, normed, t, b)
        following = f"{blocks[i + 1]}.attn_ln" if i + 1 < len(blocks) else "encoder.ln_post"
        normed, residual = _add_norm(g, x, residual, t, following)
    outputs = _cross(g, w, heads, tail, normed, first)
    return g.write(folder, [tensor_input("mel", [1, d.n_mels, "T"])], outputs)


def _cross(g: GraphBuilder, w: Weights, heads: _Heads, tail: Tail, x: str, first: str) -> list[Any]:
    """Every decoder layer's cross-attention keys and values, in the layout its attention reads."""
    d, t = w.dims, w.tensors
    shared = g.quantise(x)
    outputs = []
    for i in range(d.n_text_layer):
        b = f"decoder.blocks.{i}.cross_attn"
        tail_k, tail_v = heads.widen(tail.cross_k[i], heads.weight), heads.widen(tail.cross_v[i], 0.0)
        for name, kind, bias, rows in (("k", "key", None, tail_k), ("v", "value", t[f"{b}.value.bias"], tail_v)):
            weight = heads.weight_rows(t[f"{b}.{kind}.weight"])
            part = g.linear(shared, f"{b}.{kind}", weight, heads.bias(bias, 0.0))
            split = g.node("Reshape", [part, g.ints(1, -1, d.n_head, heads.head + 1)])
            split = g.node("Transpose", [split], perm=[0, 2, 1, 3])
            by_head = rows.astype(np.float16).reshape(1, -1, d.n_head, heads.head + 1).transpose(0, 2, 1, 3)
            quiet = _rows_from(g, f"{b}.tail_{name}", by_head, first, 2)
            g.node("Concat", [split, quiet], [f"c{name}{i}"], axis=2)
            outputs.append(tensor_input(f"c{name}{i}", [1, d.n_head, "K", heads.head + 1]))
    return outputs


def write_decoder(w: Weights, stride: int, weight_range: int | None, folder: Path) -> list[str]:
    """x, rows, ck{i}, cv{i}, pk{i}, pv{i} -> hidden, nk{i}, nv{i}, cq{j}.

    x float32[B, S, n_state] are embedded tokens with their positions, rows int64[R] those of them for which the
    head's input hidden float32[B, R, n_state] is wanted; nk, nv: the past pk, pv float32[B, n_head, P, head] and S
    more;
    cq float32[B, S, n_head * (head + 1)]: what meets ck, in each layer j with a head that follows the audio.

    The B hypotheses read one audio, so ck and cv have no batch: to their attention, which has no mask and no
    order, the queries of all are one sequence.
    """
    d, t = w.dims, w.tensors
    g = GraphBuilder("decoder", weight_range)
    heads = _Heads(d.n_head, d.n_state, stride)
    head, scale = heads.head, np.float32(heads.scale)
    inputs = [tensor_input("x", ["B", "S", d.n_state]), tensor_input("rows", ["R"], INT64)]
    outputs = [tensor_input("hidden", ["B", "R", d.n_state])]
    aligned = {layer for layer, _ in w.aligning_heads}
    by_hypothesis = g.node("Concat", [g.node("Shape", ["x"], start=0, end=2), g.ints(heads.width)], axis=0)
    residual = "x"
    blocks = [f"decoder.blocks.{i}" for i in range(d.n_text_layer)]
    normed = _norm(g, residual, t, f"{blocks[0]}.attn_ln")
    for i, b in enumerate(blocks):
        query, key, value = (t[f"{b}.attn.{p}.weight"].astype(np.float32) for p in ("query", "key", "value"))
        weight = np.concatenate([query * scale, key, value])
        no_bias = np.zeros(d.n_state, np.float32)  # Whisper's keys have none
        query_bias = t[f"{b}.attn.query.bias"].astype(np.float32) * scale
        bias = np.concatenate([query_bias, no_bias, t[f"{b}.attn.value.bias"].astype(np.float32)])
        qkv = g.linear(normed, f"{b}.qkv", weight, bias)
        q, k, v = g.node("Split", [qkv, g.ints(d.n_state, d.n_state, d.n_state)], 3, axis=2)
        x, _, _ = g.node(
            "MultiHeadAttention",
            [q, k, v, "", "", "", f"pk{i}", f"pv{i}"],
            [f"self_{i}", f"nk{i}", f"nv{i}"],
            domain=CONTRIB,
            num_heads=d.n_head,
            scale=1.0,
            unidirectional=1,
        )
        x = g.linear(x, f"{b}.out", t[f"{b}.attn.out.weight"], t[f"{b}.attn.out.bias"])
        normed, residual = _add_norm(g, x, residual, t, f"{b}.cross_attn_ln")
        query = heads.weight_rows(t[f"{b}.cross_attn.query.weight"]) * scale
        query_bias = heads.bias(t[f"{b}.cross_attn.query.bias"] * scale, 1.0)
        q = g.linear(normed, f"{b}.cross_q", query, query_bias)
        if i in aligned:
            q = g.node("Identity", [q], [f"cq{i}"])
            outputs.append(tensor_input(f"cq{i}", ["B", "S", heads.width]))
        x = g.node(
            "MultiHeadAttention",
            [g.node("Reshape", [q, g.ints(1, -1, heads.width)]), f"ck{i}", f"cv{i}"],
            domain=CONTRIB,
            num_heads=d.n_head,
            scale=1.0,
        )
        x = g.node("Reshape", [x, by_hypothesis])
        # The operator wants values as wide as keys; what their extra component weighs is 0.
        weight = heads.widen(t[f"{b}.cross_attn.out.weight"], 0.0)
        x = g.linear(x, f"{b}.cross_out", weight, t[f"{b}.cross_attn.out.bias"])
        normed, residual = _add_norm(g, x, residual, t, f"{b}.mlp_ln")
        x = _mlp(g, normed, t, b)
        following = f"{blocks[i + 1]}.attn_ln" if i + 1 < len(blocks) else "decoder.ln"
        normed, residual = _add_norm(g, x, residual, t, following)
        inputs += [
            tensor_input(f"ck{i}", [1, d.n_head, "K", head + 1]),
            tensor_input(f"cv{i}", [1, d.n_head, "K", head + 1]),
            tensor_input(f"pk{i}", ["B", d.n_head, "P", head]),
            tensor_input(f"pv{i}", ["B", d.n_head, "P", head]),
        ]
        outputs += [
            tensor_input(f"nk{i}", ["B", d.n_head, "N", head]),
            tensor_input(f"nv{i}", ["B", d.n_head, "N", head]),
        ]
    g.node("Gather", [normed, "rows"], ["hidden"], axis=1)
    return g.write(folder, inputs, outputs)


def write_head(w: Weights, weight_range: int | None, folder: Path) -> list[str]:
    """hidden float32[B, R, n_state] -> logits float32[B, R, n_vocab]; and what the daemon looks up in."""
    d = w.dims
    table = w.tensors["decoder.token_embedding.weight"].astype(np.float32)
    position = w.tensors["decoder.positional_embedding"].astype("<f2")
    (folder / POSITION_FILE).write_bytes(position.tobytes())
    files = [EMBEDDING_FILE, POSITION_FILE]
    if weight_range is None:
        (folder / EMBEDDING_FILE).write_bytes(table.astype("<f4").tobytes())
    else:
        levels, scale = quantise_columns(table, weight_range)
        (folder / EMBEDDING_FILE).write_bytes(levels.tobytes())
        (folder / EMBEDDING_SCALE_FILE).write_bytes(scale.astype("<f4").tobytes())
        files.append(EMBEDDING_SCALE_FILE)
    g = GraphBuilder("head", weight_range)
    g.node("Identity", [g.linear("hidden", "head", table)], ["logits"])
    inputs = [tensor_input("hidden", ["B", "R", d.n_state])]
    return g.write(folder, inputs, [tensor_input("logits", ["B", "R", d.n_vocab])]) + files


def _mlp(g: GraphBuilder, x: str, t: dict[str, Array], block: str) -> str:
    inner, inner_bias = t[f"{block}.mlp.0.weight"], t[f"{block}.mlp.0.bias"]
    outer = t[f"{block}.mlp.2.weight"]
    wild = wild_units(inner, inner_bias, t[f"{block}.mlp_ln.weight"], t[f"{block}.mlp_ln.bias"])
    apart = None
    if g.weight_range is not None and len(wild):
        apart = g.node(
            "Gelu", [g.linear_fp32(x, f"{block}.wild.0", inner[wild], inner_bias[wild])], domain=CONTRIB
        )
        apart = g.linear_fp32(apart, f"{block}.wild.2", outer[:, wild])
        inner, inner_bias, outer = inner.copy(), inner_bias.copy(), outer.copy()
        inner[wild] = inner_bias[wild] = outer[:, wild] = 0
    x = g.linear(x, f"{block}.mlp.0", inner, inner_bias)
    x = g.node("Gelu", [x], domain=CONTRIB)
    x = g.linear(x, f"{block}.mlp.2", outer, t[f"{block}.mlp.2.bias"])
    return x if apart is None else str(g.node("Add", [x, apart]))


def _norm(g: GraphBuilder, x: str, t: dict[str, Array], name: str) -> str:
    return g.layer_norm(x, name, t[f"{name}.weight"], t[f"{name}.bias"])


def _add_norm(g: GraphBuilder, x: str, skip: str, t: dict[str, Array], name: str) -> tuple[str, str]:
    return g.add_norm(x, skip, name, t[f"{name}.weight"], t[f"{name}.bias"])
