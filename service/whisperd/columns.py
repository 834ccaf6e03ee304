"""How wide a text is where letters have columns, and where to break it into lines. Pure."""

from __future__ import annotations

import unicodedata


def width(text: str) -> int:
    """Columns of a printable text."""
    return sum(_columns(c) for c in text)


def _columns(c: str) -> int:
    if unicodedata.combining(c):
        return 0
    return 2 if unicodedata.east_asian_width(c) in "WF" else 1


def wrap(text: str, columns: int) -> list[tuple[int, int]]:
    """Where to break a text into lines of so many columns: (start, end) of each, without the space there."""
    lines: list[tuple[int, int]] = []
    start = used = 0
    space = -1  # the last one of this line
    for i, c in enumerate(text):
        used += _columns(c)
        if c == " ":
            space = i
        if used <= columns:
            continue
        if c == " ":
            lines.append((start, i))
            start, used = i + 1, 0
        elif space >= start:
            lines.append((start, space))
            start = space + 1
            used = width(text[start : i + 1])
        else:
            lines.append((start, i))
            start, used = i, _columns(c)
    if start < len(text):
        lines.append((start, len(text)))
    return lines
