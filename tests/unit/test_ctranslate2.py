"""The CTranslate2 reader: a checkpoint comes out as it went in, and damage is named with its place."""

from __future__ import annotations

import json
import struct
from pathlib import Path

import numpy as np
import pytest
import tiny_checkpoint
from convert_model import ctranslate2
from convert_model.sources import load_source
from convert_model.weights import WeightsError, expected_shapes
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

TINY = tiny_checkpoint.make()
VARIABLES, ALIASES = tiny_checkpoint.ctranslate2_variables(TINY)
MODEL_BIN = tiny_checkpoint.model_bin(VARIABLES, ALIASES)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tiny_checkpoint.write_ctranslate2(TINY, tmp_path / "model")


def refusal(folder: Path) -> str:
    """The one line that a folder is refused with."""
    with pytest.raises(WeightsError) as caught:
        load_source(folder)
    text = str(caught.value)
    assert "\n" not in text
    return text


@pytest.mark.parametrize("dtype", ["float16", "float32"])
def test_tensors_come_out_bit_for_bit(tmp_path: Path, dtype: str) -> None:
    tiny = tiny_checkpoint.make(dtype=dtype, heads=2, audio_layers=3, text_layers=2)
    weights = load_source(tiny_checkpoint.write_ctranslate2(tiny, tmp_path / "m"))
    assert set(weights.tensors) == set(tiny.tensors) == set(expected_shapes(weights.dims))
    for name, tensor in tiny.tensors.items():
        assert weights.tensors[name].dtype == dtype
        np.testing.assert_array_equal(weights.tensors[name], tensor, err_msg=name)


def test_dimensions_tokens_and_digests(folder: Path) -> None:
    weights = load_source(folder)
    dims = weights.dims
    assert (dims.n_state, dims.n_head, dims.n_mels, dims.n_audio_ctx, dims.n_text_ctx) == (
        64,
        1,
        80,
        1500,
        448,
    )
    assert (dims.n_audio_layer, dims.n_text_layer, dims.n_vocab) == (1, 1, TINY.vocab)
    special = weights.special
    assert (special.eot, special.sot, special.languages) == (256, 257, {"en": 258, "de": 259, "fr": 260})
    assert (special.translate, special.transcribe, special.sot_lm, special.sot_prev) == (261, 262, 263, 264)
    assert (special.no_speech, special.no_timestamps, special.timestamp_begin) == (265, 266, 267)
    assert weights.suppress == (1, 2, 7)
    assert weights.suppress_begin == (32, 256)
    assert weights.alignment_heads == ((0, 0),)
    assert weights.multilingual
    assert set(weights.sha256) == {"model.bin", "tokenizer.json", "config.json"}
    assert str(folder) not in weights.source


def test_english_only(tmp_path: Path) -> None:
    """Its prompt has no language; those that CTranslate2 lists for it are one off and not believed."""
    tiny = tiny_checkpoint.make(eot=50256)
    folder = tiny_checkpoint.write_ctranslate2(tiny, tmp_path / "m")
    config = tiny_checkpoint.ctranslate2_config(tiny)
    config["lang_ids"] = [token + 1 for token in config["lang_ids"]]
    (folder / "config.json").write_text(json.dumps(config))
    weights = load_source(folder)
    assert not weights.multilingual
    assert weights.special.languages == {"en": 50258}
    assert weights.special.sot == 50257


def test_equal_tensors_may_be_aliased(folder: Path) -> None:
    variables, aliases = tiny_checkpoint.ctranslate2_variables(TINY)
    same = variables["encoder/layer_norm/gamma"]
    variables["encoder/layer_0/ffn/layer_norm/gamma"] = same
    del variables["encoder/layer_norm/gamma"]
    aliases["encoder/layer_norm/gamma"] = "encoder/layer_0/ffn/layer_norm/gamma"
    (folder / "model.bin").write_bytes(tiny_checkpoint.model_bin(variables, aliases))
    tensors = load_source(folder).tensors
    np.testing.assert_array_equal(tensors["encoder.ln_post.weight"], same)


def test_origin_written_beside_the_weights(folder: Path) -> None:
    (folder / "SOURCE.json").write_text(json.dumps({"source": "package x 1.0", "licence": "MIT"}))
    weights = load_source(folder)
    assert (weights.source, weights.licence) == ("package x 1.0", "MIT")
    assert load_source(folder, licence="other").licence == "other"


# --- model.bin that is not what it says -------------------------------------------------------------------


def test_trailing_bytes(folder: Path) -> None:
    (folder / "model.bin").write_bytes(MODEL_BIN + b"\0")
    text = refusal(folder)
    assert "1 bytes after the end" in text
    assert f"byte {len(MODEL_BIN)}" in text
    assert "model.bin" in text


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.one_of(st.integers(0, len(MODEL_BIN) - 1), st.integers(0, 300)))
def test_every_truncation_is_refused(tmp_path: Path, length: int) -> None:
    path = tmp_path / "model.bin"
    path.write_bytes(MODEL_BIN[:length])
    with pytest.raises(WeightsError, match=r"model\.bin: byte \d+, .*truncated"):
        ctranslate2.read_variables(path)


@settings(max_examples=200, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.integers(0, 4000), st.binary(min_size=1, max_size=8))
def test_damage_is_refused_or_read_but_never_crashes(tmp_path: Path, offset: int, patch: bytes) -> None:
    data = bytearray(MODEL_BIN)
    data[offset : offset + len(patch)] = patch
    path = tmp_path / "model.bin"
    path.write_bytes(data)
    try:
        ctranslate2.canonical_tensors(ctranslate2.read_variables(path), path)
    except WeightsError as error:
        assert "model.bin" in str(error)


def header(count: int = 1, *, version: int = 6, spec: bytes = b"WhisperSpec\0", revision: int = 3) -> bytes:
    return struct.pack("<IH", version, len(spec)) + spec + struct.pack("<II", revision, count)


def record(name: bytes, rank: int, shape: tuple[int, ...], type_id: int, stored: int, data: bytes = b"") -> bytes:
    packed = struct.pack("<H", len(name) + 1) + name + b"\0" + struct.pack(f"<B{len(shape)}I", rank, *shape)
    return packed + struct.pack("<BI", type_id, stored) + data


@pytest.mark.parametrize(
    ("data", "said"),
    [
        (header(version=5), "binary version 5"),
        (b"PK\x03\x04" * 9, "another kind of file"),
        (header(spec=b"TransformerSpec\0"), "a TransformerSpec model"),
        (header(revision=2), "revision 2"),
        (header(count=10_001), "10001 variables"),
        (header(count=2**32 - 1), "4294967295 variables"),
        (header() + record(b"a/b", 5, (1,) * 5, 4, 2), "variable a/b: rank 5"),
        (header() + record(b"a/b", 255, (), 0, 0), "variable a/b: rank 255"),
        (header() + record(b"a/b", 1, (4,), 6, 8, b"\0" * 8), "variable a/b: unknown type 6"),
        (header() + record(b"a/b", 1, (4,), 5, 8, b"\0" * 8), "variable a/b: bfloat16"),
        (header() + record(b"a/b", 1, (4,), 4, 9, b"\0" * 9), "9 bytes stored for shape [4]"),
        (header() + record(b"a/b", 4, (2**32 - 1,) * 4, 4, 2), "2 bytes stored for shape"),
        (header() + record(b"a/b", 1, (2**31 - 8,), 4, 2**32 - 16), "truncated"),
        (header() + record(b"a/weight", 2, (1, 2), 1, 2, b"\0\0"), "variable a/weight: a quantised model"),
        (header() + record(b"a/weight", 2, (1, 2), 2, 4, b"\0" * 4), "variable a/weight: a quantised model"),
        (header() + record(b"a/weight_scale", 1, (1,), 0, 4, b"\0" * 4), "a quantised model"),
        (header() + record(b"\xff\xfe", 0, (), 1, 1, b"\0"), "not a name"),
        (header() + struct.pack("<H", 0), "a name of 0 bytes"),
        (header() + struct.pack("<H", 257) + b"x" * 300, "a name of 257 bytes"),
        (header(2) + 2 * record(b"a/b", 0, (), 1, 1, b"\0"), "variable a/b: stored twice"),
        (header(0) + struct.pack("<I", 10_001), "10001 aliases"),
        (header(0) + struct.pack("<IH2sH2s", 1, 2, b"a\0", 2, b"b\0"), "a cannot be another name of b"),
    ],
)
def test_model_bin_that_lies(folder: Path, data: bytes, said: str) -> None:
    (folder / "model.bin").write_bytes(data)
    assert said in refusal(folder)


# --- a model that is not Whisper --------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "array", "said"),
    [
        ("decoder/activation", np.array(0, np.int8), "variable decoder/activation: is 0, but Whisper has 3"),
        ("decoder/pre_norm", np.array(0, np.int8), "unknown architecture"),
        ("decoder/num_heads", np.array(2, np.int16), "encoder and decoder differ"),
        ("encoder/layer_0/ffn/linear_0/weight", None, "encoder/layer_0/ffn/linear_0/weight: missing"),
        ("encoder/strange", np.zeros(3, np.float16), "encoder/strange: not part of a Whisper model"),
        (
            "encoder/conv1/bias",
            np.zeros(65, np.float16),
            "gives encoder.conv1.bias the shape [65], expected [64]",
        ),
        ("encoder/conv1/weight", np.zeros((64, 80), np.float16), "expected 3 axes"),
        (
            "decoder/layer_0/self_attention/linear_0/weight",
            np.zeros((128, 64), np.float16),
            "expected 3 x 64",
        ),
        (
            "decoder/layer_0/self_attention/linear_0/bias",
            np.ones(192, np.float16),
            "key projection has a bias",
        ),
        ("decoder/layer_2/ffn/linear_0/bias", np.ones(256, np.float16), "decoder/layer_1/"),
        (
            "encoder/layer_norm/beta",
            np.full(64, np.nan, np.float16),
            "encoder.ln_post.bias is not finite at (0,)",
        ),
        ("encoder/layer_norm/beta", np.full(64, np.inf, np.float16), "encoder.ln_post.bias is not finite"),
    ],
)
def test_not_whisper(folder: Path, name: str, array: np.ndarray | None, said: str) -> None:
    variables, aliases = tiny_checkpoint.ctranslate2_variables(TINY)
    variables.pop(name, None)
    if array is not None:
        variables[name] = array
    (folder / "model.bin").write_bytes(tiny_checkpoint.model_bin(variables, aliases))
    assert said in refusal(folder)


def test_head_width(folder: Path) -> None:
    variables, aliases = tiny_checkpoint.ctranslate2_variables(TINY)
    for side in ("encoder", "decoder"):
        variables[f"{side}/num_heads"] = np.array(2, np.int16)
    (folder / "model.bin").write_bytes(tiny_checkpoint.model_bin(variables, aliases))
    assert "2 attention heads over a width of 64" in refusal(folder)


def test_untied_head(folder: Path) -> None:
    variables, _ = tiny_checkpoint.ctranslate2_variables(TINY)
    variables["decoder/projection/weight"] = variables["decoder/embeddings/weight"] + np.float16(1)
    (folder / "model.bin").write_bytes(tiny_checkpoint.model_bin(variables, {}))
    assert "not the token embedding" in refusal(folder)


# --- the files beside it ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("key", "value", "said"),
    [
        ("suppress_ids", None, "suppress_ids is not a list"),
        ("suppress_ids", [1, "2"], "suppress_ids is not a list"),
        ("suppress_ids", [True], "suppress_ids is not a list"),
        ("suppress_ids", [-1], "token -1 to suppress is outside"),
        ("suppress_ids", [10**6], "token 1000000 to suppress is outside"),
        ("suppress_ids_begin", [220], "lack the end of text 256"),
        ("lang_ids", [258, 259], "disagree about token 260"),
        ("alignment_heads", [[0, 1]], "alignment head 1 of layer 0"),
        ("alignment_heads", [[0]], "alignment_heads is not a list of"),
        ("alignment_heads", 7, "alignment_heads is not a list of"),
    ],
)
def test_bad_config(folder: Path, key: str, value: object, said: str) -> None:
    config = tiny_checkpoint.ctranslate2_config(TINY)
    config[key] = value
    (folder / "config.json").write_text(json.dumps(config))
    assert said in refusal(folder)


@pytest.mark.parametrize("name", ["model.bin", "tokenizer.json", "config.json"])
def test_missing_file(folder: Path, name: str) -> None:
    (folder / name).unlink()
    assert name in refusal(folder)


@pytest.mark.parametrize("data", [b"", b"{", b"[]", b"\xff", b"[" * 100_000, b'{"model": 3, "added_tokens": []}'])
@pytest.mark.parametrize("name", ["tokenizer.json", "config.json"])
def test_bad_json(folder: Path, name: str, data: bytes) -> None:
    (folder / name).write_bytes(data)
    assert name in refusal(folder)


def test_huge_json(folder: Path) -> None:
    with (folder / "config.json").open("wb") as file:
        file.truncate(64 * 2**20 + 1)
    assert "config.json: over 67108864 bytes" in refusal(folder)


def test_tokenizer_of_another_model(folder: Path) -> None:
    document, _ = tiny_checkpoint.make_tokenizer(256, ("en", "de", "fr", "es"))
    (folder / "tokenizer.json").write_text(json.dumps(document))
    config = tiny_checkpoint.ctranslate2_config(TINY)
    config["lang_ids"] = [258, 259, 260, 261]
    (folder / "config.json").write_text(json.dumps(config))
    assert "belongs to another model" in refusal(folder)


@pytest.mark.parametrize(
    ("token", "instead", "said"),
    [
        ("<|notimestamps|>", "<|x|>", "special token <|notimestamps|> is missing"),
        ("<|nospeech|>", "<|x|>", "special token <|nospeech|> or <|nocaptions|> is missing"),
        ("<|nospeech|>", None, "no token has the id 265"),
        ("<|de|>", None, "no token has the id 259"),
        ("<|en|>", "<|x|>", "are not one language each"),
        ("<|de|>", "de", "are not one language each"),
    ],
)
def test_tokenizer_without(folder: Path, token: str, instead: str | None, said: str) -> None:
    document = json.loads((folder / "tokenizer.json").read_text())
    added = {entry["content"]: entry for entry in document["added_tokens"]}
    entry = added.pop(token)
    if instead is not None:
        added[instead] = {**entry, "content": instead}
    document["added_tokens"] = list(added.values())
    (folder / "tokenizer.json").write_text(json.dumps(document))
    assert said in refusal(folder)


def test_second_name_of_no_speech(folder: Path) -> None:
    text = (folder / "tokenizer.json").read_text().replace("<|nospeech|>", "<|nocaptions|>")
    (folder / "tokenizer.json").write_text(text)
    assert load_source(folder).special.no_speech == 265


@pytest.mark.parametrize(
    ("files", "said"),
    [
        ((), "neither model.bin"),
        (("model.bin", "model.safetensors"), "remove the one"),
        (("model.safetensors.index.json",), "several pieces"),
        (("pytorch_model.bin",), "model.safetensors is needed"),
    ],
)
def test_folder_of_neither_kind(tmp_path: Path, files: tuple[str, ...], said: str) -> None:
    for name in files:
        (tmp_path / name).touch()
    assert said in refusal(tmp_path)
    assert "is not a folder" in refusal(tmp_path / "nowhere")
