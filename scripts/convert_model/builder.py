"""A thin layer over onnx.helper: nodes with generated names, and tensors laid out in one raw data file.

Everything is in insertion order and nothing depends on the clock, the machine or the onnx release, so that
equal weights give equal bytes.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx
from onnx import TensorProto, helper

from .quantise import quantise_columns

Array = npt.NDArray[Any]

#: The operator set of Kirkstone-era ONNX Runtime; every run-time from 1.14 on reads it.
OPSET = 17
#: Written explicitly: the default would follow the installed onnx release and change the bytes.
IR_VERSION = 8
CONTRIB = "com.microsoft"
#: Tensors up to this size stay inside the .onnx file. Shape inference needs the small integer ones there; and each
#: of the others is mapped on its own, in whole pages, so that 400 biases, scales and norms would cost 2 MB.
INLINE_BYTES = 12 * 1024
#: Tensors start on a cache line, so that kernels may read a mapped file directly.
ALIGNMENT = 64

_DTYPES = {
    np.dtype(np.float32): TensorProto.FLOAT,
    np.dtype(np.float16): TensorProto.FLOAT16,
    np.dtype(np.int8): TensorProto.INT8,
    np.dtype(np.int64): TensorProto.INT64,
    np.dtype(np.int32): TensorProto.INT32,
}


@dataclass(frozen=True)
class Levels:
    """A tensor quantised at run time: x ~ (levels - zero) * step, with uint8 levels, one step and one zero."""

    levels: str
    step: str
    zero: str


class GraphBuilder:
    """Collects nodes and tensors of one graph.

    Args:
        name: graph name; `<name>.onnx` and `<name>.data` are the files written.
        weight_range: largest magnitude of an int8 weight, or None for float32 linear layers.
    """

    def __init__(self, name: str, weight_range: int | None) -> None:
        self.name = name
        self.weight_range = weight_range
        self._nodes: list[onnx.NodeProto] = []
        self._tensors: list[onnx.TensorProto] = []
        self._known: dict[str, str] = {}
        self._data = bytearray()
        self._count = 0

    # --- tensors ------------------------------------------------------------------------------------------

    def constant(self, name: str, value: Array) -> str:
        """Add a tensor to the graph and return its name; a second one with the same bytes is shared."""
        raw = np.ascontiguousarray(value)
        blob = raw.astype(raw.dtype.newbyteorder("<"), copy=False).tobytes()
        key = hashlib.sha256(f"{raw.dtype}{raw.shape}".encode() + blob).hexdigest()
        if key in self._known:
            return self._known[key]
        tensor = TensorProto(name=name, data_type=_DTYPES[raw.dtype], dims=raw.shape)
        if len(blob) <= INLINE_BYTES:
            tensor.raw_data = blob
        else:
            self._data.extend(b"\0" * (-len(self._data) % ALIGNMENT))
            tensor.data_location = TensorProto.EXTERNAL
            place = {"location": f"{self.name}.data", "offset": str(len(self._data)), "length": str(len(blob))}
            for entry, text in place.items():
                tensor.external_data.add(key=entry, value=text)
            self._data.extend(blob)
        self._tensors.append(tensor)
        self._known[key] = name
        return name

    def ints(self, *values: int) -> str:
        """An int64 vector, as shape and axis inputs want it."""
        return self.constant("i_" + "_".join(str(v) for v in values), np.array(values, np.int64))

    # --- nodes --------------------------------------------------------------------------------------------

    def node(
        self,
        op: str,
        inputs: Sequence[str],
        outputs: Sequence[str] | int = 1,
        *,
        domain: str = "",
        **attributes: Any,
    ) -> Any:
        """Add a node; returns its output's name, or the list of names where there are several."""
        if isinstance(outputs, int):
            self._count += 1
            outputs = [f"{op}_{self._count}_{i}" for i in range(outputs)]
        name = f"n{len(self._nodes)}"
        node = helper.make_node(op, list(inputs), list(outputs), name=name, domain=domain, **attributes)
        self._nodes.append(node)
        return outputs[0] if len(outputs) == 1 else list(outputs)

    def linear(self, x: str | Levels, name: str, weight: Array, bias: Array | None = None) -> str:
        """y = x W^T + b, with W given as Whisper stores it: float[out, in].

        In int8 the input is quantised per tensor at run time and W per output channel here.
        """
        if self.weight_range is None:
            assert isinstance(x, str)
            return self.linear_fp32(x, name, weight, bias)
        weight = weight.astype(np.float32)
        bias_input = [] if bias is None else [self.constant(f"{name}.b", bias.astype(np.float32))]
        rows, scale = quantise_columns(weight, self.weight_range)
        return self.quantised_matmul(x, name, self.constant(f"{name}.w", rows.T), scale, bias_input)

    def quantise(self, x: str) -> str | Levels:
        """`x` for several `linear`s: quantised once for all of them, where they are int8."""
        if self.weight_range is None:
            return x
        return Levels(*self.node("DynamicQuantizeLinear", [x], 3))

    def linear_fp32(self, x: str, name: str, weight: Array, bias: Array | None = None) -> str:
        """`linear`, in float32 whatever the rest of the graph is in."""
        bias_input = [] if bias is None else [self.constant(f"{name}.b", bias.astype(np.float32))]
        y = str(self.node("MatMul", [x, self.constant(f"{name}.w", weight.astype(np.float32).T)]))
        return y if bias is None else str(self.node("Add", [y, *bias_input]))

    def quantised_matmul(
        self, x: str | Levels, name: str, weight: str, scale: Array, bias_input: Sequence[str] = ()
    ) -> str:
        """y = x W + b with W already int8[in, out] and one scale per column."""
        zero = self.constant(f"{name}.z", np.zeros(scale.shape, np.int8))
        scales = self.constant(f"{name}.s", scale)
        if isinstance(x, Levels):
            inputs = [x.levels, weight, x.step, scales, x.zero, zero, *bias_input]
            return str(self.node("MatMulIntegerToFloat", inputs, domain=CONTRIB))
        inputs = [x, weight, scales, zero, *bias_input]
        return str(self.node("DynamicQuantizeMatMul", inputs, domain=CONTRIB))

    def layer_norm(self, x: str, name: str, gamma: Array, beta: Array) -> str:
        """LayerNormalization over the last axis, epsilon as in the reference (1e-5)."""
        inputs = [x, self.constant(f"{name}.g", gamma.astype(np.float32))]
        return str(
            self.node(
                "LayerNormalization",
                [*inputs, self.constant(f"{name}.b", beta.astype(np.float32))],
                axis=-1,
                epsilon=1e-5,
            )
        )

    def add_norm(self, x: str, skip: str, name: str, gamma: Array, beta: Array) -> tuple[str, str]:
        """(LayerNorm(x + skip), x + skip) in one operator: the next block's input and the residual stream."""
        inputs = [x, skip, self.constant(f"{name}.g", gamma.astype(np.float32))]
        inputs.append(self.constant(f"{name}.b", beta.astype(np.float32)))
        self._count += 1
        normed, total = f"norm_{self._count}", f"sum_{self._count}"
        self.node("SkipLayerNormalization", inputs, [normed, "", "", total], domain=CONTRIB, epsilon=1e-5)
        return normed, total

    # --- files --------------------------------------------------------------------------------------------

    def write(
        self,
        folder: Path,
        inputs: Sequence[onnx.ValueInfoProto],
        outputs: Sequence[onnx.ValueInfoProto],
    ) -> list[str]:
        """Write `<name>.onnx` and `<name>.data` into `folder`; returns the file names."""
        graph = helper.make_graph(self._nodes, self.name, list(inputs), list(outputs), self._tensors)
        model = helper.make_model(
            graph,
            ir_version=IR_VERSION,
            producer_name="meta-whisper",
            producer_version="",
            opset_imports=[helper.make_opsetid("", OPSET), helper.make_opsetid(CONTRIB, 1)],
        )
        (folder / f"{self.name}.onnx").write_bytes(model.SerializeToString(deterministic=True))
        (folder / f"{self.name}.data").write_bytes(self._data)
        return [f"{self.name}.onnx", f"{self.name}.data"]


def tensor_input(name: str, shape: Sequence[int | str], dtype: int = TensorProto.FLOAT) -> onnx.ValueInfoProto:
    """A graph input or output; strings in `shape` name free dimensions."""
    return helper.make_tensor_value_info(name, dtype, list(shape))
