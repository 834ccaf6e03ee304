"""Convert Whisper weights into the bundle that whisperd serves.

    scripts/run                                          does all of this on a PC
    .venv/bin/python scripts/convert_model base          fetch the pinned weights, write the bundle
    .venv/bin/python scripts/convert_model --from FOLDER --name small --output DIR
    .venv/bin/python scripts/convert_model silero-vad    fetch the voice activity detector, which stays as it is
    .venv/bin/python scripts/convert_model --list

The same weights give the same bytes on every PC. It needs numpy and onnx, and no PyTorch.
"""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
if __package__ in (None, ""):  # run as a folder: make it the package that its modules are written for
    sys.path.insert(0, str(ROOT / "scripts"))
    __package__ = "convert_model"

try:
    import numpy as _numpy  # noqa: F401
    import onnx as _onnx  # noqa: F401
except ImportError as missing:
    sys.exit(f"convert_model: no {missing.name} here; run scripts/setup, then use .venv/bin/python")

from .bundle import DEFAULT_STRIDE, MAX_STRIDE, PRECISIONS, Recipe, write_bundle  # noqa: E402
from .catalogue import ENTRIES, MODELS, SILERO_VAD  # noqa: E402
from .fetch import cache_folder, ensure_weights  # noqa: E402
from .sources import load_source  # noqa: E402
from .verify import verify  # noqa: E402
from .weights import WeightsError, validate  # noqa: E402

SAMPLE = ROOT / "tests" / "data" / "sample.wav"


def parser() -> argparse.ArgumentParser:
    """The command line."""
    p = argparse.ArgumentParser(
        prog="convert_model",
        description="Convert Whisper weights (tiny to small, English or multilingual) into a bundle",
        epilog="Exit status: 0 done, 1 failed and nothing written (--verify: the texts differ), 2 usage.",
    )
    p.add_argument(
        "model", nargs="?", metavar="MODEL", help="a model of the catalogue, such as base, or silero-vad"
    )
    p.add_argument(
        "--from",
        dest="source",
        type=Path,
        metavar="FOLDER",
        help="weights from FOLDER: CTranslate2 (model.bin, fp16, fp32) or Hugging Face (model.safetensors)",
    )
    p.add_argument("--name", help="name of a model given with --from (default: the folder's name)")
    p.add_argument("--output", type=Path, metavar="DIR", help="bundle folder (default: in the cache folder)")
    p.add_argument("--precision", choices=PRECISIONS, default="int8", help="of the weights (default: int8)")
    p.add_argument(
        "--tail-stride",
        type=int,
        default=DEFAULT_STRIDE,
        metavar="N",
        help=f"positions of 20 ms per row of the silent tail, 1 to {MAX_STRIDE} (default: {DEFAULT_STRIDE})",
    )
    p.add_argument(
        "--verify",
        nargs="?",
        type=Path,
        const=SAMPLE,
        metavar="CLIP",
        help="then compare with float32 over the full 30 s on CLIP (default: tests/data/sample.wav)",
    )
    p.add_argument("--cache", type=Path, metavar="DIR", help="downloads and bundles (~/.cache/meta-whisper)")
    p.add_argument("--list", action="store_true", help="list the catalogue and stop")
    return p


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command; returns its exit status."""
    p = parser()
    options = p.parse_args(arguments)
    if options.list:
        return _list()
    if (options.model is None) == (options.source is None):
        p.error("name a MODEL of the catalogue, or a folder with --from")
    if not 1 <= options.tail_stride <= MAX_STRIDE:
        p.error(f"--tail-stride {options.tail_stride} is not within 1 to {MAX_STRIDE}")
    try:
        return _convert(options)
    except WeightsError as error:
        print(f"convert_model: {error}", file=sys.stderr)
        return 1
    except MemoryError:
        print("convert_model: not enough memory for these weights", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("\nconvert_model: interrupted, nothing was written", file=sys.stderr)
        return 130


def _list() -> int:
    for name, entry in ENTRIES.items():
        print(f"{name:10} {entry.describe()}")
    return 0


def _convert(options: argparse.Namespace) -> int:
    cache = options.cache or cache_folder()
    if options.model == SILERO_VAD.name:
        print(ensure_weights(SILERO_VAD.name, cache) / SILERO_VAD.files[0].name)
        return 0
    if options.source is not None:
        folder, name = options.source, options.name or options.source.resolve().name
        weights = load_source(folder)
    else:
        name = options.name or options.model
        folder = ensure_weights(options.model, cache)
        entry = MODELS[options.model]
        weights = load_source(folder, source=entry.source, licence=entry.licence)
    validate(weights)
    suffix = "" if options.precision == "int8" else f"-{options.precision}"
    target = options.output or cache / "models" / f"{name}{suffix}"
    recipe = Recipe(name, options.precision, options.tail_stride)
    digest = write_bundle(weights, recipe, target, _progress())
    size = sum(path.stat().st_size for path in target.iterdir())
    print(f"{target}: {name}, {options.precision}, {size / 1e6:.0f} MB")
    print(f"sha256 of manifest.json: {digest}")
    if options.verify is None:
        return 0
    report = verify(target, weights, options.verify)
    print(f"float32, 30 s: {report.reference}")
    print(f"this bundle:   {report.text}")
    same = "the same text" if report.same else "NOT the same text"
    print(f"worst log-probability difference {report.worst:.2f} over {report.steps} steps; {same}")
    return 0 if report.same else 1


def _progress() -> Callable[[str, int, int], None]:
    """A progress line on a terminal, nothing elsewhere: there the two result lines say it all."""
    if not sys.stderr.isatty():
        return lambda *_: None

    def show(what: str, step: int, steps: int) -> None:
        bar = "#" * (30 * step // steps)
        end = "\n" if step == steps else ""
        print(f"\r\033[K{bar:<30} {what}", end=end, file=sys.stderr, flush=True)

    return show


if __name__ == "__main__":
    try:
        status = main()
        sys.stdout.flush()
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        status = 1
    sys.exit(status)
