"""Reader of Whisper checkpoints in Hugging Face's form.

A folder with ``model.safetensors``, ``tokenizer.json``, ``config.json`` and, in all but the oldest,
``generation_config.json``, as ``WhisperForConditionalGeneration.save_pretrained`` (transformers) writes it.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from safetensors import SafetensorError, safe_open

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
    sinusoids,
    validate,
)

_BLOCK_PARTS = (
    ("cross_attn_ln", "encoder_attn_layer_norm"),
    ("cross_attn.query", "encoder_attn.q_proj"),
    ("cross_attn.key", "encoder_attn.k_proj"),
    ("cross_attn.value", "encoder_attn.v_proj"),
    ("cross_attn.out", "encoder_attn.out_proj"),
    ("attn_ln", "self_attn_layer_norm"),
    ("attn.query", "self_attn.q_proj"),
    ("attn.key", "self_attn.k_proj"),
    ("attn.value", "self_attn.v_proj"),
    ("attn.out", "self_attn.out_proj"),
    ("mlp_ln", "final_layer_norm"),
    ("mlp.0", "fc1"),
    ("mlp.2", "fc2"),
)
"""Parts of a block: name in openai/whisper, name in transformers."""

_OTHER_PARTS = {
    "encoder.positional_embedding": "encoder.embed_positions.weight",
    "encoder.ln_post.weight": "encoder.layer_norm.weight",
    "encoder.ln_post.bias": "encoder.layer_norm.bias",
    "decoder.token_embedding.weight": "decoder.embed_tokens.weight",
    "decoder.positional_embedding": "decoder.embed_positions.weight",
    "decoder.ln.weight": "decoder.layer_norm.weight",
    "decoder.ln.bias": "decoder.layer_norm.bias",
}

_MAY_LACK = "encoder.positional_embedding"
"""Fixed by a formula, so some checkpoints leave it out."""

_HEAD = "proj_out.weight"
"""The output head, stored by some although it is the token embedding."""


def stored_name(canonical: str) -> str:
    """Name in ``model.safetensors``, without its ``model.`` prefix, of one of openai/whisper's tensors."""
    if canonical in _OTHER_PARTS:
        return _OTHER_PARTS[canonical]
    side, blocks, *rest = canonical.split(".")
    if blocks != "blocks":
        return canonical  # the convolutions are called the same
    layer, part = rest[0], ".".join(rest[1:])
    for ours, theirs in _BLOCK_PARTS:
        if part.startswith(ours + "."):
            return f"{side}.layers.{layer}.{theirs}{part[len(ours) :]}"
    raise AssertionError(canonical)


def read_dimensions(config: Mapping[str, Any], *, where: str) -> Dimensions:
    """Dimensions from ``config.json``; raises `WeightsError` for what is not a Whisper."""

    def number(key: str) -> int:
        value = config.get(key)
        if type(value) is not int:
            raise WeightsError(f"{where}: {key} is {value!r}, expected a number")
        return value

    def must(key: str, wanted: object, default: object = None) -> None:
        value = config.get(key, default)
        if value != wanted:
            raise WeightsError(f"{where}: {key} is {value!r}, Whisper has {wanted!r}: unknown architecture")

    must("model_type", "whisper")
    must("activation_function", "gelu", "gelu")
    must("scale_embedding", False, False)
    dims = Dimensions(
        n_mels=number("num_mel_bins"),
        n_audio_ctx=number("max_source_positions"),
        n_state=number("d_model"),
        n_head=number("encoder_attention_heads"),
        n_audio_layer=number("encoder_layers"),
        n_text_layer=number("decoder_layers"),
        n_text_ctx=number("max_target_positions"),
        n_vocab=number("vocab_size"),
    )
    must("decoder_attention_heads", dims.n_head)
    for key in ("encoder_ffn_dim", "decoder_ffn_dim"):
        must(key, 4 * dims.n_state)
    try:
        check_dimensions(dims)
    except WeightsError as error:
        raise WeightsError(f"{where}: {error}") from None
    return dims


def read_tensors(path: Path, dims: Dimensions) -> dict[str, Array]:
    """All tensors of a ``model.safetensors`` under openai/whisper's names.

    Raises `WeightsError` naming the tensor (under the name it has in the file) that is missing, unknown, of
    another shape than ``dims`` call for, or neither float16 nor float32.
    """
    try:
        with safe_open(path, framework="np") as file:
            return _read(file, path, dims)
    except FileNotFoundError:
        raise WeightsError(f"{path} is missing: it holds the tensors") from None
    except SafetensorError as error:
        raise WeightsError(f"{path}: truncated, damaged or not safetensors: {error}") from None
    except OSError as error:
        raise WeightsError(f"{path}: {error.strerror or error}") from None


def _read(file: Any, path: Path, dims: Dimensions) -> dict[str, Array]:
    names = set(file.keys())
    # Checkpoints of the bare model, without the head, have the same names without this prefix.
    prefix = "model." if any(name.startswith("model.") for name in names) else ""

    def get(name: str, shape: tuple[int, ...]) -> Array:
        if name not in names:
            raise WeightsError(f"{path}: tensor {name} is missing")
        part = file.get_slice(name)
        if part.get_dtype() not in ("F16", "F32"):
            raise WeightsError(f"{path}: tensor {name} is {part.get_dtype()}, F16 or F32 is needed")
        if tuple(part.get_shape()) != shape:
            raise WeightsError(
                f"{path}: tensor {name} has shape {part.get_shape()}, config.json calls for {list(shape)}"
            )
        array: Array = file.get_tensor(name)
        return array

    shapes = expected_shapes(dims)
    tensors: dict[str, Array] = {}
    for target, shape in shapes.items():
        name = prefix + stored_name(target)
        if target == _MAY_LACK and name not in names:
            tensors[target] = sinusoids(*shape)
        else:
            tensors[target] = get(name, shape)
    known = {prefix + stored_name(target) for target in shapes} | {_HEAD}
    if unknown := sorted(names - known):
        raise WeightsError(f"{path}: tensor {unknown[0]} is not part of a Whisper model of this size")
    if _HEAD in names:
        embedding = tensors["decoder.token_embedding.weight"]
        if not np.array_equal(get(_HEAD, embedding.shape), embedding):
            raise WeightsError(f"{path}: {_HEAD} is not the token embedding, to which Whisper ties it")
    return tensors


def load(folder: Path, *, source: str | None = None, licence: str = "not stated") -> Weights:
    """Read and validate a Hugging Face checkpoint folder; raises `WeightsError`."""
    model = folder / "model.safetensors"
    tokenizer = read_small(folder / "tokenizer.json", "the vocabulary and the special tokens")
    config_bytes = read_small(folder / "config.json", "the model's dimensions")
    where = str(folder / "config.json")
    config = parse_json(config_bytes, where=where)
    digests = {"tokenizer.json": sha256_bytes(tokenizer), "config.json": sha256_bytes(config_bytes)}
    generation: dict[str, Any] = {}
    generation_path = folder / "generation_config.json"
    if generation_path.exists():
        generation_bytes = read_small(generation_path, "the tokens to suppress")
        generation = parse_json(generation_bytes, where=str(generation_path))
        digests["generation_config.json"] = sha256_bytes(generation_bytes)

    special, multilingual = parse_special_tokens(tokenizer, where=str(folder / "tokenizer.json"))
    _check_generation(generation, special, multilingual, where=str(generation_path))
    dims = read_dimensions(config, where=where)
    tensors = read_tensors(model, dims)
    digests["model.safetensors"] = sha256_file(model)

    def token_list(key: str) -> tuple[int, ...]:
        for document, name in ((generation, str(generation_path)), (config, where)):
            if document.get(key) is not None:
                return int_tuple(document, key, where=name)
        raise WeightsError(
            f"{folder}: neither generation_config.json nor config.json has {key}: "
            "add the generation_config.json that belongs to the checkpoint"
        )

    weights = Weights(
        dims=dims,
        tensors=tensors,
        tokenizer_json=tokenizer,
        special=special,
        suppress=token_list("suppress_tokens"),
        suppress_begin=token_list("begin_suppress_tokens"),
        alignment_heads=head_pairs(generation, where=str(generation_path)),
        multilingual=multilingual,
        source=source or f"Hugging Face model.safetensors {digests['model.safetensors'][:16]}",
        licence=licence,
        sha256=digests,
    )
    try:
        validate(weights)
    except WeightsError as error:
        raise WeightsError(f"{folder}: {error}") from None
    return weights


def _check_generation(
    generation: Mapping[str, Any], special: SpecialTokens, multilingual: bool, *, where: str
) -> None:
    """Compare the token ids that ``generation_config.json`` repeats with the tokenizer's."""
    languages = {f"<|{code}|>": token for code, token in special.languages.items()}
    expected: dict[str, Any] = {
        "no_timestamps_token_id": special.no_timestamps,
        "is_multilingual": multilingual,
        "decoder_start_token_id": special.sot,
    }
    if multilingual:
        expected["lang_to_id"] = languages
    for key, value in expected.items():
        stated = generation.get(key)
        if stated is not None and stated != value:
            shown = "" if key == "lang_to_id" else f" {stated!r}, not {value!r}"
            raise WeightsError(f"{where}: {key}{shown} does not belong to this tokenizer.json")
