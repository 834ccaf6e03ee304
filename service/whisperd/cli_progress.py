"""How `whisperctl transcribe` shows results and the way there."""

from __future__ import annotations

import contextlib
import os
import sys
from collections.abc import Iterator, Sequence
from typing import Protocol

from whisperd.cli_output import as_json, complain, print_json, printable, remark
from whisperd.cli_screen import PLAIN, Screen
from whisperd.client import Transcript, Unreachable
from whisperd.columns import wrap
from whisperd.recording import PIECE_SECONDS


class Progress(Protocol):
    """How results and the way there are shown."""

    def begin(self, name: str) -> None: ...

    def queued(self, ahead: int) -> None: ...

    def advance(self, done: float, seconds: float | None) -> None: ...

    def show(self, name: str, answer: Transcript, seconds: float, *, many: bool) -> None: ...

    def written(self, name: str, files: Sequence[str], answer: Transcript, seconds: float) -> None: ...

    def remark(self, text: str) -> None: ...

    def complain(self, name: str, error: Exception) -> None: ...


class _Plain:
    """For pipes, files and the target: texts or JSON on stdout, how long it took and errors on stderr."""

    def __init__(self, wants_json: bool) -> None:
        self._as_json = wants_json

    def begin(self, name: str) -> None:
        """Nothing: the result says it."""

    def queued(self, ahead: int) -> None:
        """Nothing: it is over when it is read."""

    def advance(self, done: float, seconds: float | None) -> None:
        """Nothing: the result says it."""

    def show(self, name: str, answer: Transcript, seconds: float, *, many: bool) -> None:
        """A file's text."""
        if self._as_json:
            print_json(as_json(name, answer.data))
            return
        text = printable(answer.text)
        print(f"{printable(name)}: {text}" if many else text, flush=True)
        self.note(_timing(answer, seconds))

    def written(self, name: str, files: Sequence[str], answer: Transcript, seconds: float) -> None:
        """A file's text is in these."""
        self.remark(f"{name} -> {', '.join(files)}: {_timing(answer, seconds)}")

    def remark(self, text: str) -> None:
        """About them all."""
        remark(text)

    def note(self, text: str) -> None:
        """A remark about a result."""
        print(text, file=sys.stderr)

    def complain(self, name: str, error: Exception) -> None:
        """An error that is about one file."""
        text = str(error)
        if isinstance(error, OSError) and error.strerror:
            about = error.filename if error.filename not in (None, name) else ""
            text = f"{about}: {error.strerror}" if about else error.strerror
        if self._as_json:
            code = getattr(error, "code", "connection-lost" if isinstance(error, Unreachable) else "bad-file")
            told = {"code": code, "text": text, "retry": getattr(error, "retry", False)}
            print_json({"file": name, "error": told})
        complain(text if name in text else f"{name}: {text}")


class _Line(_Plain):
    """For a person at a terminal without `rich`: a line that tells how far a long recording is."""

    def __init__(self, total: int, wants_json: bool) -> None:
        super().__init__(wants_json)
        self._screen = Screen(sys.stderr, colour=False)
        self._total = total
        self._begun = 0
        self._name = ""

    def begin(self, name: str) -> None:
        """Name it in the line, which says nothing of what was before."""
        self.close()
        self._begun += 1
        self._name = printable(name)

    def advance(self, done: float, seconds: float | None) -> None:
        """Tell it, where it takes long."""
        if _is_long(done, seconds):
            of = "" if self._total == 1 else f"{self._begun} of {self._total}, "
            told = f"{of}{_so_far(done, seconds)} {self._name}"
            start, end = wrap(told, self._screen.size().columns - 1)[0]
            self._screen.draw([[(PLAIN, told[start:end])]])

    def show(self, name: str, answer: Transcript, seconds: float, *, many: bool) -> None:
        """In its place the text."""
        self.close()
        super().show(name, answer, seconds, many=many)

    def remark(self, text: str) -> None:
        """In its place."""
        self.close()
        super().remark(text)

    def complain(self, name: str, error: Exception) -> None:
        """In its place."""
        self.close()
        super().complain(name, error)

    def close(self) -> None:
        """Leave nothing of the line."""
        self._screen.clear()


class _Rich(_Plain):
    """For a person at a terminal: a bar over files and their seconds, remarks that step back behind the text."""

    def __init__(self, total: int, wants_json: bool) -> None:
        from rich.console import Console
        from rich.progress import BarColumn, TextColumn, TimeRemainingColumn
        from rich.progress import Progress as Bar

        super().__init__(wants_json)
        self._console = Console(stderr=True)
        self.bar = Bar(
            BarColumn(),
            TextColumn("{task.fields[count]}", markup=False),
            TimeRemainingColumn(),
            TextColumn("{task.description}", markup=False),
            console=self._console,
            transient=True,
        )
        self._total = total
        self._begun = 0
        self._name = ""
        self._task = self.bar.add_task("", total=total, visible=total > 1, count="")

    def begin(self, name: str) -> None:
        """Advance the bar to this file."""
        count = "" if self._total == 1 else f"{self._begun}/{self._total}"
        self._name = printable(name)
        self.bar.update(self._task, completed=self._begun, description=self._name, count=count)
        self._begun += 1

    def queued(self, ahead: int) -> None:
        """Say why nothing happens."""
        if ahead:
            self.note(f"{ahead} other request{'s' * (ahead != 1)} first")

    def advance(self, done: float, seconds: float | None) -> None:
        """Advance it within a file."""
        if _is_long(done, seconds):
            self.bar.update(
                self._task,
                completed=self._begun - 1 + (min(done / seconds, 1.0) if seconds else 0.0),
                description=f"{_so_far(done, seconds)} {self._name}",
                visible=True,
            )

    def remark(self, text: str) -> None:
        """Dimmed."""
        self.note(printable(text))

    def note(self, text: str) -> None:
        """Dimmed."""
        self._console.print(text, style="dim", markup=False, highlight=False)


@contextlib.contextmanager
def progress(total: int, wants_json: bool) -> Iterator[Progress]:
    """How to show so many files, for as long as the block lasts."""
    if sys.stdout.isatty() and sys.stderr.isatty() and os.environ.get("TERM", "dumb") != "dumb":
        try:
            shown = _Rich(total, wants_json)
        except ImportError:
            line = _Line(total, wants_json)
            try:
                yield line
            finally:
                line.close()
        else:
            with shown.bar:
                yield shown
        return
    yield _Plain(wants_json)


def _is_long(done: float, seconds: float | None) -> bool:
    """Whether a recording is more than what is answered at once."""
    return done > 0 or (seconds or 0.0) > PIECE_SECONDS


def _so_far(done: float, seconds: float | None) -> str:
    return f"{_clock(done)}" if seconds is None else f"{_clock(done)} of {_clock(seconds)}"


def _clock(seconds: float) -> str:
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"


def _timing(answer: Transcript, seconds: float) -> str:
    data = answer.data
    speed = answer.audio_seconds / seconds if seconds > 0 else 0.0
    parts = [f"{label} {data[key]:.0f} ms" for label, key in _PHASES if isinstance(data.get(key), (int, float))]
    told = f"{answer.audio_seconds:.1f} s of audio in {seconds:.2f} s, {speed:.0f}x real time"
    if parts:
        told += f" ({', '.join(parts)})"
    return f"no speech: {told}" if "no_speech" in data else told


_PHASES = (("queue", "queue_ms"), ("features", "features_ms"), ("encode", "encode_ms"), ("decode", "decode_ms"))
