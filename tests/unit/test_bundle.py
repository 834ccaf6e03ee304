"""The bundle as the converter writes it and as the daemon reads it, whole and damaged."""

from __future__ import annotations

import errno
import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from convert_model import bundle as writer
from convert_model import graphs
from convert_model.bundle import Recipe, write_bundle
from convert_model.quantise import FULL_RANGE, SAFE_RANGE, quantise_columns
from convert_model.weights import WeightsError
from tiny_bundle import tiny_bundle, tiny_weights
from whisperd.errors import BundleError
from whisperd.speech import bundle as reader
from whisperd.speech.bundle import MAX_MANIFEST_BYTES, load_manifest, verify

SMALL = {"audio_ctx": 40, "text_ctx": 8, "mels": 8}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tiny_bundle(tmp_path, "int8", **SMALL)


def contents(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def edit(folder: Path, change: Callable[[dict[str, Any]], object]) -> None:
    manifest = json.loads((folder / "manifest.json").read_text())
    change(manifest)
    (folder / "manifest.json").write_text(json.dumps(manifest))


def test_writer_and_reader_mean_the_same_format() -> None:
    assert writer.FORMAT == reader.FORMAT


def test_manifest_describes_the_checkpoint_and_every_file(folder: Path) -> None:
    manifest = verify(folder)
    assert manifest.name == "tiny-random"
    assert manifest.precision == "int8"
    assert (manifest.dimensions.n_state, manifest.dimensions.n_audio_ctx) == (64, 40)
    assert manifest.tail_stride == 16
    assert set(manifest.tokens.languages) == {"en", "de", "fr"}
    assert set(manifest.files) | {"manifest.json"} == set(contents(folder))


def test_same_weights_give_the_same_bytes(tmp_path: Path) -> None:
    first = contents(tiny_bundle(tmp_path / "a", "int8", **SMALL))
    assert contents(tiny_bundle(tmp_path / "b", "int8", **SMALL)) == first
    assert contents(tiny_bundle(tmp_path / "c", "int8", seed=2, **SMALL)) != first


def test_bytes_are_those_of_every_other_pc(tmp_path: Path) -> None:
    """Pinned: a change of numpy, onnx or CPU that moved a single bit would break the recipes' checksums."""
    folder = tiny_bundle(tmp_path, "int8", **SMALL)
    manifest = json.loads((folder / "manifest.json").read_text())
    short = {name: entry["sha256"][:16] for name, entry in manifest["files"].items()}
    assert short == json.loads((Path(__file__).parents[1] / "data" / "tiny_bundle.json").read_text())


def test_no_path_of_the_machine_in_the_bundle(folder: Path) -> None:
    for name, data in contents(folder).items():
        assert str(folder.parent).encode() not in data, name


@pytest.mark.parametrize(
    "name", ["encoder.onnx", "decoder.data", "embedding.scale", "head.data", "tokenizer.json", "vocabulary.data"]
)
def test_a_missing_short_or_changed_file_is_named(folder: Path, name: str) -> None:
    whole = (folder / name).read_bytes()
    (folder / name).write_bytes(whole[:-1])
    with pytest.raises(BundleError, match=f"{name} has {len(whole) - 1} bytes, its manifest says {len(whole)}"):
        verify(folder)
    (folder / name).write_bytes(bytes([whole[0] ^ 1]) + whole[1:])
    with pytest.raises(BundleError, match=f"{name} was changed"):
        verify(folder)
    (folder / name).unlink()
    with pytest.raises(BundleError, match=f"{name} is missing"):
        verify(folder)


@pytest.mark.parametrize(
    ("change", "complaint"),
    [
        (lambda m: m.update(format=1), "format 1, this daemon reads 4"),
        (lambda m: m.pop("tokens"), "lacks the field 'tokens'"),
        (lambda m: m["dimensions"].update(n_state=-4), "n_state is -4"),
        (lambda m: m["dimensions"].pop("n_head"), "n_head"),
        (lambda m: m["tail"].update(stride=0), "tail.stride"),
        (lambda m: m["tokens"].update(eot=10**9), "not below n_vocab"),
        (lambda m: m["suppress"].append(True), "suppress is True"),
        (lambda m: m["files"].update({"../passwd": {"sha256": "", "bytes": 1}}), "'../passwd' is not a file name"),
        (lambda m: m.update(files=[]), "wrong field"),
    ],
)
def test_a_wrong_manifest_is_refused(
    folder: Path, change: Callable[[dict[str, Any]], object], complaint: str
) -> None:
    edit(folder, change)
    with pytest.raises(BundleError, match=complaint):
        load_manifest(folder)


def test_what_is_no_manifest_is_refused(tmp_path: Path) -> None:
    with pytest.raises(BundleError, match=r"no model bundle in .*scripts/convert_model"):
        load_manifest(tmp_path)
    manifest = tmp_path / "manifest.json"
    for text, complaint in (("{", "not JSON"), ("[]", "format None"), ("[" * 100_000, "not JSON")):
        manifest.write_text(text)
        with pytest.raises(BundleError, match=complaint):
            load_manifest(tmp_path)
    manifest.write_text(" " * MAX_MANIFEST_BYTES)
    with pytest.raises(BundleError, match="not JSON"):
        load_manifest(tmp_path)
    manifest.write_text(" " * (MAX_MANIFEST_BYTES + 1))
    with pytest.raises(BundleError, match="which no manifest is"):
        load_manifest(tmp_path)


def test_a_full_disk_leaves_the_old_bundle(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    before = contents(folder)

    def full(*_: object) -> list[str]:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(graphs, "write_decoder", full)
    weights = tiny_weights(folder.parent / "other", seed=5, **SMALL)
    with pytest.raises(WeightsError, match=r"cannot write .*the disk is full.*nothing was changed"):
        write_bundle(weights, Recipe("other"), folder)
    assert contents(folder) == before
    assert sorted(path.name for path in folder.parent.iterdir()) == ["bundle", "other", "weights"]


def test_a_new_bundle_takes_the_place_of_the_old(folder: Path) -> None:
    weights = tiny_weights(folder.parent / "other", seed=5, **SMALL)
    write_bundle(weights, Recipe("other"), folder)
    assert verify(folder).name == "other"
    assert sorted(path.name for path in folder.parent.iterdir()) == ["bundle", "other", "weights"]


def test_what_is_no_bundle_is_not_replaced(tmp_path: Path) -> None:
    precious = tmp_path / "home"
    precious.mkdir()
    (precious / "letter").write_text("dear")
    with pytest.raises(WeightsError, match="something else than a model bundle"):
        write_bundle(tiny_weights(tmp_path / "w", **SMALL), Recipe("x"), precious)
    assert (precious / "letter").read_text() == "dear"


@pytest.mark.parametrize("weight_range", [SAFE_RANGE, FULL_RANGE])
def test_quantisation_keeps_each_row_within_half_a_step(weight_range: int) -> None:
    rows = np.random.default_rng(0).normal(size=(5, 40)).astype(np.float32) * [[1e-6], [1], [50], [0], [1e4]]
    levels, scale = quantise_columns(rows.astype(np.float32), weight_range)
    assert levels.dtype == np.int8
    assert np.abs(levels).max(axis=1).tolist() == [weight_range] * 3 + [0, weight_range]
    error = np.abs(levels * scale[:, None] - rows)
    assert (error <= 0.5001 * scale[:, None]).all()
    # Two products of 8-bit activations with safe weights fit the 16 bits that x86 without VNNI adds them in.
    assert np.iinfo(np.int16).max >= 2 * 255 * SAFE_RANGE


def test_a_bundle_can_be_moved(folder: Path, tmp_path: Path) -> None:
    from whisperd.speech.model import WhisperModel

    moved = tmp_path / "elsewhere"
    shutil.move(folder, moved)
    model = WhisperModel(moved, verify(moved), threads=1)
    assert model.encode(np.zeros((8, 20), np.float32))["ck0"].numpy().shape[2] == 10 + 2
