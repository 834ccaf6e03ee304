"""Compare whisperd with faster-whisper and whisper.cpp: time to text, memory, start-up, idle CPU.

    scripts/bench/speed                        the clips of tests/data, and joins of them
    scripts/bench/speed --audio recording.wav  prefixes of a recording instead

All contenders run in one interleaved round after another, so that a noisy minute hits all of them; the figures
are medians, and what counts are the ratios.
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
import tempfile
import time
from contextlib import ExitStack
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
if __package__ in (None, ""):  # run as a folder
    sys.path.insert(0, str(ROOT / "scripts"))
    __package__ = "bench"

import numpy as np  # noqa: E402
import soundfile  # noqa: E402
from convert_model.bundle import Recipe, write_bundle  # noqa: E402
from convert_model.fetch import cache_folder, ensure_weights  # noqa: E402
from convert_model.sources import load_source  # noqa: E402
from convert_model.weights import Weights  # noqa: E402
from rich.console import Console  # noqa: E402
from rich.table import Table  # noqa: E402
from whisperd.audio.files import read_audio  # noqa: E402
from whisperd.speech.features import mel_filters  # noqa: E402
from whisperd.speech.options import Options  # noqa: E402
from whisperd.speech.transcribe import load  # noqa: E402
from whisperd.speech.types import Unattended  # noqa: E402

from .contenders import Contender, Daemon, Stranger, cpu_seconds, memory_mb  # noqa: E402
from .ggml import write_ggml  # noqa: E402

RATE = 16_000
LENGTHS = (2.1, 3.5, 6.0, 11.0)
PAUSE = np.zeros(RATE // 2, np.int16)
IDLE_SECONDS = 10.0
#: At least so many times faster than each stranger, per clip in order of length.
TARGETS = {"faster-whisper": (15.0, 10.0, 7.0, 4.5), "whisper.cpp": (3.0, 3.0, 3.0, 2.5)}
#: A word's worth of difference that the cut context and int8 may cost over all clips together.
WORDS_ALLOWED = 1


def main() -> int:
    """Run the benchmark; the exit status says whether all targets are met."""
    p = argparse.ArgumentParser(prog="scripts/bench/speed", description=__doc__, formatter_class=_Formatter)
    p.add_argument("--audio", type=Path, help="recording of 11 s or more, whose prefixes are the clips")
    p.add_argument("--model", default="base", help="model of the catalogue (default: base)")
    p.add_argument("--threads", type=int, default=2)
    p.add_argument("--rounds", type=int, default=7, help="interleaved rounds (default: 7)")
    p.add_argument("--json", type=Path, help="also write the figures to this file")
    options = p.parse_args()
    console = Console(width=None if sys.stdout.isatty() else 110)
    with tempfile.TemporaryDirectory(prefix="bench-") as folder, ExitStack() as stack:
        work = Path(folder)
        clips = _clips(options.audio, work)
        models = _models(options.model, work)
        reference = _full_context(models["fp32"], clips, options.threads)
        contenders: list[Contender] = [
            stack.enter_context(Daemon(models["bundle"], options.threads)),
            stack.enter_context(Stranger("faster-whisper", models["ctranslate2"], options.threads)),
            stack.enter_context(Stranger("whisper.cpp", models["ggml"], options.threads)),
        ]
        times, texts = _measure(contenders, clips, options.rounds, console)
        before = cpu_seconds(contenders[0].pid)
        time.sleep(IDLE_SECONDS)
        idle = (cpu_seconds(contenders[0].pid) - before) / IDLE_SECONDS
        memory = {c.name: memory_mb(c.pid) for c in contenders}
        ready = {c.name: c.ready_s for c in contenders}
    report = _report(clips, times, texts, reference)
    report |= {"memory_mb": memory, "ready_s": ready, "idle_cpu": idle}
    _show(console, report)
    if options.json:
        options.json.write_text(json.dumps(report, indent=1) + "\n")
    return 0 if report["met"] else 1


class _Formatter(argparse.RawDescriptionHelpFormatter):
    """Keeps the module's own line breaks."""


def _clips(audio: Path | None, folder: Path) -> dict[str, Path]:
    """Four clips of about 2, 3.5, 6 and 11 s, as WAV files."""
    if audio is None:
        short, long = (read_audio(ROOT / "tests" / "data" / f"{n}.wav", 60.0) for n in ("command", "sample"))
        parts = [[short], [long], [short, PAUSE, long], [long, PAUSE, PAUSE, short, PAUSE, long, PAUSE]]
        clips = [np.concatenate(part) for part in parts]
    else:
        whole = read_audio(audio, 3600.0)
        if len(whole) < LENGTHS[-1] * RATE:
            raise SystemExit(f"{audio} is shorter than {LENGTHS[-1]} s")
        clips = [whole[: int(length * RATE)] for length in LENGTHS]
    found = {}
    for clip in clips:
        path = folder / f"{len(clip) / RATE:.1f}.wav"
        soundfile.write(path, clip, RATE, subtype="PCM_16")
        found[f"{len(clip) / RATE:.1f} s"] = path
    return found


def _models(name: str, folder: Path) -> dict[str, Path]:
    """The same weights in every contender's form."""
    source = ensure_weights(name, cache_folder())
    weights = load_source(source)
    paths = {
        "ctranslate2": _ctranslate2(source, weights, folder / "ct2"),
        "bundle": folder / "int8",
        "fp32": folder / "fp32",
        "ggml": folder / "q8_0.bin",
    }
    write_bundle(weights, Recipe(name), paths["bundle"])
    write_bundle(weights, Recipe(name, "fp32"), paths["fp32"])
    write_ggml(weights, mel_filters(weights.dims.n_mels).astype(np.float32), paths["ggml"])
    return paths


def _ctranslate2(source: Path, weights: Weights, folder: Path) -> Path:
    """The folder as CTranslate2 wants it: with its vocabulary file, which the tokenizer implies."""
    folder.mkdir()
    for name in ("model.bin", "config.json", "tokenizer.json"):
        (folder / name).symlink_to((source / name).resolve())
    tokenizer = json.loads(weights.tokenizer_json)
    tokens = {token: text for text, token in tokenizer["model"]["vocab"].items()}
    tokens |= {token["id"]: token["content"] for token in tokenizer["added_tokens"]}
    vocabulary = [tokens.get(i, f"<|{i}|>") for i in range(weights.dims.n_vocab)]
    (folder / "vocabulary.json").write_text(json.dumps(vocabulary))
    return folder


def _full_context(bundle: Path, clips: dict[str, Path], threads: int) -> dict[str, str]:
    """What float32 over the full 30 s makes of the clips: the measure of word errors."""
    engine = load(bundle, threads=threads, language="en")
    return {
        name: engine.transcribe(read_audio(path, 60.0), Options(), Unattended(), full_context=True).text
        for name, path in clips.items()
    }


def _measure(
    contenders: list[Contender], clips: dict[str, Path], rounds: int, console: Console
) -> tuple[dict[str, dict[str, float]], dict[str, dict[str, str]]]:
    """Median seconds and the text, per contender and clip. A first round is not counted."""
    samples: dict[str, dict[str, list[float]]] = {c.name: {name: [] for name in clips} for c in contenders}
    texts: dict[str, dict[str, str]] = {c.name: {} for c in contenders}
    with console.status("warming up") as status:
        for turn in range(-1, rounds):
            for name, path in clips.items():
                for contender in contenders:
                    status.update(f"round {turn + 1} of {rounds}: {name}, {contender.name}")
                    text, seconds = contender.transcribe(path)
                    texts[contender.name][name] = text
                    if turn >= 0:
                        samples[contender.name][name].append(seconds)
    medians = {who: {n: statistics.median(s) for n, s in by.items()} for who, by in samples.items()}
    return medians, texts


def _words(text: str) -> list[str]:
    kept = "".join(c if c.isalnum() or c in " '" else " " for c in text.lower())
    return kept.split()


def _errors(text: str, reference: str) -> int:
    """Words to substitute, insert and delete between two texts."""
    import jiwer

    found = jiwer.process_words(" ".join(_words(reference)) or "-", " ".join(_words(text)) or "-")
    return int(found.substitutions + found.insertions + found.deletions)


def _report(
    clips: dict[str, Path],
    times: dict[str, dict[str, float]],
    texts: dict[str, dict[str, str]],
    reference: dict[str, str],
) -> dict[str, Any]:
    ours = times["whisperd"]
    ratios = {who: {n: times[who][n] / ours[n] for n in clips} for who in TARGETS}
    differing = {who: {n: _errors(texts[who][n], reference[n]) for n in clips} for who in texts}
    met = (
        all(
            ratio >= target
            for who, targets in TARGETS.items()
            for ratio, target in zip(ratios[who].values(), targets, strict=True)
        )
        and sum(differing["whisperd"].values()) <= WORDS_ALLOWED
    )
    return {
        "seconds": times,
        "ratios": ratios,
        "texts": texts,
        "full_context": reference,
        "words_differing": differing,
        "met": met,
    }


def _show(console: Console, report: dict[str, Any]) -> None:
    table = Table("", *report["full_context"], title="seconds to text, median; words that differ from fp32, 30 s")
    for who, by_clip in report["seconds"].items():
        cells = (f"{s:.3f}  ({report['words_differing'][who][n]})" for n, s in by_clip.items())
        table.add_row(who, *cells)
    for who, by_clip in report["ratios"].items():
        cells = (f"{r:.1f}x of {t}x" for r, t in zip(by_clip.values(), TARGETS[who], strict=True))
        table.add_row(f"faster than {who}", *cells)
    console.print(table)
    more = Table("", "RSS after", "RSS peak", "ready after", title="process (MB of 2^20 bytes, s)")
    for who, (now, peak) in report["memory_mb"].items():
        more.add_row(who, f"{now:.0f}", f"{peak:.0f}", f"{report['ready_s'][who]:.2f}")
    console.print(more)
    console.print(f"idle CPU of whisperd over {IDLE_SECONDS:g} s: {100 * report['idle_cpu']:.2f}% of a core")
    for name, text in report["full_context"].items():
        console.print(f"{name}: {text}", highlight=False)
        for who, texts in report["texts"].items():
            if report["words_differing"][who][name]:
                console.print(f"    {who}: {texts[name][:300]}", highlight=False)
    console.print("all targets met" if report["met"] else "NOT all targets met")


if __name__ == "__main__":
    sys.exit(main())
