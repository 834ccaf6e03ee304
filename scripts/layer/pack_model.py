"""Pack a model bundle into the archive that the recipes whisper-model-* fetch.

    python -m layer.pack_model BUNDLE FOLDER

The same bundle gives the same bytes on every PC: names sorted, no owner, no time, no compression (int8 weights do
not shrink). Its SHA-256 is what a recipe pins.
"""

from __future__ import annotations

import hashlib
import os
import re
import sys
import tarfile
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
RECIPES = ROOT / "recipes-ml" / "whisper-models"
_BLOCK = 1 << 20


def write_archive(bundle: Path, folder: Path) -> tuple[Path, str]:
    """Pack `bundle`, whose files are checked first; returns the archive's path in `folder` and its SHA-256 in hex.

    Raises:
        whisperd.errors.BundleError: the bundle is incomplete or was changed.
        OSError: `folder` cannot be written.
    """
    from whisperd.speech.bundle import MANIFEST, verify

    manifest = verify(bundle)
    folder.mkdir(parents=True, exist_ok=True)
    draft = folder / f".whisper-model-{manifest.name}-{os.getpid()}.tar"
    try:
        with tarfile.open(draft, "w", format=tarfile.USTAR_FORMAT) as archive:
            for name in sorted([*manifest.files, MANIFEST]):
                entry = tarfile.TarInfo(f"{manifest.name}/{name}")
                entry.size = (bundle / name).stat().st_size
                entry.mode = 0o644
                with (bundle / name).open("rb") as file:
                    archive.addfile(entry, file)
        sha256 = _sha256(draft)
        target = folder / archive_name(manifest.name, sha256)
        draft.replace(target)
    finally:
        draft.unlink(missing_ok=True)
    return target, sha256


def archive_name(model: str, sha256: str) -> str:
    """The archive's file name; whisper-model.inc makes the same of the pin."""
    return f"whisper-model-{model}-{sha256[:12]}.tar"


def recipe_name(model: str) -> str:
    """The recipe of a model: names of packages have no capitals and better no dots."""
    return f"whisper-model-{model.replace('.', '-')}"


def pinned(model: str) -> str | None:
    """The SHA-256 in the model's recipe; None where the recipe leaves it to the user, or there is no recipe."""
    for recipe in RECIPES.glob(f"{recipe_name(model)}_*.bb"):
        found = re.search(r'^WHISPER_MODEL_SHA256 = "([0-9a-f]{64})"$', recipe.read_text(), re.MULTILINE)
        return found[1] if found else None
    return None


def _sha256(path: Path) -> str:
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while block := file.read(_BLOCK):
            digest.update(block)
    return digest.hexdigest()


def main() -> int:
    """Run the command; returns its exit status."""
    from whisperd.errors import BundleError

    if len(sys.argv) != 3:
        print("usage: python -m layer.pack_model BUNDLE FOLDER", file=sys.stderr)
        return 2
    try:
        path, sha256 = write_archive(Path(sys.argv[1]), Path(sys.argv[2]))
    except (BundleError, OSError) as error:
        print(f"pack-model: {error}", file=sys.stderr)
        return 1
    model = path.name.removeprefix("whisper-model-").rpartition("-")[0]
    print(f"{path}: {path.stat().st_size / 1e6:.0f} MB")
    pin = pinned(model)
    if pin == sha256:
        print(f"sha256 {sha256}, as {recipe_name(model)} pins it")
    elif pin is None:
        print(f'for local.conf: WHISPER_MODEL_SHA256:pn-{recipe_name(model)} = "{sha256}"')
    else:
        print(
            f"sha256 {sha256}, but {recipe_name(model)} pins {pin}: the converter or the weights differ from what"
            f' the recipe was made for. To use this one: WHISPER_MODEL_SHA256:pn-{recipe_name(model)} = "{sha256}"'
        )
    return 0


if __name__ == "__main__":
    sys.exit(main())
