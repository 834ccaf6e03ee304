"""A few lines at the end of a terminal that are rewritten in place, and the keys that are pressed there.

Plain ECMA-48, which every terminal has, and nothing else: the target has no `rich`, and a line that changes twenty
times a second is not to flicker. Lines are overwritten, never erased first, and only when they differ.
"""

from __future__ import annotations

import os
import termios
from collections.abc import Sequence
from contextlib import suppress
from types import TracebackType
from typing import IO, Any

from whisperd.columns import width

BRIGHT, DIM, RED, PLAIN = "1", "2", "31", ""
HIDE, SHOW, ERASE_LINE, ERASE_BELOW = "\x1b[?25l", "\x1b[?25h", "\x1b[K", "\x1b[J"

Line = Sequence["tuple[str, str]"]
"""(style, text) pairs, from left to right."""

MIN_COLUMNS = 4
DEFAULT_SIZE = os.terminal_size((80, 24))


class Screen:
    """The lines that are rewritten.

    Args:
        out: the terminal.
        colour: whether styles may be used.
    """

    def __init__(self, out: IO[str], *, colour: bool) -> None:
        self._out = out
        self._colour = colour
        self._lines: list[Line] = []
        self._size = self.size()
        self._hidden = False
        self._staying = ""

    def size(self) -> os.terminal_size:
        """Columns and rows, as they are now."""
        try:
            size = os.get_terminal_size(self._out.fileno())
        except OSError:
            size = DEFAULT_SIZE
        columns, rows = size
        return os.terminal_size((max(columns or DEFAULT_SIZE.columns, MIN_COLUMNS), rows or DEFAULT_SIZE.lines))

    def draw(self, lines: Sequence[Line]) -> None:
        """Show these lines in place of those before. Each is narrower than the screen, which is not checked."""
        size = self.size()
        if list(lines) == self._lines and size == self._size and not self._staying:
            return
        text = "" if self._hidden else HIDE
        text += self._begin(size.columns)
        text += f"{ERASE_LINE}\r\n".join(map(self._styled, lines)) + ERASE_BELOW
        self._hidden, self._size, self._lines = True, size, list(lines)
        self._write(text)

    def above(self, text: str) -> None:
        """Put a text that stays before the lines, as soon as they are drawn again or cleared."""
        self._staying += f"{text}\n"

    def clear(self) -> None:
        """Leave nothing of the lines, and the cursor where they began."""
        if self._hidden or self._staying:
            text = f"{self._begin(self.size().columns)}{ERASE_BELOW}{SHOW}"
            self._lines, self._hidden = [], False
            self._write(text)

    def _begin(self, columns: int) -> str:
        """To where the lines begin, behind what is to stay before them."""
        text = self._to_top(columns)
        if self._staying:
            text += ERASE_BELOW + self._staying
            self._staying = ""
        return text

    def _to_top(self, columns: int) -> str:
        # A terminal that was made narrower has wrapped them.
        rows = sum(max(1, -(-sum(width(text) for _, text in line) // columns)) for line in self._lines)
        return "\r" + (f"\x1b[{rows - 1}A" if rows > 1 else "")

    def _styled(self, line: Line) -> str:
        if not self._colour:
            return "".join(text for _, text in line)
        return "".join(f"\x1b[{style}m{text}\x1b[0m" if style and text else text for style, text in line)

    def _write(self, text: str) -> None:
        self._out.write(text)
        self._out.flush()


class Keyboard:
    """The terminal at stdin while keys count, and nothing that is typed is echoed; as it was afterwards.

    Args:
        descriptor: of the terminal. Nothing is done with what is none, or whose foreground is another program's.
    """

    def __init__(self, descriptor: int | None) -> None:
        self._descriptor = descriptor if descriptor is not None and _in_foreground(descriptor) else None
        self._before: list[Any] | None = None

    @property
    def there(self) -> bool:
        """Whether there are keys."""
        return self._descriptor is not None

    def fileno(self) -> int:
        """To wait at, where keys are there."""
        assert self._descriptor is not None, "no keys"
        return self._descriptor

    def enter(self) -> None:
        """Keys one by one, unseen. Ctrl-C and Ctrl-Z remain what they are."""
        if self._descriptor is None or self._before is not None:
            return
        self._before = termios.tcgetattr(self._descriptor)
        mode = termios.tcgetattr(self._descriptor)
        mode[3] &= ~(termios.ECHO | termios.ICANON)
        mode[6][termios.VMIN], mode[6][termios.VTIME] = 1, 0
        termios.tcsetattr(self._descriptor, termios.TCSANOW, mode)

    def leave(self) -> None:
        """As it was."""
        if self._descriptor is not None and self._before is not None:
            with suppress(termios.error):  # the terminal is gone
                termios.tcsetattr(self._descriptor, termios.TCSADRAIN, self._before)
            self._before = None

    def read(self) -> str:
        """The keys that were pressed; Ctrl-D where the terminal is gone."""
        try:
            pressed = os.read(self.fileno(), 1024)
        except OSError:
            pressed = b""
        return pressed.decode("latin-1") or "\x04"

    def __enter__(self) -> Keyboard:
        self.enter()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.leave()


def _in_foreground(descriptor: int) -> bool:
    try:
        return os.isatty(descriptor) and os.tcgetpgrp(descriptor) == os.getpgrp()
    except OSError:  # a terminal, and not this session's
        return False
