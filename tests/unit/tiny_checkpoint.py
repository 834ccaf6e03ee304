"""Writes tiny Whisper checkpoints with random weights, in both forms that the converter reads.

One checkpoint is one `Tiny`; the same one written as a CTranslate2 folder and as a Hugging Face folder must
come out of both readers with equal tensors. The writers here follow the formats' own descriptions and share
no code with the readers.
"""

from __future__ import annotations

import json
import struct
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from safetensors.numpy import save_file

Array = npt.NDArray[Any]

BASE_TOKENS = 256
"""Byte tokens before the special ones."""

LANGUAGES = ("en", "de", "fr")
SUPPRESS = (1, 2, 7)
ALIGNMENT_HEADS = ((0, 0),)

_TYPE_IDS = {"float32": 0, "int8": 1, "int16": 2, "int32": 3, "float16": 4}


@dataclass
class Tiny:
    """Tensors under openai/whisper's names, and the documents that belong to them."""

    state: int
    heads: int
    audio_layers: int
    text_layers: int
    audio_ctx: int
    text_ctx: int
    mels: int
    vocab: int
    eot: int
    languages: tuple[str, ...]
    tensors: dict[str, Array]
    tokenizer: dict[str, Any]


def _byte_alphabet() -> list[str]:
    """GPT-2's printable stand-in of each byte value."""
    printable = [*range(33, 127), *range(161, 173), *range(174, 256)]
    spare = iter(range(256, 512))
    return [chr(value) if value in printable else chr(next(spare)) for value in range(256)]


def make_tokenizer(eot: int, languages: tuple[str, ...]) -> tuple[dict[str, Any], int]:
    """A byte-level tokenizer with Whisper's special tokens from ``eot`` on, and its vocabulary's size."""
    alphabet = _byte_alphabet()
    vocab = {alphabet[index] if index < 256 else f"filler{index}": index for index in range(eot)}
    names = ["endoftext", "startoftranscript", *languages, "translate", "transcribe", "startoflm"]
    names += ["startofprev", "nospeech", "notimestamps"]
    added = [
        {
            "id": eot + index,
            "content": f"<|{name}|>",
            "single_word": False,
            "lstrip": False,
            "rstrip": False,
            "normalized": False,
            "special": True,
        }
        for index, name in enumerate(names)
    ]
    document: dict[str, Any] = {
        "version": "1.0",
        "truncation": None,
        "padding": None,
        "added_tokens": added,
        "normalizer": None,
        "pre_tokenizer": {
            "type": "ByteLevel",
            "add_prefix_space": False,
            "trim_offsets": True,
            "use_regex": True,
        },
        "post_processor": None,
        "decoder": {"type": "ByteLevel", "add_prefix_space": True, "trim_offsets": True, "use_regex": True},
        "model": {
            "type": "BPE",
            "dropout": None,
            "unk_token": None,
            "continuing_subword_prefix": "",
            "end_of_word_suffix": "",
            "fuse_unk": False,
            "vocab": vocab,
            "merges": [],
        },
    }
    return document, eot + len(names) + 1501


def make(
    *,
    dtype: str = "float16",
    seed: int = 1,
    heads: int = 1,
    audio_layers: int = 1,
    text_layers: int = 1,
    audio_ctx: int = 1500,
    text_ctx: int = 448,
    mels: int = 80,
    eot: int = BASE_TOKENS,
    languages: tuple[str, ...] = LANGUAGES,
) -> Tiny:
    """A checkpoint with small random weights. ``eot=50256`` makes it English-only."""
    tokenizer, vocab = make_tokenizer(eot, languages)
    random = np.random.default_rng(seed)
    d = 64 * heads
    tensors: dict[str, Array] = {}

    def tensor(name: str, *shape: int, around: float = 0.0) -> None:
        tensors[name] = (around + 0.05 * random.standard_normal(shape)).astype(dtype)

    def linear(name: str, rows: int, columns: int, bias: bool = True) -> None:
        tensor(f"{name}.weight", rows, columns)
        if bias:
            tensor(f"{name}.bias", rows)

    def norm(name: str) -> None:
        tensor(f"{name}.weight", d, around=1.0)
        tensor(f"{name}.bias", d)

    tensor("encoder.conv1.weight", d, mels, 3)
    tensor("encoder.conv1.bias", d)
    tensor("encoder.conv2.weight", d, d, 3)
    tensor("encoder.conv2.bias", d)
    tensor("encoder.positional_embedding", audio_ctx, d)
    tensor("decoder.token_embedding.weight", vocab, d)
    tensor("decoder.positional_embedding", text_ctx, d)
    norm("encoder.ln_post")
    norm("decoder.ln")
    for side, layers in (("encoder", audio_layers), ("decoder", text_layers)):
        for layer in range(layers):
            block = f"{side}.blocks.{layer}"
            for attention in ("attn", "cross_attn") if side == "decoder" else ("attn",):
                for part in ("query", "key", "value", "out"):
                    linear(f"{block}.{attention}.{part}", d, d, bias=part != "key")
                norm(f"{block}.{attention}_ln")
            linear(f"{block}.mlp.0", 4 * d, d)
            linear(f"{block}.mlp.2", d, 4 * d)
            norm(f"{block}.mlp_ln")
    return Tiny(
        state=d,
        heads=heads,
        audio_layers=audio_layers,
        text_layers=text_layers,
        audio_ctx=audio_ctx,
        text_ctx=text_ctx,
        mels=mels,
        vocab=vocab,
        eot=eot,
        languages=languages,
        tensors=tensors,
        tokenizer=tokenizer,
    )


def ctranslate2_variables(tiny: Tiny) -> tuple[dict[str, Array], dict[str, str]]:
    """The checkpoint's variables as CTranslate2 lays them out, and its aliases."""
    ours = tiny.tensors
    variables: dict[str, Array] = {
        "decoder/activation": np.array(3, np.int8),
        "decoder/alibi": np.array(0, np.int8),
        "decoder/alignment_heads": np.array(1, np.int16),
        "decoder/alignment_layer": np.array(-1, np.int16),
        "decoder/num_heads": np.array(tiny.heads, np.int16),
        "encoder/num_heads": np.array(tiny.heads, np.int16),
        "decoder/pre_norm": np.array(1, np.int8),
        "decoder/scale_embeddings": np.array(0, np.int8),
        "decoder/start_from_zero_embedding": np.array(0, np.int8),
        "decoder/embeddings/weight": ours["decoder.token_embedding.weight"],
    }

    def linear(target: str, *sources: str) -> None:
        weights = [ours[f"{source}.weight"] for source in sources]
        zeros = np.zeros(tiny.state, weights[0].dtype)
        variables[f"{target}/weight"] = np.concatenate(weights)
        variables[f"{target}/bias"] = np.concatenate([ours.get(f"{name}.bias", zeros) for name in sources])

    def norm(target: str, source: str) -> None:
        variables[f"{target}/gamma"] = ours[f"{source}.weight"]
        variables[f"{target}/beta"] = ours[f"{source}.bias"]

    for side, layers in (("encoder", tiny.audio_layers), ("decoder", tiny.text_layers)):
        variables[f"{side}/position_encodings/encodings"] = ours[f"{side}.positional_embedding"]
        for layer in range(layers):
            block, target = f"{side}.blocks.{layer}", f"{side}/layer_{layer}"
            attn, cross = f"{block}.attn", f"{block}.cross_attn"
            linear(f"{target}/self_attention/linear_0", f"{attn}.query", f"{attn}.key", f"{attn}.value")
            linear(f"{target}/self_attention/linear_1", f"{attn}.out")
            norm(f"{target}/self_attention/layer_norm", f"{attn}_ln")
            if side == "decoder":
                linear(f"{target}/attention/linear_0", f"{cross}.query")
                linear(f"{target}/attention/linear_1", f"{cross}.key", f"{cross}.value")
                linear(f"{target}/attention/linear_2", f"{cross}.out")
                norm(f"{target}/attention/layer_norm", f"{cross}_ln")
            linear(f"{target}/ffn/linear_0", f"{block}.mlp.0")
            linear(f"{target}/ffn/linear_1", f"{block}.mlp.2")
            norm(f"{target}/ffn/layer_norm", f"{block}.mlp_ln")
    norm("encoder/layer_norm", "encoder.ln_post")
    norm("decoder/layer_norm", "decoder.ln")
    for conv in ("conv1", "conv2"):
        linear(f"encoder/{conv}", f"encoder.{conv}")
    return variables, {"decoder/projection/weight": "decoder/embeddings/weight"}


def model_bin(
    variables: dict[str, Array], aliases: dict[str, str], *, version: int = 6, spec: str = "WhisperSpec"
) -> bytes:
    """Serialise to CTranslate2's ``model.bin``."""

    def string(text: str) -> bytes:
        return struct.pack("<H", len(text) + 1) + text.encode() + b"\0"

    out = [struct.pack("<I", version), string(spec), struct.pack("<II", 3, len(variables))]
    for name, array in sorted(variables.items()):
        shape = struct.pack(f"<B{array.ndim}I", array.ndim, *array.shape)
        out += [string(name), shape, struct.pack("<BI", _TYPE_IDS[array.dtype.name], array.nbytes)]
        out.append(array.tobytes())
    out.append(struct.pack("<I", len(aliases)))
    for alias, name in aliases.items():
        out += [string(alias), string(name)]
    return b"".join(out)


def ctranslate2_config(tiny: Tiny) -> dict[str, Any]:
    """CTranslate2's ``config.json`` of the checkpoint."""
    first = tiny.eot + 2
    return {
        "alignment_heads": [list(pair) for pair in ALIGNMENT_HEADS],
        "lang_ids": list(range(first, first + len(tiny.languages))),
        "suppress_ids": list(SUPPRESS),
        "suppress_ids_begin": [32, tiny.eot],
    }


def write_ctranslate2(tiny: Tiny, folder: Path) -> Path:
    """Write the checkpoint as a CTranslate2 folder."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "model.bin").write_bytes(model_bin(*ctranslate2_variables(tiny)))
    (folder / "tokenizer.json").write_text(json.dumps(tiny.tokenizer), "utf-8")
    (folder / "config.json").write_text(json.dumps(ctranslate2_config(tiny)), "utf-8")
    return folder


_HF_PARTS = {
    "attn.query": "self_attn.q_proj",
    "attn.key": "self_attn.k_proj",
    "attn.value": "self_attn.v_proj",
    "attn.out": "self_attn.out_proj",
    "attn_ln": "self_attn_layer_norm",
    "cross_attn.query": "encoder_attn.q_proj",
    "cross_attn.key": "encoder_attn.k_proj",
    "cross_attn.value": "encoder_attn.v_proj",
    "cross_attn.out": "encoder_attn.out_proj",
    "cross_attn_ln": "encoder_attn_layer_norm",
    "mlp.0": "fc1",
    "mlp.2": "fc2",
    "mlp_ln": "final_layer_norm",
}


def hugging_face_tensors(tiny: Tiny) -> dict[str, Array]:
    """The checkpoint's tensors under transformers' names."""
    renamed: dict[str, Array] = {}
    for name, array in tiny.tensors.items():
        side, first, *rest = name.split(".")
        if first == "blocks":
            part, kind = ".".join(rest[1:-1]), rest[-1]
            renamed[f"model.{side}.layers.{rest[0]}.{_HF_PARTS[part]}.{kind}"] = array
        elif first == "positional_embedding":
            renamed[f"model.{side}.embed_positions.weight"] = array
        elif first == "token_embedding":
            renamed["model.decoder.embed_tokens.weight"] = array
        elif first in ("ln", "ln_post"):
            renamed[f"model.{side}.layer_norm.{rest[0]}"] = array
        else:
            renamed[f"model.{name}"] = array
    return renamed


def hugging_face_config(tiny: Tiny) -> dict[str, Any]:
    """transformers' ``config.json`` of the checkpoint."""
    return {
        "model_type": "whisper",
        "activation_function": "gelu",
        "scale_embedding": False,
        "d_model": tiny.state,
        "num_mel_bins": tiny.mels,
        "vocab_size": tiny.vocab,
        "encoder_layers": tiny.audio_layers,
        "decoder_layers": tiny.text_layers,
        "encoder_attention_heads": tiny.heads,
        "decoder_attention_heads": tiny.heads,
        "encoder_ffn_dim": 4 * tiny.state,
        "decoder_ffn_dim": 4 * tiny.state,
        "max_source_positions": tiny.audio_ctx,
        "max_target_positions": tiny.text_ctx,
    }


def generation_config(tiny: Tiny) -> dict[str, Any]:
    """transformers' ``generation_config.json`` of the checkpoint."""
    first = tiny.eot + 2
    document: dict[str, Any] = {
        "alignment_heads": [list(pair) for pair in ALIGNMENT_HEADS],
        "begin_suppress_tokens": [32, tiny.eot],
        "decoder_start_token_id": tiny.eot + 1,
        "is_multilingual": tiny.eot != 50256,
        "no_timestamps_token_id": first + len(tiny.languages) + 5,
        "suppress_tokens": list(SUPPRESS),
    }
    if document["is_multilingual"]:
        document["lang_to_id"] = {f"<|{code}|>": first + n for n, code in enumerate(tiny.languages)}
    return document


def write_hugging_face(tiny: Tiny, folder: Path) -> Path:
    """Write the checkpoint as a Hugging Face folder."""
    folder.mkdir(parents=True, exist_ok=True)
    save_file(hugging_face_tensors(tiny), folder / "model.safetensors")
    (folder / "tokenizer.json").write_text(json.dumps(tiny.tokenizer), "utf-8")
    (folder / "config.json").write_text(json.dumps(hugging_face_config(tiny)), "utf-8")
    (folder / "generation_config.json").write_text(json.dumps(generation_config(tiny)), "utf-8")
    return folder
