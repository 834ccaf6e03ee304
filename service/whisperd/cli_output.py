"""What every command of whisperctl has in common: how it ends, and how it speaks."""

from __future__ import annotations

import json
import sys
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from whisperd.wire import JsonObject

OK, FAILED, USAGE, UNREACHABLE, INTERRUPTED = 0, 1, 2, 3, 130


def print_json(value: object, indent: int | None = None) -> None:
    """A JSON value to stdout, at once."""
    print(json.dumps(value, ensure_ascii=False, indent=indent), flush=True)


def as_json(name: str, data: JsonObject) -> JsonObject:
    """What is told of a file: the daemon's answer but for the id, which is the connection's own."""
    return {"file": name, **{key: value for key, value in data.items() if key != "id"}}


def complain(text: str) -> None:
    """An error, to stderr."""
    remark(f"whisperctl: {text}")


def remark(text: str) -> None:
    """Something about a result, to stderr."""
    sys.stdout.flush()  # in a terminal or a common log, in the order in which it happened
    print(printable(text), file=sys.stderr, flush=True)


def printable(text: str) -> str:
    """File names and a model's output may hold what commands a terminal."""
    return "".join(c if c.isprintable() else ascii(c)[1:-1] for c in text)
