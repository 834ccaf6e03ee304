"""int8 tail once more, as a Raspberry Pi 4's CPU computes it: qemu, the image's Python packages, the same clips.

Weights of 7 bits cannot saturate, so a PC and a Cortex-A72 multiply the same integers (docs/models.md); what their
float kernels round differently may still turn a token. tests/target has the machine; here it hears the first clips
of the fair order, all languages among them.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import shutil
import sys
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from convert_model.fetch import cache_folder
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from .accuracy_runs import INT8, Contender, Heard, Results, code_version
from .accuracy_score import SLICE_POINTS, errors, plain_words

if TYPE_CHECKING:
    from .accuracy import Sample

TARGET = Path(__file__).resolve().parents[2] / "tests" / "target"
NAME = f"{INT8}, Cortex-A72"
INSTALL = "apt install mmdebstrap arch-test qemu-user-static debian-archive-keyring"
FOLDER = "opt/clips"
#: What runs there: a line of JSON for each clip, in the order of the list.
SCRIPT = """
import json, sys
from pathlib import Path
import numpy as np
from whisperd.speech.transcribe import load
from whisperd.speech.options import Options
from whisperd.speech.types import Unattended
folder, model = Path(sys.argv[1]), Path(sys.argv[2])
engine = load(model, threads=1, language="en")
for name, language in json.loads((folder / "list.json").read_text()):
    pcm = np.fromfile(folder / f"{name}.raw", "<i2")
    said = engine.transcribe(pcm, Options(language=language), Unattended())
    print(json.dumps({"text": said.text, "refused": said.no_speech, "fallbacks": said.fallbacks}), flush=True)
"""


class TargetError(Exception):
    """The machine cannot be made or does not answer: what is missing, or what it said."""


def hear_on_target(samples: Sequence[Sample], kept: Results, options: argparse.Namespace, console: Console) -> int:
    """Have the emulated CPU hear some samples, and compare with the PC; returns an exit status.

    Args:
        samples: in their fair order.
        kept: what int8 tail made of them on the PC.

    Raises:
        TargetError: see there.
    """
    chosen = [sample for sample in samples if sample.audio in kept][: options.cortex_a72]
    if not chosen:
        raise TargetError(f"{INT8} has heard nothing yet on this PC, so there is nothing to compare with")
    bundle = options.int8 or options.bundles / "base"
    made_of = f"{NAME} {(bundle / 'manifest.json').read_text()} {code_version()}"

    def never() -> object:
        raise AssertionError("runs in the emulator")

    contender = Contender(NAME, made_of, never)  # type: ignore[arg-type]
    with Results(kept.path.parent, contender) as there:
        waiting = [sample for sample in chosen if sample.audio not in there]
        if waiting:
            _require()
            with _machine(bundle, waiting) as answers:
                columns = (
                    TextColumn("{task.description}"),
                    BarColumn(),
                    MofNCompleteColumn(),
                    TimeRemainingColumn(),
                )
                with Progress(*columns, console=console) as progress:
                    task = progress.add_task(NAME, total=len(chosen), completed=len(chosen) - len(waiting))
                    for sample, heard in zip(waiting, answers, strict=True):
                        there.add(sample.audio, heard)
                        progress.advance(task)
        return _compare(chosen, kept, there, console)


def _compare(chosen: Sequence[Sample], here: Results, there: Results, console: Console) -> int:
    words, wrong_here, wrong_there, differ = 0, 0, 0, 0
    for sample in chosen:
        language = sample.clip.language
        said = plain_words(sample.clip.text, language)
        pc, pi = here[sample.audio], there[sample.audio]
        words += len(said)
        wrong_here += errors(said, plain_words(pc.text, language))
        wrong_there += errors(said, plain_words(pi.text, language))
        if pc.text != pi.text:
            differ += 1
            console.print(f"{sample.clip.name}, {sample.condition}:", highlight=False, markup=False)
            console.print(f"  PC:         {pc.text}", highlight=False, markup=False)
            console.print(f"  Cortex-A72: {pi.text}", highlight=False, markup=False)
    points = 100 * (wrong_there - wrong_here) / max(1, words)
    languages = len({sample.clip.language for sample in chosen})
    console.print(
        f"{len(chosen)} clips in {languages} languages, {words} words: {differ} texts differ; "
        f"{wrong_here} words wrong on this PC, {wrong_there} on a Cortex-A72 ({points:+.2f} points)",
        highlight=False,
    )
    return 0 if points <= SLICE_POINTS else 1


def _require() -> None:
    """Say what is missing before minutes are spent."""
    if os.geteuid() != 0:
        raise TargetError("--cortex-a72 needs root: it unpacks and enters a root file system of another machine")
    missing = [tool for tool in ("mmdebstrap", "qemu-aarch64-static", "chroot") if shutil.which(tool) is None]
    if missing:
        raise TargetError(f"--cortex-a72 needs {', '.join(missing)}: {INSTALL}")


@contextlib.contextmanager
def _machine(bundle: Path, samples: Sequence[Sample]) -> Iterator[Iterator[Heard]]:
    """The emulated machine with the samples in it, and its answers in their order."""
    if str(TARGET) not in sys.path:
        sys.path.append(str(TARGET))
    import rootfs
    from emulated import MODEL, PACKAGES, REQUIREMENTS, Emulated

    vad = cache_folder() / "weights" / "silero-vad" / "silero_vad_16k_op15.onnx"
    wanted = [line for line in REQUIREMENTS.read_text().splitlines() if line and not line.startswith("#")]
    site = rootfs.wheels("arm64", wanted, ["sdnotify==0.3.2"], alone=True)
    with tempfile.TemporaryDirectory(prefix="accuracy-") as folder:
        root = Path(folder) / "root"
        rootfs.copy_tree(rootfs.debian("arm64", PACKAGES, extract_only=True), root)
        pi = Emulated(root, bundle, vad, site)
        clips = root / FOLDER
        clips.mkdir(parents=True)
        for sample in samples:
            sample.pcm.astype("<i2").tofile(clips / f"{sample.audio}.raw")
        (clips / "list.json").write_text(json.dumps([(s.audio, s.clip.language) for s in samples]))
        process = pi.start("-c", SCRIPT, f"/{FOLDER}", MODEL)
        try:
            assert process.stdout is not None
            yield _answers(process.stdout)
        finally:
            process.kill()
            process.wait()
            rootfs.remove_tree(root)


def _answers(lines: Iterator[str]) -> Iterator[Heard]:
    said = []
    for line in lines:
        try:
            yield Heard(**json.loads(line))
        except (ValueError, TypeError):
            said.append(line)
            if len(said) > 50:
                break
    if said:
        raise TargetError("the emulated machine said:\n" + "".join(said))
