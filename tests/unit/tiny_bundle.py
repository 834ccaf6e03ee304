"""Bundles of a tiny random Whisper, for tests that need the whole path and no download."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import tiny_checkpoint
from convert_model.bundle import Recipe, write_bundle
from convert_model.sources import load_source
from convert_model.weights import Weights


def tiny_weights(folder: Path, **sizes: Any) -> Weights:
    """A tiny checkpoint that has gone through a file in `folder`."""
    return load_source(tiny_checkpoint.write_ctranslate2(tiny_checkpoint.make(**sizes), folder))


def tiny_bundle(folder: Path, precision: str = "fp32", stride: int = 16, **sizes: Any) -> Path:
    """A bundle of it."""
    weights = tiny_weights(folder / "weights", **sizes)
    write_bundle(weights, Recipe("tiny-random", precision, stride), folder / "bundle")
    return folder / "bundle"
