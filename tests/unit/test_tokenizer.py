"""Tokens to text and back, against the library whose `tokenizer.json` the vocabulary is made of."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path
from random import Random

import numpy as np
import pytest
from convert_model import vocabulary
from convert_model.weights import WeightsError
from hypothesis import given
from hypothesis import strategies as st
from tiny_bundle import tiny_bundle, tiny_weights
from tokenizers import Tokenizer as Library
from whisperd.errors import BundleError
from whisperd.speech.bundle import load_manifest
from whisperd.speech.tokenizer import Tokenizer

SMALL = {"audio_ctx": 40, "text_ctx": 8, "mels": 8}
TEXTS = (
    "Turn on the air conditioning.",
    " 12.5 °C, naïve café — “straße” 日本語 🚗",
    "  two  spaces\nand a line\t",
    "\u0645\u0631\u062d\u0628\u0627",
)


@pytest.fixture(params=["base", "tiny.en"])
def bundle(request: pytest.FixtureRequest, base: Path, tiny_en: Path) -> Path:
    return {"base": base, "tiny.en": tiny_en}[request.param]


def of(bundle: Path) -> Tokenizer:
    return Tokenizer(bundle, load_manifest(bundle).tokens.eot)


def test_every_token_has_the_library_s_text(bundle: Path) -> None:
    ours, theirs = of(bundle), Library.from_file(str(bundle / "tokenizer.json"))
    manifest = load_manifest(bundle)
    for token in range(manifest.dimensions.n_vocab):
        expected = theirs.decode([token], skip_special_tokens=True) if token < manifest.tokens.eot else ""
        assert ours.decode([token]) == expected, token


def test_stretches_of_tokens_have_the_library_s_text(bundle: Path) -> None:
    """Random tokens: characters cut in two, halves that belong to nothing, bytes that are no UTF-8."""
    ours, theirs = of(bundle), Library.from_file(str(bundle / "tokenizer.json"))
    random = Random(1)
    eot = load_manifest(bundle).tokens.eot
    for _ in range(2000):
        tokens = [random.randrange(eot) for _ in range(random.randrange(20))]
        assert ours.decode(tokens) == theirs.decode(tokens, skip_special_tokens=True)


@pytest.mark.parametrize("text", TEXTS)
def test_what_is_encoded_comes_back(bundle: Path, text: str) -> None:
    tokenizer = of(bundle)
    assert tokenizer.decode(tokenizer.encode(text)) == text


def test_a_character_in_two_tokens_is_whole_again_once_both_are_there(bundle: Path) -> None:
    tokenizer = of(bundle)
    tokens = tokenizer.encode("🚗")
    assert len(tokens) > 1
    assert "\ufffd" in tokenizer.decode(tokens[:1])
    assert b"".join(tokenizer.decode_bytes([token]) for token in tokens).decode() == "🚗"


def test_special_tokens_of_a_text_are_text(bundle: Path) -> None:
    """Or a prompt could command the decoder."""
    manifest = load_manifest(bundle)
    assert all(token < manifest.tokens.eot for token in of(bundle).encode("<|startoftranscript|> hello"))


def test_ids_outside_of_the_vocabulary_have_no_text(bundle: Path) -> None:
    assert of(bundle).decode([-1, 10**6]) == ""


@given(st.lists(st.binary(max_size=5), max_size=20), st.data())
def test_a_packed_vocabulary_is_read_again(
    tmp_path_factory: pytest.TempPathFactory, tokens: list[bytes], data: st.DataObject
) -> None:
    folder = tmp_path_factory.mktemp("vocabulary")
    (folder / "vocabulary.data").write_bytes(vocabulary.pack(tokens))
    ids = data.draw(st.lists(st.integers(0, len(tokens)), max_size=30))
    expected = b"".join(tokens[i] for i in ids if i < len(tokens))
    assert Tokenizer(folder, len(tokens)).decode_bytes(ids) == expected


def test_a_vocabulary_that_is_none_is_refused(tmp_path: Path) -> None:
    good = vocabulary.pack([b"a", b"bc"])
    falling = np.array([0, 3, 1], "<u4").tobytes() + b"x"
    for data in (b"", good[:-1], good + b"x", b"\1" + good[1:], falling):
        (tmp_path / "vocabulary.data").write_bytes(data)
        with pytest.raises(BundleError, match="is not a vocabulary of 2 tokens"):
            Tokenizer(tmp_path, 2)
    (tmp_path / "vocabulary.data").unlink()
    with pytest.raises(BundleError, match=r"cannot read .*vocabulary.data: No such file"):
        Tokenizer(tmp_path, 2)


def test_a_broken_tokenizer_is_found_where_it_is_needed(tmp_path: Path) -> None:
    broken = Path(shutil.copytree(tiny_bundle(tmp_path, **SMALL), tmp_path / "broken"))
    (broken / "tokenizer.json").write_text("{")
    tokenizer = of(broken)
    assert tokenizer.decode([65]) == "A"
    with pytest.raises(BundleError, match=r"cannot read .*tokenizer.json"):
        tokenizer.encode("text")


def test_a_token_that_is_missing_or_misspelled_is_named(tmp_path: Path) -> None:
    weights = tiny_weights(tmp_path, **SMALL)
    document = json.loads(weights.tokenizer_json)
    text = next(text for text, token in document["model"]["vocab"].items() if token == 100)
    for other in ({}, {"a b": 100}):  # a space is spelled otherwise
        changed = json.loads(weights.tokenizer_json)
        del changed["model"]["vocab"][text]
        changed["model"]["vocab"].update(other)
        with pytest.raises(WeightsError, match="token 100 is not byte-level BPE"):
            vocabulary.text_tokens(replace(weights, tokenizer_json=json.dumps(changed).encode()))
