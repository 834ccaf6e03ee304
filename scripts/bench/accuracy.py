"""Word error rate of whisperd and of faster-whisper, in six languages and eight conditions, and the gate.

    scripts/bench/accuracy                   everything: hours, but it goes on where it was broken off
    scripts/bench/accuracy --quick           an eighth of it
    scripts/bench/accuracy --contenders "int8 tail" --languages de,fr --conditions "clean,car 5 dB"
    scripts/bench/accuracy --calibrate --plot reliability.png
    scripts/bench/accuracy --divergence 48      how far token probabilities are apart: minutes
    scripts/bench/accuracy --cortex-a72 36      the first 36 as a Raspberry Pi 4's CPU hears them

Judged is how far int8 with the silent tail, which is what the daemon runs, is from the same weights in float32
over the full 30 s: at most 0.5 points (percent of words) more errors over everything, and 1.5 in each language and
each condition. faster-whisper is there as a stranger. The detector of voices is not asked: the recogniser itself
is judged. Errors are counted by jiwer between texts normalised as Whisper's authors do, accents left out.

The clips are recordings of people where Debian has any, and synthetic in German. They need
    {install}
Clips that cannot be had are left out, loudly. Results are kept in {cache}, by the bundle,
the code and the samples.

Exit status: 0 the gate is open, 1 it is shut (the slices are named), 2 usage or something is missing, 3 the two
that the gate compares were not both asked for, so nothing was judged, 130 broken off.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
if __package__ in (None, ""):  # run as a file
    sys.path[:0] = [str(ROOT / "scripts"), str(ROOT / "tests")]
    __package__ = "bench"

from convert_model.fetch import cache_folder, ensure_weights  # noqa: E402
from convert_model.sources import load_source  # noqa: E402
from rich.console import Console  # noqa: E402
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn  # noqa: E402
from whisperd.audio.pcm import Int16Samples  # noqa: E402

from . import accuracy_clips as sources  # noqa: E402
from .accuracy_clips import Clip, ClipsError  # noqa: E402
from .accuracy_conditions import CONDITIONS, under  # noqa: E402
from .accuracy_divergence import diverge  # noqa: E402
from .accuracy_runs import (  # noqa: E402
    CONTENDERS,
    FULL,
    INT8,
    STRANGER,
    TAIL,
    CacheError,
    Contender,
    Heard,
    Results,
    fair_order,
    ours,
    stranger,
)
from .accuracy_score import Item, errors, plain_words  # noqa: E402
from .accuracy_target import TargetError, hear_on_target  # noqa: E402

SEED = 6
QUICK = 8
"""One of so many clips and conditions is heard with --quick."""

FOLDER = cache_folder() / "accuracy"


@dataclass(frozen=True)
class Sample:
    """A clip in a condition, and the name of its samples in the results."""

    clip: Clip
    condition: str
    pcm: Int16Samples
    audio: str


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the benchmark; returns its exit status."""
    options = _parser().parse_args(arguments)
    console = Console(width=None if sys.stdout.isatty() else 140)
    try:
        return _run(options, console)
    except (ClipsError, CacheError, TargetError, OSError) as error:
        console.print(f"accuracy: {error}", style="red", highlight=False, markup=False)
        return 2
    except KeyboardInterrupt:
        console.print("accuracy: broken off; what has been heard is kept, run it again to go on")
        return 130


def _parser() -> argparse.ArgumentParser:
    about = (__doc__ or "").format(
        install=sources.INSTALL.replace(" asterisk", "\n        asterisk"), cache=FOLDER
    )
    p = argparse.ArgumentParser(
        prog="scripts/bench/accuracy",
        description=about,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    p.add_argument("--bundles", type=Path, default=cache_folder() / "models", help="folder of base and base-fp32")
    p.add_argument("--int8", type=Path, metavar="BUNDLE", help="another bundle for int8 tail")
    p.add_argument("--fp32", type=Path, metavar="BUNDLE", help="another bundle for fp32 tail and full context")
    p.add_argument("--contenders", type=_among(CONTENDERS), default=CONTENDERS, help="some, with commas")
    p.add_argument("--languages", type=lambda text: tuple(text.split(",")), help="some, with commas")
    p.add_argument("--conditions", type=_among(tuple(CONDITIONS)), default=tuple(CONDITIONS), help="likewise")
    p.add_argument("--quick", action="store_true", help=f"one of {QUICK} clips and conditions, from all of them")
    p.add_argument("--only-kept", action="store_true", help="hear nothing: report on what is kept")
    p.add_argument(
        "--older",
        action="store_true",
        help=f"of all but {INT8}, also believe what other code made: for a change that cannot concern them",
    )
    p.add_argument("--threads", type=int, default=1, help="of each contender (default: 1)")
    p.add_argument("--json", type=Path, help="also write all figures and texts to this file")
    p.add_argument("--plot", type=Path, help="also draw them, as a PNG")
    p.add_argument(
        "--cortex-a72",
        type=int,
        metavar="N",
        help="instead hear N clips as a Raspberry Pi 4's CPU does, by qemu (minutes; needs root), and compare",
    )
    p.add_argument("--divergence", type=int, metavar="N", help="instead compare distributions over N clips")
    p.add_argument("--calibrate", action="store_true", help="instead fit the confidence of int8 tail's words")
    return p


def _among(known: Sequence[str]) -> Callable[[str], tuple[str, ...]]:
    def some(text: str) -> tuple[str, ...]:
        names = tuple(text.split(","))
        unknown = [name for name in names if name not in known]
        if unknown:
            raise argparse.ArgumentTypeError(f"unknown: {', '.join(unknown)}; known: {', '.join(known)}")
        return names

    return some


def _run(options: argparse.Namespace, console: Console) -> int:
    from .accuracy_report import judge  # matplotlib only where something is drawn

    samples = _samples(options, console)
    if options.divergence:
        return diverge(samples, options, console)
    contenders = _contenders(options)
    with ExitStack() as stack:
        kept = {c.name: stack.enter_context(Results(FOLDER, c, only_read=options.only_kept)) for c in contenders}
        for name, results in kept.items():
            if options.older and name != INT8:
                results.borrow()
                console.print(
                    f"{results.older} results of {name} are of other code or another bundle", style="red"
                )
        if not options.only_kept:
            for contender in contenders:
                _hear(contender, kept[contender.name], samples, console)
        if options.calibrate:
            from .accuracy_calibrate import calibrate

            return calibrate(samples, kept[INT8], options, console)
        if options.cortex_a72:
            return hear_on_target(samples, kept[INT8], options, console)
        items, texts = score(samples, kept)
    console.print(f"{len(items)} of {len(samples)} clips in a condition have been heard by all contenders")
    return judge(items, texts, options, console)


def _samples(options: argparse.Namespace, console: Console) -> list[Sample]:
    """The clips in their conditions, in an order whose every beginning is a fair sample."""
    every = sources.entries()
    known = dict.fromkeys(entry.language for entry in every)
    unknown = [code for code in options.languages or () if code not in known]
    if unknown:
        raise ClipsError(f"no clips in {', '.join(unknown)}; there are {', '.join(known)}")
    wanted = [entry for entry in every if entry.language in (options.languages or known)]
    clips, missing = sources.gather(wanted)
    if missing:
        sources.tell_missing(missing, console)
    if not clips:
        raise ClipsError(f"there is no clip at all; {sources.INSTALL}")
    order = fair_order([clip.language for clip in clips], tuple(CONDITIONS), SEED)
    order = [pair for pair in order if pair[1] in options.conditions]
    if options.quick:
        order = order[: -(-len(order) // QUICK)]
    made: dict[tuple[int, str], Sample] = {}
    for index, condition in sorted(order):  # by clip: its conditions share a noise
        clip = clips[index]
        pcm = under(condition, clip.name, clip.pcm)
        made[index, condition] = Sample(clip, condition, pcm, sources.fingerprint(pcm))
    samples = [made[pair] for pair in order]
    human = sum(clip.human for clip in clips)
    length = sum(map(sources.seconds, clips)) / len(clips)
    console.print(
        f"{len(clips)} clips of {length:.1f} s on average, {human} of people and {len(clips) - human} synthetic; "
        f"{len(samples)} with their conditions"
    )
    return samples


def _contenders(options: argparse.Namespace) -> list[Contender]:
    int8 = options.int8 or options.bundles / "base"
    fp32 = options.fp32 or options.bundles / "base-fp32"
    makers: dict[str, Callable[[], Contender]] = {
        FULL: lambda: ours(FULL, fp32, full_context=True, threads=options.threads),
        TAIL: lambda: ours(TAIL, fp32, full_context=False, threads=options.threads),
        INT8: lambda: ours(INT8, int8, full_context=False, threads=options.threads),
        STRANGER: lambda: stranger(_ctranslate2, options.threads),
    }
    names = (INT8,) if options.calibrate or options.cortex_a72 else options.contenders
    return [makers[name]() for name in names]


def _ctranslate2() -> Path:
    """The weights as faster-whisper wants them."""
    from .__main__ import _ctranslate2 as arrange

    folder = FOLDER / "ct2"
    source = ensure_weights("base", cache_folder())
    if not (folder / "vocabulary.json").is_file():
        arrange(source, load_source(source), folder)
    return folder


def _hear(contender: Contender, kept: Results, samples: Sequence[Sample], console: Console) -> None:
    """Have a contender hear what it has not heard yet."""
    waiting = [sample for sample in samples if sample.audio not in kept]
    if not waiting:
        return
    columns = (TextColumn("{task.description:20}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=console) as progress:
        engine = contender.load()
        task = progress.add_task(contender.name, total=len(samples), completed=len(samples) - len(waiting))
        for sample in waiting:
            if sample.audio not in kept:  # two conditions may give the same samples
                kept.add(sample.audio, engine(sample.pcm, sample.clip.language))
            progress.advance(task)


def score(
    samples: Sequence[Sample], kept: dict[str, Results]
) -> tuple[list[Item], list[tuple[Sample, dict[str, Heard]]]]:
    """The word errors of what all contenders have heard, and the texts."""
    items, texts = [], []
    for sample in samples:
        if any(sample.audio not in results for results in kept.values()):
            continue
        said = plain_words(sample.clip.text, sample.clip.language)
        heard = {name: results[sample.audio] for name, results in kept.items()}
        wrong = {name: errors(said, plain_words(one.text, sample.clip.language)) for name, one in heard.items()}
        items.append(Item(sample.clip.name, sample.clip.language, sample.condition, len(said), wrong))
        texts.append((sample, heard))
    return items, texts


if __name__ == "__main__":
    sys.exit(main())
