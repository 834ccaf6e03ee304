"""Talk and pause at real speed through the daemon's microphone, and count every sample.

    scripts/bench/soak                 half an hour
    scripts/bench/soak --minutes 2     a short one
    scripts/bench/soak --json FILE     the figures too

The microphone is a sound card of the tests: alsa-lib with a device that takes its samples from a FIFO, at the pace
of a clock; gcc and ALSA's headers are needed. Samples that were written are compared with what the daemon tells: a
`level` is 800 samples. So a loss is seen even if the daemon did not notice it. The clips come in a random order
(always the same), with pauses of 1 to 4 s. WHISPER_BUNDLE names another model's folder than base's.

What must be: nothing lost, every utterance answered once and in order, and memory, file descriptors and threads
of the daemon flat. The exit status is 0 in any case: a benchmark measures.
"""

from __future__ import annotations

import argparse
import json
import random
import sys
import tempfile
import time
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
if __package__ in (None, ""):  # run as a file
    sys.path[:0] = [str(ROOT / "scripts"), str(ROOT / "tests")]
    __package__ = "bench"

import speech  # noqa: E402
from alsa_microphone import BLOCK_SECONDS, CARD, AlsaMicrophone  # noqa: E402
from daemon_process import DaemonProcess  # noqa: E402
from rich.console import Console  # noqa: E402
from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn  # noqa: E402
from rich.table import Table  # noqa: E402
from whisperd.audio.files import read_audio  # noqa: E402
from whisperd.audio.pcm import SAMPLE_RATE, Int16Samples  # noqa: E402

from .livewire import BLOCK, Came, Line, Process, look_at, need_microphone, new_file, positive, reasons  # noqa: E402

LEVEL = 800
"""Samples to one `level`."""

PERIOD = BLOCK
"""Samples that the daemon's capture may be waiting to fill when the writer stops."""

PAUSES_S = (1.0, 4.0)
LOOK_SECONDS = 10.0
WARM_SHARE = 0.1
"""Memory is compared from here on, in shares of the soak: the first utterances make the buffers that are kept."""

FLAT_MB = 5.0
FLAT_SECONDS = 900.0
"""A shorter soak cannot tell: the buffers grow with the longest clip so far, and caches fill."""

QUIET_SECONDS = 1.0
"""The writer says nothing at all for so long, and everything on the way has arrived; at 3 s the device is lost."""

ANSWERS = ("transcript", "no-speech")


@dataclass(frozen=True)
class Played:
    """A clip, and when it began and ended, on the monotonic clock."""

    clip: str
    text: str
    begin: float
    at: float


def main() -> int:
    """Run the soak."""
    p = argparse.ArgumentParser(
        prog="scripts/bench/soak", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    p.add_argument("--minutes", type=positive, default=30.0, help="how long (default: 30)")
    p.add_argument("--bundle", type=Path, required=True, help="the model; the shell script gives base")
    p.add_argument("--policy", choices=("local-agreement", "alignatt"), default="local-agreement")
    p.add_argument("--json", type=new_file, help="also write the figures to this file")
    options = p.parse_args()
    with reasons("scripts/bench/soak"):
        need_microphone()
        return run(options)


def run(options: argparse.Namespace) -> int:
    """Play, count, tell."""
    console = Console(width=None if sys.stdout.isatty() else 110)
    listed = [*speech.COMMITTED, *speech.shared(), *speech.pocketsphinx()]
    clips = [(clip, read_audio(clip.path, 60.0)) for clip in listed]
    with tempfile.TemporaryDirectory(prefix="soak-") as name:
        folder = Path(name)
        with AlsaMicrophone(folder, CARD) as microphone:
            environment = {**microphone.environment, "WHISPERD_LIVE_POLICY": options.policy}
            with DaemonProcess(options.bundle, folder, environment) as daemon, Line(daemon.socket) as line:
                report = soak(microphone, daemon, line, clips, 60 * options.minutes, console)
            report["log"] = [row for row in daemon.log.splitlines() if "WARN" in row or "ERROR" in row]
    show(console, report)
    if options.json:
        options.json.write_text(json.dumps(report, indent=1) + "\n")
    return 0


def soak(
    microphone: AlsaMicrophone,
    daemon: DaemonProcess,
    line: Line,
    clips: list[tuple[speech.Clip, Int16Samples]],
    seconds: float,
    console: Console,
) -> dict[str, Any]:
    """Play for so long, and return what was counted."""
    chance = random.Random(1)
    microphone.hush(False)  # not even silence, until somebody listens: what is written from here on is to arrive
    time.sleep(10 * BLOCK_SECONDS)
    begin = line.count
    line.send("listen", {"id": "soak", "mode": "hands-free"})
    origin = line.wait(lambda came: came.kind == "listening", begin).at
    before = microphone.written
    microphone.hush(True)
    start = time.monotonic()
    looks = [look_at(daemon.pid)]
    played: list[Played] = []
    bar = Progress(TextColumn("{task.description}"), BarColumn(), TimeRemainingColumn(), console=console)
    with bar:
        task = bar.add_task("talking", total=seconds)
        while (now := time.monotonic()) - start < seconds:
            clip, pcm = chance.choice(clips)
            microphone.play(pcm.tobytes())
            end = time.monotonic()
            played.append(Played(clip.name, clip.text, end - len(pcm) / SAMPLE_RATE, end))
            time.sleep(chance.uniform(*PAUSES_S))
            if now - looks[-1].at >= LOOK_SECONDS:
                looks.append(look_at(daemon.pid))
            answered = sum(came.kind in ANSWERS for came in line.since(begin))
            bar.update(task, completed=now - start, description=f"{len(played)} clips, {answered} answers")
    time.sleep(PAUSES_S[1])
    microphone.hush(False)
    time.sleep(QUIET_SECONDS)
    written = (microphone.written - before) * BLOCK
    looks.append(look_at(daemon.pid))
    line.send("listen-stop", {"id": "soak"})
    line.wait(lambda came: came.kind == "listen-stopped", begin)
    return counted(line.since(begin), origin, played, looks, written, time.monotonic() - start)


def counted(
    events: list[Came],
    origin: float,
    played: list[Played],
    looks: list[Process],
    written: int,
    seconds: float,
) -> dict[str, Any]:
    """The figures of a soak."""
    levels = sum(came.kind == "level" for came in events)
    answers = [came for came in events if came.kind in ANSWERS]
    started = sum(came.kind == "voice-started" for came in events)
    numbers = [int(came.data["utterance"]) for came in answers]
    kinds = {came.kind for came in events}
    steady = [look for look in looks if look.at - looks[0].at >= WARM_SHARE * seconds]
    wrong, words, missed = _errors(answers, origin, played)
    overruns = [dict(came.data) for came in events if came.kind == "overrun"]
    grown = steady[-1].rss_mb - steady[0].rss_mb
    lost = written - levels * LEVEL
    return {
        "minutes": seconds / 60,
        "clips": len(played),
        "samples_written": written,
        "samples_delivered": levels * LEVEL,
        "samples_missing": lost,
        "overruns": overruns,
        "mic_lost": sum(came.kind == "mic-lost" for came in events),
        "errors": sum(came.kind == "error" for came in events),
        "utterances": started,
        "answers": len(answers),
        "no_speech": sum(came.kind == "no-speech" for came in answers),
        "partials": sum(came.kind == "partial" for came in events),
        "words": words,
        "word_errors": wrong,
        "clips_without_text": missed,
        "rss_mb": [look.rss_mb for look in looks],
        "steady_rss_mb": (steady[0].rss_mb, steady[-1].rss_mb),
        "peak_mb": looks[-1].peak_mb,
        "descriptors": (steady[0].descriptors, steady[-1].descriptors),
        "threads": (steady[0].threads, steady[-1].threads),
        "cpu": (looks[-1].cpu_s - looks[0].cpu_s) / (looks[-1].at - looks[0].at),
        "kinds": sorted(kinds),
        "played": [asdict(one) for one in played],
        "met": {
            # What is left over is less than one level, and a period that was not full.
            "nothing lost": 0 <= lost < LEVEL + PERIOD and not overruns,
            "every utterance answered once, in order": numbers == list(range(started)),
            **({f"memory flat ({FLAT_MB:g} MB)": grown < FLAT_MB} if seconds >= FLAT_SECONDS else {}),
            "descriptors flat": steady[-1].descriptors <= steady[0].descriptors,
            "threads flat": steady[-1].threads <= steady[0].threads,
        },
    }


def _errors(answers: list[Came], origin: float, played: list[Played]) -> tuple[int, int, list[str]]:
    """Word errors, words, and the clips that brought no text. An utterance is of the clip in which it begins."""
    wrong = words = 0
    missed = []
    heard = [(origin + float(came.data["start"]), str(came.data.get("text", ""))) for came in answers]
    for i, one in enumerate(played):
        # It may begin 0.6 s before its voice, and pauses are longer.
        begin = one.begin - 0.8
        end = played[i + 1].begin - 0.8 if i + 1 < len(played) else float("inf")
        text = " ".join(text for at, text in heard if begin <= at < end and text)
        wrong += speech.word_errors(one.text, text)
        words += len(speech.words(one.text))
        if not text:
            missed.append(one.clip)
    return wrong, words, missed


def show(console: Console, report: dict[str, Any]) -> None:
    """Print the figures and what they must be."""
    rss, threads, descriptors = report["steady_rss_mb"], report["threads"], report["descriptors"]
    rows = (
        ("played", f"{report['minutes']:.1f} minutes, {report['clips']} clips"),
        ("samples written", f"{report['samples_written']:,}"),
        ("samples delivered", f"{report['samples_delivered']:,} (in levels of {LEVEL})"),
        ("left over", f"{report['samples_missing']} (less than {LEVEL + PERIOD} is not yet a level)"),
        (
            "overruns, microphone lost, errors",
            f"{len(report['overruns'])}, {report['mic_lost']}, {report['errors']}",
        ),
        (
            "utterances, answers",
            f"{report['utterances']}, {report['answers']}, {report['no_speech']} without words",
        ),
        ("partial texts", f"{report['partials']}"),
        ("word errors", f"{report['word_errors']} of {report['words']}"),
        (
            "resident, after a tenth and at the end",
            f"{rss[0]:.1f}, {rss[1]:.1f} MB (peak {report['peak_mb']:.1f})",
        ),
        ("file descriptors", f"{descriptors[0]}, {descriptors[1]}"),
        ("threads", f"{threads[0]}, {threads[1]}"),
        ("CPU", f"{100 * report['cpu']:.1f}% of a core"),
    )
    table = Table("", "", title="soak", show_header=False)
    for row in rows:
        table.add_row(*row)
    console.print(table)
    for what, met in report["met"].items():
        console.print(f"{'met     ' if met else 'NOT met '} {what}", highlight=False)
    if report["clips_without_text"]:
        console.print(f"no text for: {', '.join(report['clips_without_text'])}", highlight=False)
    for row in report["log"]:
        console.print(row, highlight=False)


if __name__ == "__main__":
    sys.exit(main())
