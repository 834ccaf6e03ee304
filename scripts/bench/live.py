"""How fast words appear while somebody speaks: clips played into a daemon at the pace of speech.

    scripts/bench/live                                     every clip, the default policy
    scripts/bench/live --policy both --rounds 3            both policies, interleaved, medians of three rounds
    scripts/bench/live --clips sample,command --plot a.png what appears when, as a picture
    scripts/bench/live --microphone                        through ALSA and the daemon's microphone

A daemon of its own (base, two threads) gets each clip as a live stream: blocks of 20 ms, each sent when its last
sample would have been spoken, with a second of quiet before and two after. What it says is timed as it comes. The
clips are those that the tests know: two of this repository, pocketsphinx-testdata where it is installed, and
../shared/speech. WHISPER_BUNDLE names another model's folder than base's.

    first text      from the first word (by the clip's energy) to the first partial text
    first right     and to the first that has this word right
    longest gap     the most speech between two texts, and from the last to the end of the speech
    stands after    from the end of a word to its standing; mean over all words
    shown after     and to its being shown for good
    final           after the endpoint is decided (voice-stopped), and after the last sample of speech; the worst
                    utterance
    wrong words     live, and of the same clip sent in one piece to the same daemon
    changes         partial texts that take back or change a word that was shown, for each second of speech
    start found     where the first utterance begins (voice-started), after the first word; 0.3 s of it are before
                    the voice

A figure that misses its target is marked with "!". The exit status is 0 in any case: a benchmark measures.
"""

from __future__ import annotations

import argparse
import csv
import json
import os
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
if __package__ in (None, ""):  # run as a file
    sys.path[:0] = [str(ROOT / "scripts"), str(ROOT / "tests")]
    __package__ = "bench"

import noises  # noqa: E402
import numpy as np  # noqa: E402
import speech  # noqa: E402
from alsa_microphone import CARD, AlsaMicrophone  # noqa: E402
from daemon_process import DaemonProcess  # noqa: E402
from rich.console import Console  # noqa: E402
from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn  # noqa: E402
from whisperd.audio.files import read_audio  # noqa: E402
from whisperd.audio.pcm import SAMPLE_RATE, Int16Samples  # noqa: E402
from whisperd.speech.streaming import DEFAULT_POLICY, POLICIES  # noqa: E402

from .live_figures import Figures, Take, figures, median  # noqa: E402
from .live_report import show  # noqa: E402
from .livewire import BLOCK, FORM, BenchError, Line, look_at, need_microphone, new_file, reasons  # noqa: E402

BEFORE_S, AFTER_S = 1.0, 2.0
"""Quiet around a clip: the stream is running before anybody speaks, and the endpoint is found, not told."""

LATE_SECONDS = 0.5
"""A player that ends so late has not played in real time."""

SENSITIVITIES = ("relaxed", "default", "aggressive")
IDLE_SECONDS = 30.0
IDLE_NOISES = {"silence": "faint hiss", "car noise": "road"}
"""What is listened to while nobody speaks, by its name among the noises of the tests."""


@dataclass(frozen=True)
class Stage:
    """A daemon with one policy, and what speaks to it."""

    policy: str
    daemon: DaemonProcess
    line: Line
    microphone: AlsaMicrophone | None


def main() -> int:
    """Run the benchmark."""
    options = _arguments()
    with reasons("scripts/bench/live"):
        if options.microphone:
            need_microphone()
        return run(options)


def run(options: argparse.Namespace) -> int:
    """Play, measure, tell."""
    console = Console(width=None if sys.stdout.isatty() else 140)
    clips = _clips(options.clips)
    policies = list(POLICIES) if options.policy == "both" else [options.policy]
    load = os.getloadavg()[0]
    takes: list[Take] = []
    with tempfile.TemporaryDirectory(prefix="live-") as name, ExitStack() as stack:
        stages = []
        for policy in policies:
            folder = Path(name) / policy
            folder.mkdir()
            stages.append(stack.enter_context(_stage(policy, options.bundle, folder, options.microphone)))
        bar = Progress(TextColumn("{task.description}"), BarColumn(), TimeRemainingColumn(), console=console)
        with bar:
            audio = sum(len(pcm) / SAMPLE_RATE + BEFORE_S + AFTER_S for _, pcm in clips)
            total = options.rounds * len(stages) * audio + len(stages) * len(IDLE_NOISES) * options.idle
            task = bar.add_task("", total=total)
            for turn in range(options.rounds):
                for clip, pcm in clips:
                    for stage in stages:
                        bar.update(task, description=f"round {turn + 1}: {clip.name}, {stage.policy}")
                        takes.append(_take(stage, clip, pcm, options.sensitivity))
                        bar.advance(task, len(pcm) / SAMPLE_RATE + BEFORE_S + AFTER_S)
            idle = {}
            for stage in stages:
                for what, noise in IDLE_NOISES.items() if options.idle else ():
                    bar.update(task, description=f"nobody speaks: {what}, {stage.policy}")
                    idle[f"{stage.policy}, {what}"] = _idle(stage, noise, options.idle, options.sensitivity)
                    bar.advance(task, options.idle)
        peak = {stage.policy: look_at(stage.daemon.pid).peak_mb for stage in stages}
    measured = _medians(takes)
    whole = {
        "rounds": options.rounds,
        "sensitivity": options.sensitivity,
        "microphone": options.microphone,
        "load": (load, os.getloadavg()[0]),
        "idle": idle,
        "peak_mb": peak,
    }
    show(console, measured, whole)
    _write(options, measured, whole, takes)
    return 0


def _arguments() -> argparse.Namespace:
    p = argparse.ArgumentParser(
        prog="scripts/bench/live", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    p.add_argument(
        "--policy", choices=(*POLICIES, "both"), default=DEFAULT_POLICY, help=f"default: {DEFAULT_POLICY}"
    )
    p.add_argument("--sensitivity", choices=SENSITIVITIES, default="default", help="how soon an utterance is over")
    p.add_argument("--clips", help="names of clips, with commas between them; default: all that are there")
    p.add_argument(
        "--rounds", type=int, default=1, help="times that each clip is played (default: 1); medians count"
    )
    p.add_argument(
        "--idle",
        type=float,
        metavar="S",
        default=IDLE_SECONDS,
        help="seconds of each noise nobody speaks in; 0: none",
    )
    p.add_argument(
        "--microphone", action="store_true", help="play into the daemon's microphone; needs ALSA and gcc"
    )
    p.add_argument("--csv", type=new_file, help="write the figures of each clip to this file")
    p.add_argument("--json", type=new_file, help="write all figures to this file")
    p.add_argument("--plot", type=new_file, help="draw what appeared when to this PNG; best with a few --clips")
    p.add_argument("--bundle", type=Path, required=True, help="the model's folder; the shell script gives base")
    return p.parse_args()


def _clips(names: str | None) -> list[tuple[speech.Clip, Int16Samples]]:
    known = {clip.name: clip for clip in [*speech.COMMITTED, *speech.shared(), *speech.pocketsphinx()]}
    wanted = list(known) if names is None else names.split(",")
    for name in wanted:
        if name not in known:
            raise SystemExit(f"scripts/bench/live: there is no clip {name!r}; there are {', '.join(known)}")
    return [(known[name], read_audio(known[name].path, 60.0)) for name in wanted]


@contextmanager
def _stage(policy: str, bundle: Path, folder: Path, by_microphone: bool) -> Iterator[Stage]:
    with ExitStack() as stack:
        microphone = stack.enter_context(AlsaMicrophone(folder, CARD)) if by_microphone else None
        environment = {"WHISPERD_LIVE_POLICY": policy, **(microphone.environment if microphone else {})}
        daemon = stack.enter_context(DaemonProcess(bundle, folder, environment))
        yield Stage(policy, daemon, stack.enter_context(Line(daemon.socket)), microphone)


# --- playing --------------------------------------------------------------------------------------------------


def _take(stage: Stage, clip: speech.Clip, pcm: Int16Samples, sensitivity: str) -> Take:
    """Play one clip, then send it in one piece."""
    begin, before = stage.line.count, look_at(stage.daemon.pid)
    origin, at = _play(stage, pcm, BEFORE_S, AFTER_S, sensitivity)
    cpu_s = look_at(stage.daemon.pid).cpu_s - before.cpu_s
    events = stage.line.since(begin)
    return Take(clip, stage.policy, pcm, origin, at, events, stage.line.clip(pcm, "one-shot"), cpu_s)


def _idle(stage: Stage, noise: str, seconds: float, sensitivity: str) -> dict[str, float]:
    """CPU of listening while nobody speaks, as a share of a core; and the utterances that were found even so."""
    begin, before = stage.line.count, look_at(stage.daemon.pid)
    _play(stage, noises.noise(noise, seconds), 0.0, 0.0, sensitivity)
    after = look_at(stage.daemon.pid)
    found = sum(came.kind == "voice-started" for came in stage.line.since(begin))
    return {"cpu": (after.cpu_s - before.cpu_s) / (after.at - before.at), "utterances": found}


def _play(
    stage: Stage, pcm: Int16Samples, before_s: float, after_s: float, sensitivity: str
) -> tuple[float, float]:
    """Play samples, with quiet around them. When the stream began, and the samples, on the monotonic clock."""
    begin = stage.line.count
    wish = {"id": "live", "mode": "hands-free", "vad_sensitivity": sensitivity}
    if stage.microphone is None:
        origin, at = _push(stage.line, pcm, before_s, after_s, wish)
    else:
        stage.line.send("listen", wish)
        origin = stage.line.wait(lambda came: came.kind == "listening", begin).at
        time.sleep(before_s)
        stage.microphone.play(pcm.tobytes())
        at = time.monotonic() - len(pcm) / SAMPLE_RATE
        time.sleep(after_s)
        stage.line.send("listen-stop", {"id": "live"})
    stage.line.wait(lambda came: came.kind == "listen-stopped", begin)
    return origin, at


def _push(
    line: Line, pcm: Int16Samples, before_s: float, after_s: float, wish: dict[str, str]
) -> tuple[float, float]:
    quiet = [
        noises.noise("faint hiss", seconds) if seconds else np.empty(0, np.int16)
        for seconds in (before_s, after_s)
    ]
    whole = np.concatenate([quiet[0], pcm, quiet[1]])
    line.send("transcribe", {"live": True, **wish})
    line.send("audio-start", FORM)
    origin = time.monotonic()
    for at in range(0, len(whole), BLOCK):
        block = whole[at : at + BLOCK]
        spoken = origin + (at + len(block)) / SAMPLE_RATE
        time.sleep(max(0.0, spoken - time.monotonic()))
        line.send("audio-chunk", FORM, block.tobytes())
    if (late := time.monotonic() - origin - len(whole) / SAMPLE_RATE) > LATE_SECONDS:
        raise BenchError(f"the PC is too busy for real time: {late:.2f} s late")
    line.send("audio-stop")
    return origin, origin + len(quiet[0]) / SAMPLE_RATE


# --- results --------------------------------------------------------------------------------------------------


def _medians(takes: list[Take]) -> list[Figures]:
    by: dict[tuple[str, str], list[Figures]] = {}
    for take in takes:
        by.setdefault((take.policy, take.clip.name), []).append(figures(take))
    return [median(of) for of in by.values()]


def _write(options: argparse.Namespace, measured: list[Figures], whole: dict[str, Any], takes: list[Take]) -> None:
    rows = [asdict(one) for one in measured]
    if options.csv:
        with options.csv.open("w", newline="") as file:
            writer = csv.DictWriter(file, list(rows[0]))
            writer.writeheader()
            writer.writerows(rows)
    if options.json:
        options.json.write_text(json.dumps({**whole, "clips": rows}, indent=1) + "\n")
    if options.plot:
        from .live_plot import draw

        draw(takes, options.plot)


if __name__ == "__main__":
    sys.exit(main())
