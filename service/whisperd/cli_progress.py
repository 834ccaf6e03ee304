"""How `whisperctl transcribe` shows results and the way there."""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Iterator
from typing import Protocol

from whisperd.cli_output import complain, print_json, printable
from whisperd.client import Transcript, Unreachable


class Progress(Protocol):
    """How results and the way there are shown."""

    def begin(self, name: str) -> None: ...

    def queued(self, ahead: int) -> None: ...

    def show(self, name: str, answer: Transcript, seconds: float, *, many: bool) -> None: ...

    def complain(self, name: str, error: Exception) -> None: ...


class _Plain:
    """For pipes, files and the target: texts or JSON on stdout, how long it took and errors on stderr."""

    def __init__(self, as_json: bool) -> None:
        self._as_json = as_json

    def begin(self, name: str) -> None:
        """Nothing: the result says it."""

    def queued(self, ahead: int) -> None:
        """Nothing: it is over when it is read."""

    def show(self, name: str, answer: Transcript, seconds: float, *, many: bool) -> None:
        """A file's text."""
        if self._as_json:
            print_json({"file": name, **answer.data})
            return
        text = printable(answer.text)
        print(f"{printable(name)}: {text}" if many else text, flush=True)
        self.note(_timing(answer, seconds))

    def note(self, text: str) -> None:
        """A remark about a result."""
        print(text, file=sys.stderr)

    def complain(self, name: str, error: Exception) -> None:
        """An error that is about one file."""
        text = (error.strerror if isinstance(error, OSError) else None) or str(error)
        if self._as_json:
            code = getattr(error, "code", "connection-lost" if isinstance(error, Unreachable) else "bad-file")
            told = {"code": code, "text": text, "retry": getattr(error, "retry", False)}
            print_json({"file": name, "error": told})
        complain(text if name in text else f"{name}: {text}")


class _Rich(_Plain):
    """For a person at a terminal: a bar over several files, remarks that step back behind the text."""

    def __init__(self, total: int, as_json: bool) -> None:
        from rich.console import Console
        from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeRemainingColumn
        from rich.progress import Progress as Bar

        super().__init__(as_json)
        self._console = Console(stderr=True)
        self.bar = Bar(
            BarColumn(),
            MofNCompleteColumn(),
            TimeRemainingColumn(),
            TextColumn("{task.description}", markup=False),
            console=self._console,
            transient=True,
            disable=total == 1,
        )
        self._task = self.bar.add_task("", total=total)
        self._begun = 0

    def begin(self, name: str) -> None:
        """Advance the bar to this file."""
        self.bar.update(self._task, completed=self._begun, description=printable(name))
        self._begun += 1

    def queued(self, ahead: int) -> None:
        """Say why nothing happens."""
        if ahead:
            self.note(f"{ahead} other request{'s' * (ahead != 1)} first")

    def note(self, text: str) -> None:
        """Dimmed."""
        self._console.print(text, style="dim", markup=False, highlight=False)


@contextlib.contextmanager
def progress(total: int, as_json: bool) -> Iterator[Progress]:
    """How to show so many files, for as long as the block lasts."""
    if sys.stdout.isatty() and sys.stderr.isatty():
        try:
            shown = _Rich(total, as_json)
        except ImportError:
            pass
        else:
            with shown.bar:
                yield shown
            return
    yield _Plain(as_json)


def _timing(answer: Transcript, seconds: float) -> str:
    data = answer.data
    speed = answer.audio_seconds / seconds if seconds > 0 else 0.0
    parts = [f"{label} {data[key]:.0f} ms" for label, key in _PHASES if isinstance(data.get(key), (int, float))]
    told = f"{answer.audio_seconds:.1f} s of audio in {seconds:.2f} s, {speed:.0f}x real time"
    if parts:
        told += f" ({', '.join(parts)})"
    return f"no speech: {told}" if "no_speech" in data else told


_PHASES = (("queue", "queue_ms"), ("features", "features_ms"), ("encode", "encode_ms"), ("decode", "decode_ms"))
