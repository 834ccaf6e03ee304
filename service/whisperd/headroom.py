"""How much memory this process may still take, by the word of the kernel and of its control groups."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path


def available(root: Path = Path("/")) -> int | None:
    """Bytes that can be allocated without pushing anything out, or None where nobody says.

    The least of MemAvailable of the machine and, for each control group (v2) that the process is in, what is left
    up to memory.high or memory.max. Pages of files that were not used lately count as free, as in MemAvailable:
    the kernel drops them before it denies anything.

    Args:
        root: where proc and sys are; for tests.
    """
    rooms = [_of_group(group) for group in _groups(root)]
    rooms.append(_of_machine(root))
    return min((room for room in rooms if room is not None), default=None)


def _of_machine(root: Path) -> int | None:
    kib = _table(root / "proc/meminfo").get("MemAvailable:")
    return None if kib is None else kib * 1024


def _of_group(group: Path) -> int | None:
    limits = [value for name in ("memory.high", "memory.max") if (value := _number(group / name)) is not None]
    current = _number(group / "memory.current")
    if not limits or current is None:
        return None
    droppable = _table(group / "memory.stat").get("inactive_file", 0)
    return max(0, min(limits) - (current - droppable))


def _groups(root: Path) -> Iterator[Path]:
    """The group of this process and those around it."""
    top = root / "sys/fs/cgroup"
    for line in _text(root / "proc/self/cgroup").splitlines():
        if line.startswith("0::/"):
            inner = Path(line.removeprefix("0::/"))
            if ".." not in inner.parts:  # a group outside of what this mount shows
                yield from (top / part for part in (inner, *inner.parents))


def _number(path: Path) -> int | None:
    text = _text(path).strip()
    return int(text) if text.isdigit() else None  # "max" is no limit


def _table(path: Path) -> dict[str, int]:
    """Files of lines `name number`."""
    rows = (line.split() for line in _text(path).splitlines())
    return {row[0]: int(row[1]) for row in rows if len(row) >= 2 and row[1].isdigit()}


def _text(path: Path) -> str:
    try:
        return path.read_text()
    except OSError:
        return ""
