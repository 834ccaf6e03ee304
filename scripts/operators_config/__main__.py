"""List the operators that our models need, for the reduced build of ONNX Runtime.

    scripts/test                                            makes the bundles first
    .venv/bin/python scripts/operators_config               writes the recipe's list
    .venv/bin/python scripts/operators_config --check       fails if the recipe's list is another
    .venv/bin/python scripts/operators_config --add FOLDER  adds a bundle of your own

To use another model on the target: convert it, run this with --add, and build the image again.
"""

from __future__ import annotations

import argparse
import difflib
import sys
from collections.abc import Sequence
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
if __package__ in (None, ""):  # run as a folder: make it the package that its modules are written for
    sys.path.insert(0, str(ROOT / "scripts"))
    __package__ = "operators_config"

try:
    import onnx as _onnx  # noqa: F401
    import onnxruntime as _ort  # noqa: F401
except ImportError as missing:
    sys.exit(f"operators_config: no {missing.name} here; run scripts/setup, then use .venv/bin/python")

from convert_model.catalogue import SILERO_VAD  # noqa: E402
from convert_model.fetch import cache_folder, ensure_weights  # noqa: E402
from convert_model.weights import WeightsError  # noqa: E402

from .operators import OperatorsError, of_file, render, union  # noqa: E402

CONFIG = ROOT / "recipes-ml" / "onnxruntime" / "files" / "whisper-operators.config"
BUNDLES = ("tiny.en", "base", "base-fp32")
"""One of each kind: English only, multilingual, and both precisions. Sizes differ in numbers, not in operators."""


def models(bundles: Path, cache: Path, more: Sequence[Path] = ()) -> list[Path]:
    """The ONNX files that the image may run, the voice activity detector's included (it is fetched once).

    Raises:
        OperatorsError: a bundle is not there.
        WeightsError: the detector cannot be fetched.
    """
    folders = [*(bundles / name for name in BUNDLES), *more, ensure_weights(SILERO_VAD.name, cache)]
    files = []
    for folder in folders:
        found = sorted(folder.glob("*.onnx"))
        if not found:
            raise OperatorsError(f"no ONNX files in {folder}: run scripts/test, which makes the bundles")
        files += found
    return files


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command; returns its exit status."""
    p = argparse.ArgumentParser(
        prog="operators_config",
        description="List the operators that our models need, for the reduced build of ONNX Runtime",
        epilog="Exit status: 0 written, or the same; 1 failed, or another with --check; 2 usage.",
    )
    p.add_argument("--check", action="store_true", help="write nothing; show how the list there differs")
    p.add_argument("--add", type=Path, action="append", default=[], metavar="FOLDER", help="a further bundle")
    p.add_argument("--bundles", type=Path, metavar="DIR", help="where the bundles are (default: in the cache)")
    p.add_argument("--output", type=Path, metavar="FILE", default=CONFIG, help="default: the recipe's file")
    options = p.parse_args(arguments)
    cache = cache_folder()
    try:
        files = models(options.bundles or cache / "models", cache, options.add)
        wanted = render(union(of_file(file) for file in files))
        if not options.check:
            options.output.write_text(wanted, "utf-8")
            print(f"{options.output}: from {len(files)} files")
            return 0
        there = options.output.read_text("utf-8")
    except (OperatorsError, WeightsError, OSError) as error:
        print(f"operators_config: {error}", file=sys.stderr)
        return 1
    difference = list(
        difflib.unified_diff(there.splitlines(True), wanted.splitlines(True), str(options.output), "needed now")
    )
    sys.stderr.writelines(difference)
    return 1 if difference else 0


if __name__ == "__main__":
    sys.exit(main())
