"""Which reader a checkpoint folder is for."""

from __future__ import annotations

from pathlib import Path

from . import ctranslate2
from .weights import Weights, WeightsError, parse_json, read_small

PROVENANCE = "SOURCE.json"
"""Written by `fetch` beside fetched weights: {"source": one line, "licence": name}."""


def load_source(folder: Path, *, source: str | None = None, licence: str | None = None) -> Weights:
    """Read the checkpoint in ``folder``, whichever of the two forms it has, and validate it.

    Args:
        folder: a CTranslate2 folder (``model.bin``) or a Hugging Face one (``model.safetensors``), each
            with its ``tokenizer.json`` and ``config.json``.
        source: one line on where the weights come from, without a path.
        licence: of the weights.
            Both are taken from ``SOURCE.json`` in the folder where they are not given.

    Raises `WeightsError`, one sentence that names the file and what is wrong with it.
    """
    if not folder.is_dir():
        raise WeightsError(f"{folder} is not a folder")
    provenance = folder / PROVENANCE
    if provenance.exists():
        known = parse_json(read_small(provenance, "the origin of the weights"), where=str(provenance))
        source = source or str(known.get("source", "")) or None
        licence = licence or str(known.get("licence", "")) or None
    licence = licence or "not stated"
    is_ctranslate2 = (folder / "model.bin").exists()
    is_safetensors = (folder / "model.safetensors").exists()
    if is_ctranslate2 and is_safetensors:
        raise WeightsError(f"{folder} has model.bin and model.safetensors: remove the one that is not meant")
    if is_ctranslate2:
        return ctranslate2.load(folder, source=source, licence=licence)
    if is_safetensors:
        # Imported late: whoever converts the catalogue's weights does not need the safetensors package.
        from . import safetensors_source

        return safetensors_source.load(folder, source=source, licence=licence)
    if (folder / "model.safetensors.index.json").exists():
        raise WeightsError(f"{folder}: a checkpoint in several pieces: save it as one model.safetensors")
    if (folder / "pytorch_model.bin").exists():
        raise WeightsError(f"{folder}: pytorch_model.bin is not read: model.safetensors is needed")
    raise WeightsError(f"{folder} has neither model.bin (CTranslate2) nor model.safetensors (Hugging Face)")
