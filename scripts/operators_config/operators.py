"""Which operators ONNX files need, before ONNX Runtime's optimisers and after them.

ONNX Runtime creates a kernel for every node that is left once its optimisers have run, and folds constants with
kernels too. So a list made from the files alone can lack what an optimiser puts in, and one made from the
optimised graph alone can lack what was folded away: both count.
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path

import onnx
import onnxruntime as ort

#: Operator names by domain ("ai.onnx" is ONNX's own) and operator set version.
Operators = dict[tuple[str, int], set[str]]

#: The daemon loads with BASIC. EXTENDED is there so that a change of level needs no other library. ALL adds
#: layouts of the processor that runs this script, which says nothing about the target's.
_LEVELS = (ort.GraphOptimizationLevel.ORT_ENABLE_BASIC, ort.GraphOptimizationLevel.ORT_ENABLE_EXTENDED)

_ERRORS_ONLY = 3
_DEFAULT_DOMAIN = "ai.onnx"
_HEADER = """\
# Operators of ONNX Runtime that our models need: domain;operator set;names.
# Made by scripts/operators_config from the bundles and the voice activity detector; do not edit.
"""


class OperatorsError(Exception):
    """A model cannot be read; the message names it."""


def of_file(path: Path) -> Operators:
    """The operators of one ONNX file, as it is and as ONNX Runtime would run it.

    Raises:
        OperatorsError: the file is no model that ONNX Runtime takes.
    """
    try:
        found = [_of_model(onnx.load(str(path), load_external_data=False))]
        with tempfile.TemporaryDirectory(prefix="operators-config-") as folder:
            for number, level in enumerate(_LEVELS):
                optimised = Path(folder) / f"{number}.onnx"
                _optimise(path, level, optimised)
                found.append(_of_model(onnx.load(str(optimised), load_external_data=False)))
    except Exception as error:  # neither onnx nor ONNX Runtime has a base class for its errors
        raise OperatorsError(f"{path}: {error}") from error
    return union(found)


def union(parts: Iterable[Mapping[tuple[str, int], set[str]]]) -> Operators:
    """All operators of all parts."""
    result: Operators = {}
    for part in parts:
        for key, names in part.items():
            result.setdefault(key, set()).update(names)
    return result


def render(operators: Mapping[tuple[str, int], set[str]]) -> str:
    """The configuration file: the same text for the same operators, whatever their order."""
    lines = [
        f"{domain};{version};{','.join(sorted(names))}\n" for (domain, version), names in sorted(operators.items())
    ]
    return _HEADER + "".join(lines)


def parse(text: str) -> Operators:
    """Read a configuration file back.

    Raises:
        OperatorsError: a line is not ``domain;version;names``.
    """
    result: Operators = {}
    for number, line in enumerate(text.splitlines(), 1):
        if not line.strip() or line.startswith("#"):
            continue
        fields = line.split(";")
        if len(fields) != 3 or not fields[1].isdecimal() or not fields[2]:
            raise OperatorsError(f"line {number}: {line!r} is not domain;version;names")
        result.setdefault((fields[0], int(fields[1])), set()).update(fields[2].split(","))
    return result


def _of_model(model: onnx.ModelProto) -> Operators:
    versions = {item.domain or _DEFAULT_DOMAIN: item.version for item in model.opset_import}
    result: Operators = {}
    for node in _nodes(model.graph):
        domain = node.domain or _DEFAULT_DOMAIN
        if domain not in versions:
            raise OperatorsError(f"node {node.name!r} is of {domain}, a domain that the model does not import")
        result.setdefault((domain, versions[domain]), set()).add(node.op_type)
    return result


def _nodes(graph: onnx.GraphProto) -> Iterator[onnx.NodeProto]:
    for node in graph.node:
        yield node
        for attribute in node.attribute:
            for inner in (attribute.g, *attribute.graphs):
                yield from _nodes(inner)


def _optimise(path: Path, level: ort.GraphOptimizationLevel, target: Path) -> None:
    options = ort.SessionOptions()
    options.graph_optimization_level = level
    options.log_severity_level = _ERRORS_ONLY
    options.optimized_model_filepath = str(target)
    # The graph is what is wanted; hundreds of megabytes of weights need not pass through protobuf for it.
    options.add_session_config_entry(
        "session.optimized_model_external_initializers_file_name", f"{target.name}.data"
    )
    ort.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
