"""Reader of Whisper checkpoints in CTranslate2's format: ``model.bin``, ``tokenizer.json``, ``config.json``.

``model.bin`` (CTranslate2 ``python/ctranslate2/specs/model_spec.py``, binary version 6), all little-endian:

    uint32 version, string spec name, uint32 revision,
    uint32 count of variables, then for each:
        string name, uint8 rank, uint32[rank] shape, uint8 type, uint32 bytes, data
    uint32 count of aliases, then for each: string alias, string name of a variable

where a string is uint16 length, that many bytes, the last one zero. Tensors that are equal are stored once
and aliased. Query, key and value projections are stored fused, with zeros for the bias that Whisper's key
projection does not have.
"""

from __future__ import annotations

import math
import struct
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple

import numpy as np

from .weights import (
    Array,
    Dimensions,
    SpecialTokens,
    Weights,
    WeightsError,
    check_dimensions,
    expected_shapes,
    head_pairs,
    int_tuple,
    parse_json,
    parse_special_tokens,
    read_small,
    sha256_bytes,
    sha256_file,
    validate,
)

BINARY_VERSION = 6
SPEC_NAME = "WhisperSpec"
SPEC_REVISION = 3

_DTYPES: tuple[tuple[str, int], ...] = (
    ("float32", 4),
    ("int8", 1),
    ("int16", 2),
    ("int32", 4),
    ("float16", 2),
    ("bfloat16", 2),
)
"""Name and width of each type id (CTranslate2 ``include/ctranslate2/types.h``)."""

_MAX_RANK = 4
_MAX_NAME = 256
_MAX_VARIABLES = 10_000

_SWITCHES: dict[str, int] = {
    "decoder/activation": 3,
    "encoder/activation": 3,
    "decoder/pre_norm": 1,
    "encoder/pre_norm": 1,
    "decoder/alibi": 0,
    "decoder/alibi_use_positive_positions": 0,
    "decoder/scale_alibi": 0,
    "decoder/scale_embeddings": 0,
    "decoder/start_from_zero_embedding": 0,
}
"""What the flags of Whisper's architecture must say where they are stored; activation 3 is the exact GELU."""

_IGNORED = frozenset({"decoder/alignment_layer", "decoder/alignment_heads"})
"""Settings of CTranslate2's own run time. The heads that follow the audio are in ``config.json``."""


class Variable(NamedTuple):
    """One entry of ``model.bin``: the array, and the offset of its record in the file."""

    array: Array
    offset: int


class _Cursor:
    """Reads fields of a file front to back, and never asks for more than the file has left."""

    def __init__(self, file: BinaryIO, size: int, path: Path) -> None:
        self.file = file
        self.size = size
        self.path = path
        self.offset = 0
        self.what = "the header"

    def error(self, text: str) -> WeightsError:
        return WeightsError(f"{self.path}: byte {self.offset}, {self.what}: {text}")

    def require(self, count: int) -> None:
        left = self.size - self.offset
        if count > left:
            raise self.error(f"{count} bytes wanted but {left} left: the file is truncated or damaged")

    def take(self, count: int) -> bytes:
        self.require(count)
        data = self.file.read(count)
        if len(data) != count:
            raise self.error("the file became shorter while it was read")
        self.offset += count
        return data

    def uint(self, code: str) -> int:
        value: int = struct.unpack("<" + code, self.take(struct.calcsize("<" + code)))[0]
        return value

    def string(self) -> str:
        length = self.uint("H")
        if not 1 < length <= _MAX_NAME:
            raise self.error(f"a name of {length} bytes")
        data = self.take(length)
        try:
            if data[-1] == 0:
                return data[:-1].decode("ascii")
        except UnicodeDecodeError:
            pass
        raise self.error(f"not a name: {data[:32]!r}")

    def count(self, kind: str) -> int:
        value = self.uint("I")
        if value > _MAX_VARIABLES:
            raise self.error(f"{value} {kind}, at most {_MAX_VARIABLES} expected")
        return value


def read_variables(path: Path) -> dict[str, Variable]:
    """All variables of a ``model.bin``, aliases resolved (they share one array).

    Raises `WeightsError` naming file, byte offset and variable for anything that is not a whole float16 or
    float32 Whisper model of the supported version.
    """
    try:
        with path.open("rb") as file:
            return _read(_Cursor(file, path.stat().st_size, path))
    except FileNotFoundError:
        raise WeightsError(f"{path} is missing: it holds the tensors") from None
    except OSError as error:
        raise WeightsError(f"{path}: {error.strerror}") from None


def _read(cursor: _Cursor) -> dict[str, Variable]:
    version = cursor.uint("I")
    if version != BINARY_VERSION:
        raise WeightsError(
            f"{cursor.path}: CTranslate2 binary version {version} (or another kind of file), "
            f"only version {BINARY_VERSION} is supported: convert the model again with CTranslate2 3 or 4"
        )
    name = cursor.string()
    revision = cursor.uint("I")
    if (name, revision) != (SPEC_NAME, SPEC_REVISION):
        raise WeightsError(
            f"{cursor.path}: a {name} model of revision {revision}, expected {SPEC_NAME} {SPEC_REVISION}"
        )
    variables: dict[str, Variable] = {}
    for index in range(cursor.count("variables")):
        cursor.what = f"variable {index}"
        offset = cursor.offset
        name = cursor.string()
        cursor.what = f"variable {name}"
        if name in variables:
            raise cursor.error("stored twice")
        variables[name] = Variable(_read_array(cursor, name), offset)
    cursor.what = "the aliases"
    for _ in range(cursor.count("aliases")):
        offset = cursor.offset
        alias, name = cursor.string(), cursor.string()
        if alias in variables or name not in variables:
            raise cursor.error(f"{alias} cannot be another name of {name}")
        variables[alias] = Variable(variables[name].array, offset)
    if cursor.offset != cursor.size:
        raise cursor.error(f"{cursor.size - cursor.offset} bytes after the end of the model")
    return variables


def _read_array(cursor: _Cursor, name: str) -> Array:
    rank = cursor.uint("B")
    if rank > _MAX_RANK:
        raise cursor.error(f"rank {rank}, at most {_MAX_RANK} expected")
    shape = tuple(cursor.uint("I") for _ in range(rank))
    type_id = cursor.uint("B")
    if type_id >= len(_DTYPES):
        raise cursor.error(f"unknown type {type_id}")
    dtype, width = _DTYPES[type_id]
    if name.endswith("_scale") or (rank > 0 and dtype.startswith("int")):
        raise cursor.error("a quantised model: float16 or float32 weights are needed")
    if dtype == "bfloat16":
        raise cursor.error("bfloat16: float16 or float32 weights are needed")
    stored = cursor.uint("I")
    if stored != math.prod(shape) * width:
        raise cursor.error(f"{stored} bytes stored for shape {list(shape)} of {dtype}")
    data = cursor.take(stored)
    return np.frombuffer(data, dtype=np.dtype(dtype).newbyteorder("<")).reshape(shape)


class _Mapper:
    """Takes the variables one by one, under openai/whisper's names, and remembers which are left."""

    def __init__(self, variables: dict[str, Variable], path: Path) -> None:
        self.variables = variables
        self.path = path
        self.taken: set[str] = set(_IGNORED)
        self.tensors: dict[str, Array] = {}

    def error(self, name: str, text: str) -> WeightsError:
        at = f"byte {self.variables[name].offset}, " if name in self.variables else ""
        return WeightsError(f"{self.path}: {at}variable {name}: {text}")

    def get(self, name: str, rank: int | None = None) -> Array:
        if name not in self.variables:
            raise self.error(name, "missing")
        self.taken.add(name)
        array = self.variables[name].array
        if rank is not None and array.ndim != rank:
            raise self.error(name, f"shape {list(array.shape)}, expected {rank} axes")
        return array

    def check_switches(self) -> None:
        for name, value in _SWITCHES.items():
            if name in self.variables and int(self.get(name, rank=0)) != value:
                stored = self.get(name).tolist()
                raise self.error(name, f"is {stored}, but Whisper has {value}: unknown architecture")

    def dimensions(self) -> Dimensions:
        n_vocab, n_state = self.get("decoder/embeddings/weight", rank=2).shape
        n_head = int(self.get("encoder/num_heads", rank=0))
        if int(self.get("decoder/num_heads", rank=0)) != n_head:
            raise self.error("decoder/num_heads", "encoder and decoder differ")
        dims = Dimensions(
            n_mels=self.get("encoder/conv1/weight", rank=3).shape[1],
            n_audio_ctx=self.get("encoder/position_encodings/encodings", rank=2).shape[0],
            n_state=n_state,
            n_head=n_head,
            n_audio_layer=self._layers("encoder"),
            n_text_layer=self._layers("decoder"),
            n_text_ctx=self.get("decoder/position_encodings/encodings", rank=2).shape[0],
            n_vocab=n_vocab,
        )
        try:
            check_dimensions(dims)
        except WeightsError as error:
            raise WeightsError(f"{self.path}: {error}") from None
        self.shapes = expected_shapes(dims)
        return dims

    def _layers(self, side: str) -> int:
        prefix = f"{side}/layer_"
        numbers = {name[len(prefix) :].split("/")[0] for name in self.variables if name.startswith(prefix)}
        return sum(number.isdecimal() for number in numbers)

    def put(self, target: str, source: str, array: Array | None = None) -> None:
        # Checked here, where the variable and its offset are still known; `validate` looks at the whole.
        array = self.get(source) if array is None else array
        if array.shape != self.shapes[target]:
            shape, wanted = list(array.shape), list(self.shapes[target])
            raise self.error(source, f"gives {target} the shape {shape}, expected {wanted}")
        self.tensors[target] = array

    def linear(self, target: str, source: str) -> None:
        for kind in ("weight", "bias"):
            self.put(f"{target}.{kind}", f"{source}/{kind}")

    def norm(self, target: str, source: str) -> None:
        self.put(f"{target}.weight", f"{source}/gamma")
        self.put(f"{target}.bias", f"{source}/beta")

    def fused(self, target: str, source: str, parts: tuple[str, ...]) -> None:
        width = self.shapes["decoder.ln.bias"][0]
        for kind in ("weight", "bias"):
            name = f"{source}/{kind}"
            array = self.get(name)
            if array.ndim == 0 or array.shape[0] != len(parts) * width:
                raise self.error(name, f"shape {list(array.shape)}, expected {len(parts)} x {width} rows")
            for part, rows in zip(parts, np.split(array, len(parts)), strict=True):
                if (part, kind) != ("key", "bias"):
                    # With memory of its own, so that a caller can let go of one without the others.
                    self.put(f"{target}.{part}.{kind}", name, rows.copy())
                elif rows.any():
                    raise self.error(name, "the key projection has a bias, which Whisper's has not")

    def block(self, target: str, source: str, *, cross: bool) -> None:
        self.fused(f"{target}.attn", f"{source}/self_attention/linear_0", ("query", "key", "value"))
        self.linear(f"{target}.attn.out", f"{source}/self_attention/linear_1")
        self.norm(f"{target}.attn_ln", f"{source}/self_attention/layer_norm")
        if cross:
            self.linear(f"{target}.cross_attn.query", f"{source}/attention/linear_0")
            self.fused(f"{target}.cross_attn", f"{source}/attention/linear_1", ("key", "value"))
            self.linear(f"{target}.cross_attn.out", f"{source}/attention/linear_2")
            self.norm(f"{target}.cross_attn_ln", f"{source}/attention/layer_norm")
        self.linear(f"{target}.mlp.0", f"{source}/ffn/linear_0")
        self.linear(f"{target}.mlp.2", f"{source}/ffn/linear_1")
        self.norm(f"{target}.mlp_ln", f"{source}/ffn/layer_norm")


def canonical_tensors(variables: dict[str, Variable], path: Path) -> tuple[Dimensions, dict[str, Array]]:
    """Give CTranslate2's variables the names and layout of openai/whisper, and find the dimensions.

    Raises `WeightsError` naming the variable that is missing, unknown, or not as Whisper has it.
    """
    mapper = _Mapper(variables, path)
    mapper.check_switches()
    dims = mapper.dimensions()
    for side, layers, norm in (
        ("encoder", dims.n_audio_layer, "encoder.ln_post"),
        ("decoder", dims.n_text_layer, "decoder.ln"),
    ):
        mapper.put(f"{side}.positional_embedding", f"{side}/position_encodings/encodings")
        for layer in range(layers):
            mapper.block(f"{side}.blocks.{layer}", f"{side}/layer_{layer}", cross=side == "decoder")
        mapper.norm(norm, f"{side}/layer_norm")
    mapper.linear("encoder.conv1", "encoder/conv1")
    mapper.linear("encoder.conv2", "encoder/conv2")
    mapper.put("decoder.token_embedding.weight", "decoder/embeddings/weight")
    head = "decoder/projection/weight"
    if not np.array_equal(mapper.get(head), mapper.get("decoder/embeddings/weight")):
        raise mapper.error(head, "not the token embedding, to which Whisper ties it")
    unknown = sorted(set(variables) - mapper.taken)
    if unknown:
        raise mapper.error(unknown[0], "not part of a Whisper model")
    return dims, mapper.tensors


def load(folder: Path, *, source: str | None = None, licence: str = "not stated") -> Weights:
    """Read and validate a CTranslate2 folder; raises `WeightsError`."""
    model = folder / "model.bin"
    tokenizer_path, config_path = folder / "tokenizer.json", folder / "config.json"
    tokenizer = read_small(tokenizer_path, "the vocabulary and the special tokens")
    config_bytes = read_small(config_path, "the tokens to suppress and the languages")
    config = parse_json(config_bytes, where=str(config_path))
    special, multilingual = parse_special_tokens(tokenizer, where=str(tokenizer_path))
    if multilingual:
        _check_languages(config, special, config_path)
    dims, tensors = canonical_tensors(read_variables(model), model)
    digest = sha256_file(model)
    weights = Weights(
        dims=dims,
        tensors=tensors,
        tokenizer_json=tokenizer,
        special=special,
        suppress=int_tuple(config, "suppress_ids", where=str(config_path)),
        suppress_begin=int_tuple(config, "suppress_ids_begin", where=str(config_path)),
        alignment_heads=head_pairs(config, where=str(config_path)),
        multilingual=multilingual,
        source=source or f"CTranslate2 model.bin {digest[:16]}",
        licence=licence,
        sha256={
            "model.bin": digest,
            "tokenizer.json": sha256_bytes(tokenizer),
            "config.json": sha256_bytes(config_bytes),
        },
    )
    try:
        validate(weights)
    except WeightsError as error:
        raise WeightsError(f"{folder}: {error}") from None
    return weights


def _check_languages(config: dict[str, Any], special: SpecialTokens, path: Path) -> None:
    """Compare the language tokens of the two files.

    Not done for English-only models: CTranslate2's converter numbers their (unused) languages from the
    multilingual start, one off from their own tokenizer.
    """
    listed = set(int_tuple(config, "lang_ids", where=str(path)))
    ours = set(special.languages.values())
    if listed != ours:
        odd = min(listed ^ ours)
        raise WeightsError(f"{path}: lang_ids and tokenizer.json disagree about token {odd}")
