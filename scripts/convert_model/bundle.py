"""Write a bundle: graphs, tokenizer and manifest, all of them or nothing.

docs/models.md describes the folder; the daemon's whisperd/speech/bundle.py reads it.
"""

from __future__ import annotations

import errno
import hashlib
import json
import os
import shutil
import tempfile
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from . import graphs, tail, vocabulary
from .quantise import SAFE_RANGE
from .weights import Weights, WeightsError

FORMAT = 4
PRECISIONS = ("int8", "fp32")
#: 16 positions of 20 ms: no farther from the full context than 8, and 32 saves little more (docs/models.md).
DEFAULT_STRIDE = 16
MAX_STRIDE = 100


@dataclass(frozen=True)
class Recipe:
    """What is made of the weights.

    Attributes:
        name: the model's name in manifest and messages.
        precision: "int8" or "fp32", of the linear layers and the embedding.
        stride: positions per row of the silent tail.
    """

    name: str
    precision: str = "int8"
    stride: int = DEFAULT_STRIDE


def write_bundle(
    weights: Weights, recipe: Recipe, target: Path, report: Callable[[str, int, int], None] = lambda *_: None
) -> str:
    """Make a bundle in `target`, in place of what stands there.

    Args:
        report: called with (what is being done, step, steps).

    Returns:
        sha256 of the manifest, which holds the sha256 of every other file.

    Raises:
        WeightsError: no room or no right to write; `target` is then as it was.
    """
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        draft = Path(tempfile.mkdtemp(prefix=f".{target.name}-", dir=target.parent))
    except OSError as error:
        raise WeightsError(f"cannot write {target}: {error.strerror}") from None
    try:
        draft.chmod(0o755)
        _write_files(weights, recipe, draft, report)
        manifest = (draft / "manifest.json").read_bytes()
        _replace(draft, target)
    except OSError as error:
        room = " (the disk is full)" if error.errno in (errno.ENOSPC, errno.EDQUOT) else ""
        raise WeightsError(f"cannot write {target}: {error.strerror}{room}; nothing was changed") from None
    finally:
        shutil.rmtree(draft, ignore_errors=True)
    return hashlib.sha256(manifest).hexdigest()


def _write_files(w: Weights, recipe: Recipe, folder: Path, report: Callable[[str, int, int], None]) -> None:
    layers = w.dims.n_audio_layer
    steps = layers + 3
    done = 0

    def advance() -> None:
        nonlocal done
        done += 1
        report("computing the silent tail", done, steps)

    report("computing the silent tail", 0, steps)
    silence = tail.silent_tail(w, recipe.stride, advance)
    weight_range = SAFE_RANGE if recipe.precision == "int8" else None
    report("writing the encoder", layers, steps)
    files = graphs.write_encoder(w, silence, weight_range, folder)
    report("writing the decoder", layers + 1, steps)
    files += graphs.write_decoder(w, recipe.stride, weight_range, folder)
    files += graphs.write_head(w, weight_range, folder)
    (folder / "tokenizer.json").write_bytes(w.tokenizer_json)
    (folder / vocabulary.FILE).write_bytes(vocabulary.pack(vocabulary.text_tokens(w)))
    report("writing the manifest", layers + 2, steps)
    entries = {name: _sealed(folder / name) for name in sorted([*files, "tokenizer.json", vocabulary.FILE])}
    manifest = folder / "manifest.json"
    manifest.write_text(json.dumps(_manifest(w, recipe, entries), indent=1, sort_keys=True) + "\n")
    _sealed(manifest)
    report("done", steps, steps)


def _manifest(w: Weights, recipe: Recipe, files: dict[str, Any]) -> dict[str, Any]:
    return {
        "format": FORMAT,
        "name": recipe.name,
        "precision": recipe.precision,
        "dimensions": asdict(w.dims),
        "multilingual": w.multilingual,
        "tokens": asdict(w.special),
        "suppress": list(w.suppress),
        "suppress_begin": list(w.suppress_begin),
        "alignment_heads": [list(pair) for pair in w.aligning_heads],
        "tail": {"stride": recipe.stride, "loudest": tail.LOUDEST},
        "source": w.source,
        "source_sha256": dict(w.sha256),
        "licence": w.licence,
        "files": files,
    }


def _sealed(path: Path) -> dict[str, Any]:
    """Bring a written file to the disk and describe it. Bundles are data for every user: mode 0644."""
    path.chmod(0o644)
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while block := file.read(1 << 20):
            digest.update(block)
        os.fsync(file.fileno())
    return {"sha256": digest.hexdigest(), "bytes": path.stat().st_size}


def _replace(draft: Path, target: Path) -> None:
    """Put `draft` in the place of `target`; a folder cannot be renamed over one that is not empty."""
    if not os.path.lexists(target):
        draft.rename(target)
        return
    if not (target.is_dir() and (not any(target.iterdir()) or (target / "manifest.json").is_file())):
        raise FileExistsError(errno.EEXIST, "there is something else than a model bundle")
    old = draft.with_name(draft.name + ".old")
    target.rename(old)
    try:
        draft.rename(target)
    except OSError:
        old.rename(target)
        raise
    shutil.rmtree(old, ignore_errors=True)
