"""Ranges of characters as sequences of ranges of bytes: the way that UTF-8 spells them. Pure.

The method is that of Thompson's and Cox's regular expression engines (Cox, "Regular Expression Matching in the
Wild", 2010): a range is cut where the number of bytes or a leading byte changes.
"""

from __future__ import annotations

from typing import Final

LAST_CHAR: Final = 0x10FFFF
_SURROGATES: Final = (0xD800, 0xDFFF)


def utf8(first: int, last: int) -> list[tuple[tuple[int, int], ...]]:
    """The characters from `first` to `last`, surrogates left out, which are none.

    >>> utf8(0x7F, 0x80)
    [((127, 127),), ((194, 194), (128, 128))]
    """
    found: list[tuple[tuple[int, int], ...]] = []
    waiting = [(max(first, _SURROGATES[1] + 1), last), (first, min(last, _SURROGATES[0] - 1))]
    while waiting:
        low, high = waiting.pop()
        if low > high:
            continue
        edge = _split(low, high)
        if edge is None:
            found.append(tuple(zip(chr(low).encode(), chr(high).encode(), strict=True)))
        else:
            waiting += [(edge + 1, high), (low, edge)]
    return found


def _split(low: int, high: int) -> int | None:
    """The last character of a first part, where one sequence of ranges does not do for all of them."""
    for edge in (0x7F, 0x7FF, 0xFFFF):  # the last of so many bytes
        if low <= edge < high:
            return edge
    if high <= 0x7F:
        return None
    for bits in (6, 12, 18):
        block = (1 << bits) - 1
        if low & ~block != high & ~block:
            if low & block:
                return low | block
            if high & block != block:
                return (high & ~block) - 1
    return None


def others(spans: list[tuple[int, int]]) -> list[tuple[int, int]]:
    """All characters but these.

    >>> others([(1, LAST_CHAR)])
    [(0, 0)]
    """
    found, at = [], 0
    for first, last in sorted(spans):
        if first > at:
            found.append((at, first - 1))
        at = max(at, last + 1)
    if at <= LAST_CHAR:
        found.append((at, LAST_CHAR))
    return found
