"""How `whisperctl listen` shows what is heard: in a terminal, as plain lines, or as JSON."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import suppress
from typing import IO, Protocol
from typing import Final as Constant

from whisperd.cli_output import print_json, printable, remark
from whisperd.cli_screen import BRIGHT, DIM, PLAIN, RED, Line, Screen
from whisperd.columns import width, wrap
from whisperd.live_client import (
    Failed,
    Final,
    Level,
    LiveEvent,
    MicLost,
    MicRestored,
    NoSpeech,
    Overrun,
    Partial,
)

QUIETEST_DB: Constant = -60.0
"""Where the bar begins: below is no speech."""

CLIPPED_DB: Constant = -0.5
BAR_COLUMNS: Constant = 20
GAP: Constant = "  "


class View(Protocol):
    """What is done with what is heard."""

    def show(self, event: LiveEvent) -> None:
        """Take an event."""

    def note(self, text: str) -> None:
        """Tell what a person should know, on stderr."""

    def hint(self, text: str) -> None:
        """What goes on, and what the person can do."""

    def refresh(self) -> None:
        """Everything that was to be shown now was told."""

    def close(self) -> None:
        """Leave nothing behind but results."""


class Plain:
    """Final texts, one a line, on stdout; what went wrong on stderr."""

    def show(self, event: LiveEvent) -> None:
        """A text."""
        if isinstance(event, Final):
            print(printable(event.text), flush=True)
        elif (text := trouble(event)) is not None:
            self.note(text)

    def note(self, text: str) -> None:
        """A line."""
        remark(text)

    def hint(self, text: str) -> None:
        """Nothing: nobody looks."""

    def refresh(self) -> None:
        """Nothing: it was written at once."""

    def close(self) -> None:
        """Nothing to clear."""


class Json(Plain):
    """Every event a line on stdout."""

    def show(self, event: LiveEvent) -> None:
        """As the daemon told it, but for the id, which is the connection's own."""
        print_json({"type": event.type, **{key: value for key, value in event.data.items() if key != "id"}})
        if (text := trouble(event)) is not None:
            self.note(text)


class Terminal:
    """Final texts that stay; below them what is being said, and a bar that tells how loud it is."""

    def __init__(self, out: IO[str], *, colour: bool) -> None:
        self._screen = Screen(out, colour=colour)
        self._partial: Partial | None = None
        self._level: Level | None = None
        self._hint = ""
        self._full, self._empty = ("█", "░") if _can_write(out, "█░") else ("#", "-")

    def show(self, event: LiveEvent) -> None:
        """Take an event. What stays is written with the next `refresh`, in one piece with what is below it."""
        if isinstance(event, Final):
            text = printable(event.text)
            broken = wrap(text, self._screen.size().columns - 1)  # at the words, as while it was said
            self._screen.above("\n".join(text[start:end] for start, end in broken))
        elif (told := trouble(event)) is not None:
            self.note(told)
        if isinstance(event, Partial):
            self._partial = event
        elif isinstance(event, Level):
            self._level = event
        elif isinstance(event, Final | NoSpeech | Failed):
            self._partial = self._of_another(event)

    def note(self, text: str) -> None:
        """Stays, above what is being said."""
        self._screen.clear()
        remark(text)

    def hint(self, text: str) -> None:
        """Shown beside the bar."""
        self._hint = text

    def refresh(self) -> None:
        """Draw what has changed."""
        columns, rows = self._screen.size()
        columns -= 1  # in the last one, terminals differ in what comes next
        words = list(self._words(columns))
        self._screen.draw([*words[-max(rows - 2, 1) :], self._bar(columns)])

    def close(self) -> None:
        """Only the final texts stay."""
        with suppress(OSError):  # the terminal is gone
            self._screen.clear()

    def _of_another(self, event: LiveEvent) -> Partial | None:
        """The partial text, unless the event says that it is history."""
        ended = getattr(event, "utterance", None)
        return (
            self._partial if self._partial is not None and ended not in (None, self._partial.utterance) else None
        )

    def _words(self, columns: int) -> Iterator[Line]:
        if self._partial is None:
            return
        stable = printable(self._partial.stable)
        text = (stable + printable(self._partial.unstable)).rstrip()
        text, stable_end = text.lstrip(), len(stable) - (len(text) - len(text.lstrip()))
        for start, end in wrap(text, columns):
            cut = min(max(stable_end, start), end)
            yield [(style, part) for style, part in ((BRIGHT, text[start:cut]), (DIM, text[cut:end])) if part]

    def _bar(self, columns: int) -> Line:
        room = min(BAR_COLUMNS, columns)
        hint = self._hint if room + width(GAP + self._hint) <= columns else ""
        if self._level is None:
            return [(DIM, self._hint if width(self._hint) <= columns else "")]
        share = (self._level.rms - QUIETEST_DB) / -QUIETEST_DB
        filled = round(min(max(share, 0.0), 1.0) * room)
        style = RED if self._level.peak >= CLIPPED_DB else PLAIN
        line = [(style, self._full * filled), (DIM, self._empty * (room - filled))]
        return [*line, (DIM, GAP + hint)] if hint else line


def trouble(event: LiveEvent) -> str | None:
    """What a person should know although it is no text."""
    if isinstance(event, MicLost):
        return f"microphone lost: {event.text}; whisperd looks for it every {event.retry_seconds:g} s"
    if isinstance(event, MicRestored):
        return "microphone restored"
    if isinstance(event, Overrun):
        return f"{event.seconds:g} s of audio were lost"
    if isinstance(event, Failed):
        return f"something that was said was lost: {event.text}"
    return None


def _can_write(out: IO[str], text: str) -> bool:
    try:
        text.encode(getattr(out, "encoding", None) or "ascii")
    except UnicodeEncodeError:
        return False
    return True
