"""The Hugging Face reader: the same tensors as the other reader gives, and mismatches are named."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tiny_checkpoint
from convert_model.sources import load_source
from convert_model.weights import WeightsError, sinusoids
from safetensors.numpy import save_file

TINY = tiny_checkpoint.make()


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tiny_checkpoint.write_hugging_face(TINY, tmp_path / "checkpoint")


def refusal(folder: Path) -> str:
    """The one line that a folder is refused with."""
    with pytest.raises(WeightsError) as caught:
        load_source(folder)
    text = str(caught.value)
    assert "\n" not in text
    return text


def edit(path: Path, **changes: Any) -> None:
    """Change keys of a JSON file; `...` takes a key out."""
    document = {**json.loads(path.read_text()), **changes}
    path.write_text(json.dumps({key: value for key, value in document.items() if value is not ...}))


@pytest.mark.parametrize("dtype", ["float16", "float32"])
@pytest.mark.parametrize("eot", [256, 50256])
def test_both_readers_agree(tmp_path: Path, dtype: str, eot: int) -> None:
    tiny = tiny_checkpoint.make(dtype=dtype, eot=eot, heads=2, audio_layers=2, text_layers=3)
    ours = load_source(tiny_checkpoint.write_hugging_face(tiny, tmp_path / "hf"))
    other = load_source(tiny_checkpoint.write_ctranslate2(tiny, tmp_path / "ct2"))
    assert set(ours.tensors) == set(other.tensors) == set(tiny.tensors)
    for name, tensor in tiny.tensors.items():
        assert ours.tensors[name].dtype == other.tensors[name].dtype == dtype
        np.testing.assert_array_equal(ours.tensors[name], tensor, err_msg=name)
        np.testing.assert_array_equal(other.tensors[name], tensor, err_msg=name)
    assert ours.dims == other.dims
    assert ours.special == other.special
    assert (ours.suppress, ours.suppress_begin) == (other.suppress, other.suppress_begin)
    assert ours.alignment_heads == other.alignment_heads == ((0, 0),)
    assert ours.multilingual == other.multilingual == (eot == 256)
    assert ours.tokenizer_json == other.tokenizer_json


def test_digests_and_origin(folder: Path) -> None:
    weights = load_source(folder)
    assert set(weights.sha256) == {
        "model.safetensors",
        "tokenizer.json",
        "config.json",
        "generation_config.json",
    }
    assert str(folder) not in weights.source
    assert weights.licence == "not stated"


def test_stored_head_and_bare_model(folder: Path) -> None:
    tensors = tiny_checkpoint.hugging_face_tensors(TINY)
    head = tensors["model.decoder.embed_tokens.weight"]
    save_file({**tensors, "proj_out.weight": head.copy()}, folder / "model.safetensors")
    assert set(load_source(folder).tensors) == set(TINY.tensors)
    save_file({name.removeprefix("model."): a for name, a in tensors.items()}, folder / "model.safetensors")
    assert set(load_source(folder).tensors) == set(TINY.tensors)
    save_file({**tensors, "proj_out.weight": head + np.float16(1)}, folder / "model.safetensors")
    assert "proj_out.weight is not the token embedding" in refusal(folder)


def test_position_table_of_the_encoder_may_be_left_out(folder: Path) -> None:
    tensors = tiny_checkpoint.hugging_face_tensors(TINY)
    del tensors["model.encoder.embed_positions.weight"]
    save_file(tensors, folder / "model.safetensors")
    table = load_source(folder).tensors["encoder.positional_embedding"]
    np.testing.assert_array_equal(table, sinusoids(1500, 64))


def test_sinusoids_follow_the_reference_formula() -> None:
    table = sinusoids(1500, 384)
    assert table.dtype == np.float32
    for position, channel in [(0, 0), (1, 0), (700, 5), (1499, 191)]:
        angle = position * math.exp(-math.log(10000) / 191 * channel)
        assert table[position, channel] == pytest.approx(math.sin(angle), abs=1e-6)
        assert table[position, 192 + channel] == pytest.approx(math.cos(angle), abs=1e-6)


def test_tokens_to_suppress_from_config_without_generation_config(folder: Path) -> None:
    (folder / "generation_config.json").unlink()
    text = refusal(folder)
    assert "suppress_tokens" in text
    assert "generation_config.json" in text
    edit(folder / "config.json", suppress_tokens=[3, 4], begin_suppress_tokens=[5, 256])
    weights = load_source(folder)
    assert (weights.suppress, weights.suppress_begin, weights.alignment_heads) == ((3, 4), (5, 256), ())
    assert "generation_config.json" not in weights.sha256


def test_generation_config_goes_before_config(folder: Path) -> None:
    edit(folder / "config.json", suppress_tokens=[3, 4], begin_suppress_tokens=[5, 256])
    weights = load_source(folder)
    assert (weights.suppress, weights.suppress_begin) == ((1, 2, 7), (32, 256))


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"model_type": "bart"}, "model_type is 'bart', Whisper has 'whisper'"),
        ({"activation_function": "relu"}, "activation_function is 'relu'"),
        ({"scale_embedding": True}, "scale_embedding is True"),
        ({"d_model": ...}, "d_model is None, expected a number"),
        ({"d_model": "64"}, "d_model is '64', expected a number"),
        ({"encoder_layers": 10**9}, "n_audio_layer is 1000000000, expected 1 to 64"),
        ({"encoder_layers": 0}, "n_audio_layer is 0"),
        ({"encoder_layers": 2}, "tensor model.encoder.layers.1.self_attn.query"),
        (
            {"encoder_attention_heads": 2, "decoder_attention_heads": 2},
            "2 attention heads over a width of 64",
        ),
        ({"decoder_attention_heads": 2}, "decoder_attention_heads is 2"),
        ({"decoder_ffn_dim": 100}, "decoder_ffn_dim is 100, Whisper has 256"),
        ({"num_mel_bins": 128}, "model.encoder.conv1.weight has shape [64, 80, 3], config.json calls for"),
        ({"vocab_size": 1800}, "model.decoder.embed_tokens.weight has shape"),
        ({"max_target_positions": 449}, "n_text_ctx is 449"),
    ],
)
def test_config_of_another_model(folder: Path, changes: dict[str, Any], said: str) -> None:
    edit(folder / "config.json", **changes)
    text = refusal(folder)
    assert said.replace("self_attn.query", "self_attn.q_proj") in text


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"no_timestamps_token_id": 1}, "no_timestamps_token_id 1, not 266"),
        ({"is_multilingual": False}, "is_multilingual False, not True"),
        ({"decoder_start_token_id": 1}, "decoder_start_token_id 1, not 257"),
        ({"lang_to_id": {"<|en|>": 258}}, "lang_to_id does not belong"),
        ({"suppress_tokens": "all"}, "suppress_tokens is not a list"),
        ({"begin_suppress_tokens": []}, "lack the end of text"),
        ({"alignment_heads": [[4, 0]]}, "alignment head 0 of layer 4"),
    ],
)
def test_generation_config_of_another_model(folder: Path, changes: dict[str, Any], said: str) -> None:
    edit(folder / "generation_config.json", **changes)
    assert said in refusal(folder)


def test_tensor_missing_unknown_or_of_another_type(folder: Path) -> None:
    path = folder / "model.safetensors"
    good = tiny_checkpoint.hugging_face_tensors(TINY)
    name = "model.decoder.layers.0.fc1.bias"
    save_file({key: array for key, array in good.items() if key != name}, path)
    assert f"tensor {name} is missing" in refusal(folder)
    save_file({**good, "model.decoder.layers.0.k_proj.bias": good[name]}, path)
    assert "tensor model.decoder.layers.0.k_proj.bias is not part of" in refusal(folder)
    save_file({**good, name: good[name].astype(np.int8)}, path)
    assert f"tensor {name} is I8, F16 or F32 is needed" in refusal(folder)
    save_file({**good, name: good[name].astype(np.float64)}, path)
    assert f"tensor {name} is F64" in refusal(folder)
    save_file({**good, name: np.full_like(good[name], np.nan)}, path)
    assert "tensor decoder.blocks.0.mlp.0.bias is not finite" in refusal(folder)


def test_bfloat16_is_refused(folder: Path) -> None:
    """numpy has no bfloat16, so the file is made by renaming the type in its header."""
    path = folder / "model.safetensors"
    data = path.read_bytes()
    length = int.from_bytes(data[:8], "little")
    header = json.loads(data[8 : 8 + length])
    header["model.encoder.conv1.bias"]["dtype"] = "BF16"
    packed = json.dumps(header).encode()
    path.write_bytes(len(packed).to_bytes(8, "little") + packed + data[8 + length :])
    assert "tensor model.encoder.conv1.bias is BF16" in refusal(folder)


@pytest.mark.parametrize("length", [0, 7, 100, 5000, -1])
def test_truncated(folder: Path, length: int) -> None:
    path = folder / "model.safetensors"
    path.write_bytes(path.read_bytes()[:length])
    text = refusal(folder)
    assert "model.safetensors: truncated, damaged or not safetensors" in text


@pytest.mark.parametrize("name", ["tokenizer.json", "config.json"])
def test_missing_file_is_named(folder: Path, name: str) -> None:
    (folder / name).unlink()
    assert f"{name} is missing: it holds" in refusal(folder)
