"""A Whisper checkpoint, independent of the file format it came in.

Every reader (`ctranslate2`, `safetensors_source`) gives a `Weights`: the tensors under the names and in the
layout of the reference implementation (openai/whisper, ``model.py``), the tokenizer, and the token ids that
decoding needs. `validate` is what stands between a reader and the graph builder: after it, every tensor is
there with the shape that the dimensions call for, and nothing else is.
"""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

HEAD_WIDTH = 64
"""Width of one attention head. All released Whisper sizes have it, and the graphs are built for it."""

N_TIMESTAMPS = 1501
"""Timestamp tokens: 0.00 s to 30.00 s in steps of 20 ms, always the last ids of the vocabulary."""

ENGLISH_ONLY_EOT = 50256
"""End of text of the English-only models, which kept GPT-2's vocabulary; the multilingual one is larger."""

MAX_JSON_BYTES = 64 * 2**20
"""Bound of each JSON file beside the tensors. A multilingual ``tokenizer.json`` has 4 MB."""

_BOUNDS = {
    "n_mels": (1, 256),
    "n_audio_ctx": (1, 1500),
    "n_state": (HEAD_WIDTH, 4096),
    "n_head": (1, 64),
    "n_audio_layer": (1, 64),
    "n_text_layer": (1, 64),
    "n_text_ctx": (1, 448),
    "n_vocab": (1, 100_000),
}

Array = npt.NDArray[Any]


class WeightsError(Exception):
    """The checkpoint cannot be used. One sentence that names the file or tensor, fit to be shown as it is."""


@dataclass(frozen=True)
class Dimensions:
    """Sizes of one Whisper model; names as in openai/whisper's ``ModelDimensions``.

    ``n_state`` is the width of encoder and decoder (d_model), ``n_head`` their number of attention heads.
    """

    n_mels: int
    n_audio_ctx: int
    n_state: int
    n_head: int
    n_audio_layer: int
    n_text_layer: int
    n_text_ctx: int
    n_vocab: int


@dataclass(frozen=True)
class SpecialTokens:
    """Ids of the tokens that steer decoding.

    ``languages`` maps a language code to its token. An English-only model knows just ``en``, and its
    prompt has neither language nor task in it.
    """

    sot: int
    eot: int
    transcribe: int
    translate: int
    sot_prev: int
    sot_lm: int
    no_speech: int
    no_timestamps: int
    timestamp_begin: int
    languages: dict[str, int]


@dataclass(frozen=True)
class Weights:
    """One checkpoint: tensors by openai/whisper's names, float16 or float32 exactly as stored.

    ``alignment_heads`` are (decoder layer, head) pairs whose cross-attention follows the audio; empty where
    the source does not name them. ``source`` is one line without any path, so that it may stand in a file
    whose bytes must not depend on the PC. ``sha256`` has the hex digest of each file that was read, by its
    name.
    """

    dims: Dimensions
    tensors: dict[str, Array]
    tokenizer_json: bytes
    special: SpecialTokens
    suppress: tuple[int, ...]
    suppress_begin: tuple[int, ...]
    alignment_heads: tuple[tuple[int, int], ...]
    multilingual: bool
    source: str
    licence: str
    sha256: dict[str, str]

    @property
    def aligning_heads(self) -> tuple[tuple[int, int], ...]:
        """``alignment_heads``, or as the reference has it all heads of the later half of the decoder's layers."""
        layers = range(self.dims.n_text_layer // 2, self.dims.n_text_layer)
        return self.alignment_heads or tuple((i, head) for i in layers for head in range(self.dims.n_head))


def expected_shapes(dims: Dimensions) -> dict[str, tuple[int, ...]]:
    """Name and shape of every tensor of a model with these dimensions."""
    d = dims.n_state
    shapes: dict[str, tuple[int, ...]] = {}

    def norm(name: str) -> None:
        shapes[f"{name}.weight"] = (d,)
        shapes[f"{name}.bias"] = (d,)

    def linear(name: str, rows: int, columns: int, *, bias: bool = True) -> None:
        shapes[f"{name}.weight"] = (rows, columns)
        if bias:
            shapes[f"{name}.bias"] = (rows,)

    def attention(name: str) -> None:
        linear(f"{name}.query", d, d)
        linear(f"{name}.key", d, d, bias=False)
        linear(f"{name}.value", d, d)
        linear(f"{name}.out", d, d)
        norm(f"{name}_ln")

    def mlp(block: str) -> None:
        linear(f"{block}.mlp.0", 4 * d, d)
        linear(f"{block}.mlp.2", d, 4 * d)
        norm(f"{block}.mlp_ln")

    shapes["encoder.conv1.weight"] = (d, dims.n_mels, 3)
    shapes["encoder.conv1.bias"] = (d,)
    shapes["encoder.conv2.weight"] = (d, d, 3)
    shapes["encoder.conv2.bias"] = (d,)
    shapes["encoder.positional_embedding"] = (dims.n_audio_ctx, d)
    for layer in range(dims.n_audio_layer):
        attention(f"encoder.blocks.{layer}.attn")
        mlp(f"encoder.blocks.{layer}")
    norm("encoder.ln_post")
    shapes["decoder.token_embedding.weight"] = (dims.n_vocab, d)
    shapes["decoder.positional_embedding"] = (dims.n_text_ctx, d)
    for layer in range(dims.n_text_layer):
        attention(f"decoder.blocks.{layer}.attn")
        attention(f"decoder.blocks.{layer}.cross_attn")
        mlp(f"decoder.blocks.{layer}")
    norm("decoder.ln")
    return shapes


def check_dimensions(dims: Dimensions) -> None:
    """Raise `WeightsError` for sizes that no Whisper model has."""
    for name, (low, high) in _BOUNDS.items():
        value = getattr(dims, name)
        if not low <= value <= high:
            raise WeightsError(f"{name} is {value}, expected {low} to {high}")
    if dims.n_state != HEAD_WIDTH * dims.n_head:
        raise WeightsError(
            f"{dims.n_head} attention heads over a width of {dims.n_state}: "
            f"a Whisper head is {HEAD_WIDTH} wide, unknown architecture"
        )


def validate(weights: Weights) -> None:
    """Check a checkpoint as a whole; raise `WeightsError` naming the first tensor or id that is wrong.

    Every expected tensor must be there with its shape, as float16 or float32 and finite; there must be no
    other; and the token ids must fit the vocabulary.
    """
    check_dimensions(weights.dims)
    shapes = expected_shapes(weights.dims)
    for name, shape in shapes.items():
        tensor = weights.tensors.get(name)
        if tensor is None:
            raise WeightsError(f"tensor {name} is missing")
        if tensor.shape != shape:
            raise WeightsError(f"tensor {name} has shape {tensor.shape}, expected {shape}")
        if tensor.dtype not in (np.float16, np.float32):
            raise WeightsError(f"tensor {name} is {tensor.dtype}, expected float16 or float32")
        if not np.isfinite(tensor).all():
            where = tuple(int(axis) for axis in np.argwhere(~np.isfinite(tensor))[0])
            raise WeightsError(f"tensor {name} is not finite at {where}")
    unknown = sorted(set(weights.tensors) - set(shapes))
    if unknown:
        more = f" and {len(unknown) - 1} more" if unknown[1:] else ""
        raise WeightsError(f"unknown tensor {unknown[0]}{more}")
    _validate_tokens(weights)


def _validate_tokens(weights: Weights) -> None:
    special, vocabulary = weights.special, weights.dims.n_vocab
    if special.timestamp_begin + N_TIMESTAMPS != vocabulary:
        raise WeightsError(
            f"the tokenizer's timestamps begin at {special.timestamp_begin}, but the model's vocabulary of "
            f"{vocabulary} calls for {vocabulary - N_TIMESTAMPS}: tokenizer.json belongs to another model"
        )
    for what, ids in (("suppress", weights.suppress), ("suppress at begin", weights.suppress_begin)):
        for token in ids:
            if not 0 <= token < vocabulary:
                raise WeightsError(f"token {token} to {what} is outside of the vocabulary of {vocabulary}")
    if special.eot not in weights.suppress_begin:
        raise WeightsError(
            f"tokens to suppress at begin {weights.suppress_begin} lack the end of text {special.eot}: "
            "tokenizer and configuration belong to different models"
        )
    for layer, head in weights.alignment_heads:
        if not (0 <= layer < weights.dims.n_text_layer and 0 <= head < weights.dims.n_head):
            raise WeightsError(f"alignment head {head} of layer {layer} is outside of the model")


def parse_special_tokens(tokenizer_json: bytes, *, where: str) -> tuple[SpecialTokens, bool]:
    """Find the special tokens in a ``tokenizer.json``; the second value says whether it is multilingual.

    The ids come from the tokenizer and not from a table: English-only models have them one lower, and later
    models have more languages. Raises `WeightsError` that begins with ``where``.
    """
    document = parse_json(tokenizer_json, where=where)
    try:
        vocabulary: dict[str, int] = dict(document["model"]["vocab"])
        added = {str(token["content"]): int(token["id"]) for token in document["added_tokens"]}
    except (KeyError, TypeError, ValueError) as error:
        raise WeightsError(f"{where}: not a tokenizer: no usable {error}") from None

    def need(*names: str) -> int:
        for name in names:
            if name in added:
                return added[name]
        raise WeightsError(f"{where}: special token {' or '.join(names)} is missing: not Whisper's tokenizer")

    sot, transcribe, translate = need("<|startoftranscript|>"), need("<|transcribe|>"), need("<|translate|>")
    no_timestamps = need("<|notimestamps|>")
    languages = {
        name[2:-2]: token
        for name, token in sorted(added.items(), key=lambda item: item[1])
        if sot < token < min(transcribe, translate) and name.startswith("<|") and name.endswith("|>")
    }
    known = {token for token in vocabulary.values() if isinstance(token, int)} | set(added.values())
    absent = set(range(no_timestamps + 1)) - known
    if absent:
        raise WeightsError(f"{where}: no token has the id {min(absent)}: incomplete vocabulary")
    if "en" not in languages or len(languages) != min(transcribe, translate) - sot - 1:
        raise WeightsError(f"{where}: the tokens between {sot} and {transcribe} are not one language each")
    eot = need("<|endoftext|>")
    multilingual = eot != ENGLISH_ONLY_EOT
    special = SpecialTokens(
        sot=sot,
        eot=eot,
        transcribe=transcribe,
        translate=translate,
        sot_prev=need("<|startofprev|>"),
        sot_lm=need("<|startoflm|>"),
        no_speech=need("<|nospeech|>", "<|nocaptions|>"),
        no_timestamps=no_timestamps,
        timestamp_begin=no_timestamps + 1,
        languages=languages if multilingual else {"en": languages["en"]},
    )
    return special, multilingual


def sinusoids(length: int, channels: int) -> npt.NDArray[np.float32]:
    """Whisper's fixed position table of the encoder, float32[length, channels].

    For checkpoints that leave it out (openai/whisper ``model.py``, ``sinusoids``). Sine and cosine come from
    the C library in double precision and are rounded once: numpy's own vary in the last bit with the CPU.
    """
    half = channels // 2
    scales = [math.exp(-math.log(10_000) / (half - 1) * index) for index in range(half)]
    table = np.empty((length, channels), dtype=np.float32)
    for position in range(length):
        table[position, :half] = [math.sin(position * scale) for scale in scales]
        table[position, half:] = [math.cos(position * scale) for scale in scales]
    return table


def read_small(path: Path, what: str) -> bytes:
    """Read one of the JSON files beside the tensors; ``what`` says in the error what it is needed for."""
    try:
        if path.stat().st_size > MAX_JSON_BYTES:
            raise WeightsError(f"{path}: over {MAX_JSON_BYTES} bytes, not {what}")
        return path.read_bytes()
    except FileNotFoundError:
        raise WeightsError(f"{path} is missing: it holds {what}") from None
    except OSError as error:
        raise WeightsError(f"{path}: {error.strerror}") from None


def parse_json(data: bytes, *, where: str) -> dict[str, Any]:
    """Parse a JSON object; raises `WeightsError` that begins with ``where``."""
    try:
        document = json.loads(data)
    except (ValueError, RecursionError) as error:
        raise WeightsError(f"{where}: not JSON: {error}") from None
    if not isinstance(document, dict):
        raise WeightsError(f"{where}: a JSON object was expected")
    return document


def int_tuple(document: Mapping[str, Any], key: str, *, where: str) -> tuple[int, ...]:
    """``document[key]`` as integers; raises `WeightsError` where it is absent or not a list."""
    value = document.get(key)
    if not isinstance(value, list) or not all(type(item) is int for item in value):
        raise WeightsError(f"{where}: {key} is not a list of token ids")
    return tuple(value)


def head_pairs(document: Mapping[str, Any], *, where: str) -> tuple[tuple[int, int], ...]:
    """``document["alignment_heads"]`` as (layer, head) pairs; empty where it is absent or null."""
    value = document.get("alignment_heads")
    if value is None:
        return ()
    try:
        return tuple((int(layer), int(head)) for layer, head in value)
    except (TypeError, ValueError):
        raise WeightsError(f"{where}: alignment_heads is not a list of [layer, head] pairs") from None


def sha256_file(path: Path) -> str:
    """Hex SHA-256 of a file, read in blocks."""
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while block := file.read(2**20):
            digest.update(block)
    return digest.hexdigest()


def sha256_bytes(data: bytes) -> str:
    """Hex SHA-256 of bytes in memory."""
    return hashlib.sha256(data).hexdigest()
