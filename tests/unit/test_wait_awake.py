"""Threads that wait awake or asleep: the same numbers, the same bundle, and no core that burns between runs."""

from __future__ import annotations

import os
import shutil
import time
from pathlib import Path

import numpy as np
import pytest
from tiny_bundle import tiny_bundle
from whisperd.errors import BundleError
from whisperd.speech.bundle import load_manifest
from whisperd.speech.model import WhisperModel
from whisperd.speech.types import Float32Array

MEL = np.random.default_rng(0).normal(scale=0.5, size=(80, 60)).astype(np.float32)


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_bundle(tmp_path_factory.mktemp("awake"), "int8")


@pytest.fixture
def folder(whole: Path, tmp_path: Path) -> Path:
    return shutil.copytree(whole, tmp_path / "bundle")


def logits(model: WhisperModel) -> Float32Array:
    hypothesis = model.start(model.encode(MEL))
    return np.concatenate([model.step(hypothesis, [token]) for token in (1, 2, 7, 8)])


def test_both_ways_give_the_same_numbers_there_and_back(folder: Path) -> None:
    model = WhisperModel(folder, load_manifest(folder), threads=2)
    assert not model.awake
    asleep = logits(model)
    model.wait_awake(True)
    assert model.awake
    np.testing.assert_allclose(logits(model), asleep, atol=1e-4)
    model.wait_awake(False)
    assert not model.awake
    np.testing.assert_array_equal(logits(model), asleep)


def test_awake_from_the_start(folder: Path) -> None:
    model = WhisperModel(folder, load_manifest(folder), threads=2, awake=True)
    assert model.awake
    assert np.isfinite(logits(model)).all()


def test_a_hypothesis_goes_on_across_the_change(folder: Path) -> None:
    model = WhisperModel(folder, load_manifest(folder), threads=2)
    hypothesis = model.start(model.encode(MEL))
    model.step(hypothesis, [1, 2])
    model.wait_awake(True)
    after = model.step(hypothesis, [7])
    other = model.start(model.encode(MEL))
    model.step(other, [1, 2])
    np.testing.assert_allclose(model.step(other, [7]), after, atol=1e-4)


def test_no_core_burns_between_two_runs(folder: Path) -> None:
    model = WhisperModel(folder, load_manifest(folder), threads=2, awake=True)
    logits(model)
    time.sleep(0.05)
    begun = time.process_time()
    time.sleep(0.5)
    assert time.process_time() - begun < 0.1


@pytest.mark.parametrize("name", ["encoder.onnx", "decoder.data", "head.data"])
def test_a_bundle_that_has_changed_is_not_loaded_into_the_old_one(folder: Path, name: str) -> None:
    model = WhisperModel(folder, load_manifest(folder), threads=2)
    before = logits(model)
    shutil.copy(folder / name, folder / "new")
    os.replace(folder / "new", folder / name)
    with pytest.raises(BundleError, match="have changed since they were loaded"):
        model.wait_awake(True)
    assert not model.awake
    np.testing.assert_array_equal(logits(model), before)


def test_a_bundle_that_has_gone_is_named(folder: Path) -> None:
    model = WhisperModel(folder, load_manifest(folder), threads=2)
    (folder / "decoder.onnx").unlink()
    with pytest.raises(BundleError, match=r"cannot read .*decoder\.onnx: No such file"):
        model.wait_awake(True)
    assert np.isfinite(logits(model)).all()
    model.wait_awake(False)  # as it is already: nothing is read
