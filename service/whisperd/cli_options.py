"""The options of a clip as flags of whisperctl: made from where they are declared, and so always all of them."""

from __future__ import annotations

import argparse
from collections.abc import Callable, Container
from pathlib import Path
from typing import Any, Protocol

from whisperd.errors import BadOption
from whisperd.speech.choice import Choice
from whisperd.speech.options import CHOICES
from whisperd.speech.types import TASKS

COMMON = (
    "language",
    "task",
    "initial_prompt",
    "hotwords",
    "word_timestamps",
    "without_timestamps",
    "beam_size",
    "temperature",
)
"""What is not among the options for those who know what decoding is."""

#: What a flag's value is called, by type; an option of its own name where that tells more.
_METAVARS = {int: "N", float: "X", str: "TEXT"}
_NAMES = {"language": "CODE", "hotwords": "WORD", "temperature": "X", "suppress_tokens": "ID", "grammar": "GBNF"}
#: More than any value may have, so that a larger file is refused and not read.
MAX_FILE_CHARS = 100_000
#: Flags that are called otherwise when they say no.
_OPPOSITES = {"without_timestamps": "timestamps"}


class Group(Protocol):
    """A parser, or a part of it."""

    def add_argument(self, *names: str, **what: Any) -> argparse.Action: ...


def add_options(group: Group, names: Container[str]) -> None:
    """Add the flags of these options, in the order in which they are documented."""
    for name, choice in CHOICES.items():
        if name in names:
            _add(group, choice)


def chosen(arguments: argparse.Namespace) -> dict[str, object]:
    """The options that were given, by name, as the wire has them."""
    return {name: getattr(arguments, name) for name in CHOICES if hasattr(arguments, name)}


def _add(group: Group, choice: Choice) -> None:
    flag = "--" + choice.name.replace("_", "-")
    told = _help(choice)
    if choice.kind is bool:
        group.add_argument(flag, dest=choice.name, action="store_true", default=argparse.SUPPRESS, help=told)
        opposite = _OPPOSITES.get(choice.name, f"no-{choice.name.replace('_', '-')}")
        group.add_argument(
            f"--{opposite}",
            dest=choice.name,
            action="store_false",
            default=argparse.SUPPRESS,
            help=f"the opposite of {flag}" if choice.name in _OPPOSITES or choice.default else argparse.SUPPRESS,
        )
        return
    metavar = _NAMES.get(choice.name, _METAVARS[choice.kind])
    group.add_argument(
        flag,
        dest=choice.name,
        metavar=f"{metavar},…" if choice.many else metavar,
        type=_reader(choice),
        choices=TASKS if choice.name == "task" else None,
        default=argparse.SUPPRESS,
        help=told,
    )


def _reader(choice: Choice) -> Callable[[str], Any]:
    def read(text: str) -> Any:
        if choice.nullable and choice.kind is not str and text.lower() == "none":
            return None
        if choice.name == "grammar" and text.startswith("@"):
            text = _content(text[1:])
        try:
            value = choice.read_text(text, "")
        except BadOption as error:
            # argparse names the flag before it.
            raise argparse.ArgumentTypeError(error.text.removeprefix(f"{choice.name} ")) from None
        return list(value) if isinstance(value, tuple) else value

    return read


def _content(path: str) -> str:
    """Of a file that stands for a long value."""
    try:
        with Path(path).open(encoding="utf-8") as file:
            return file.read(MAX_FILE_CHARS)
    except OSError as error:
        raise argparse.ArgumentTypeError(f"cannot read {path}: {error.strerror}") from None
    except UnicodeDecodeError:
        raise argparse.ArgumentTypeError(f"{path} is no UTF-8") from None


def _help(choice: Choice) -> str:
    parts = [choice.doc]
    if choice.name == "grammar":
        parts.append("@FILE: what is in the file")
    if choice.low is not None and choice.high is not None:
        unit = f" {choice.unit}" if choice.unit else ""
        parts.append(f"{choice.low:g} to {choice.high:g}{unit}")
    if choice.many:
        parts.append(f"up to {choice.many}, with commas between")
    if (default := _shown(choice.default)) and choice.kind is not bool:
        parts.append(f"default: {default}")
    return "; ".join(parts).replace("%", "%%")


def _shown(value: Any) -> str:
    """A default as it would be given; "" for none."""
    if value is None:
        return ""
    if isinstance(value, tuple):
        return ",".join(map(_shown, value))
    return f"{value:g}" if isinstance(value, float) else str(value)
