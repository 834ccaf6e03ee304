"""How far a long download is: a bar on a terminal, a line now and then elsewhere."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TextIO

PLAIN_STEP = 10
"""Per cent between two lines where the output is no terminal."""

Update = Callable[[int], None]
"""Called with the number of bytes that are there by now; it may go down when a file is begun again."""


class Progress:
    """Tells a person what happens, on ``stream`` (standard error unless told otherwise).

    Args:
        bar: True draws bars, False writes plain lines, None decides by whether ``stream`` is a terminal.
    """

    def __init__(self, bar: bool | None = None, stream: TextIO | None = None) -> None:
        self.stream = stream if stream is not None else sys.stderr
        self.bar = self.stream.isatty() if bar is None else bar

    def say(self, text: str) -> None:
        """Write one line."""
        print(text, file=self.stream, flush=True)

    @contextmanager
    def task(self, label: str, total: int, done: int = 0) -> Iterator[Update]:
        """Follow one task of ``total`` bytes, ``done`` of which are there already."""
        if self.bar:
            with self._bar(label, total, done) as update:
                yield update
        else:
            yield self._plain(label, total, done)

    @contextmanager
    def _bar(self, label: str, total: int, done: int) -> Iterator[Update]:
        # Imported late: plain output needs no rich.
        from rich.console import Console
        from rich.progress import (
            BarColumn,
            DownloadColumn,
            TextColumn,
            TimeRemainingColumn,
            TransferSpeedColumn,
        )
        from rich.progress import Progress as RichProgress

        columns = (
            TextColumn("{task.description}"),
            BarColumn(bar_width=None),
            DownloadColumn(),
            TransferSpeedColumn(),
            TimeRemainingColumn(),
        )
        with RichProgress(*columns, console=Console(file=self.stream), expand=True) as rich:
            task = rich.add_task(label, total=total, completed=done)

            def update(now: int) -> None:
                rich.update(task, completed=now)

            yield update

    def _plain(self, label: str, total: int, done: int) -> Update:
        megabytes = total / 1e6
        self.say(f"{label}: {megabytes:.1f} MB" + (f", {done / 1e6:.1f} MB are there already" if done else ""))
        said = 100 * done // max(total, 1) // PLAIN_STEP

        def update(now: int) -> None:
            nonlocal said
            step = 100 * now // max(total, 1) // PLAIN_STEP
            if step > said:
                self.say(f"{label}: {step * PLAIN_STEP}%")
            said = step

        return update
