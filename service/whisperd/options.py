"""What an option of the configuration is: its declaration in a dataclass field, and the check of its value.

Nothing here knows any option by name. A value comes either from TOML, with a type, or from a variable or
flag, as a text; the text is first read into what TOML would have given, so that one check serves both.
"""

from __future__ import annotations

import math
import os
import re
import reprlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

from whisperd.errors import ConfigError

T = TypeVar("T")

ENVIRONMENT_PREFIX = "WHISPERD_"


class FileMode(int):
    """Permission bits, written as in chmod(1): "0660"."""

    def __str__(self) -> str:
        return f"{int(self):04o}"


def option(
    default: T,
    doc: str,
    *,
    unit: str = "",
    low: float | None = None,
    high: float | None = None,
    choices: tuple[str, ...] = (),
    pattern: str | None = None,
    form: str = "",
    max_bytes: int | None = None,
    flag: str = "",
) -> T:
    """Declare an option.

    Args:
        default: the value when nothing is configured.
        doc: one sentence for the operator.
        unit: of the number, as it is printed behind it.
        low, high: inclusive range of a number.
        choices: the texts that are allowed.
        pattern: regular expression that a text, or each item of a list, matches as a whole.
        form: what such a text is, in words.
        max_bytes: longest text or path, in bytes of the file system's encoding.
        flag: its flag on the command line of whisperd, if it has one.
    """
    metadata = {
        "doc": doc,
        "unit": unit,
        "low": low,
        "high": high,
        "choices": choices,
        "pattern": pattern,
        "form": form,
        "max_bytes": max_bytes,
        "flag": flag,
    }
    declared: T = field(default=default, metadata=metadata)
    return declared


@dataclass(frozen=True)
class Option:
    """One option as the loader, the help and the documentation see it."""

    section: str
    name: str
    kind: Any
    default: Any
    meta: Mapping[str, Any]

    @property
    def key(self) -> str:
        """Dotted name, as in `model.threads`."""
        return f"{self.section}.{self.name}"

    @property
    def variable(self) -> str:
        """Name in the environment."""
        return f"{ENVIRONMENT_PREFIX}{self.section}_{self.name}".upper()

    @property
    def flag(self) -> str:
        """Name on the command line, or "" for none."""
        return str(self.meta["flag"])


def _int_text(text: str) -> Any:
    return int(text) if re.fullmatch(r"-?[0-9]{1,18}", text) else text


def _float_text(text: str) -> Any:
    try:
        return float(text)
    except ValueError:
        return text


def _list_text(text: str) -> Any:
    return [item.strip() for item in text.split(",")] if text.strip() else []


_TEXT_READERS: Mapping[Any, Callable[[str], Any]] = {
    int: _int_text,
    float: _float_text,
    str: str,
    str | None: str,
    Path: str,
    Path | None: str,
    FileMode: str,
    tuple[str, ...]: _list_text,
}


def check_text(wanted: Option, text: str, where: str) -> Any:
    """Like `check`, for the text of a variable or flag.

    A text that does not read as the type stays a text, and is then refused in the same words as in the file.
    """
    return check(wanted, _TEXT_READERS[wanted.kind](text), where)


def check(wanted: Option, value: Any, where: str) -> Any:
    """Turn a value, of the type that TOML gave it, into the field's type.

    Raises:
        ConfigError: for a wrong type, or a value outside what the option allows; begins with `where`.
    """
    meta = wanted.meta
    if wanted.kind is int or wanted.kind is float:
        return _number(wanted, value, where)
    if wanted.kind == tuple[str, ...]:
        if not isinstance(value, list) or not all(isinstance(item, str) for item in value):
            raise ConfigError(f"{where}: expected a list of texts, got {value!r}")
        for item in value:
            _text(item, meta, where)
        return tuple(value)
    if not isinstance(value, str):
        example = ', as in "0660"' if wanted.kind is FileMode else ""
        raise ConfigError(f"{where}: expected a text in quotes{example}, got {value!r}")
    if wanted.kind is FileMode:
        if not re.fullmatch(r"0?[0-7]{3}", value):
            raise ConfigError(f'{where}: expected permissions in octal such as "0660", got {value!r}')
        mode = FileMode(int(value, 8))
        _range(mode, meta, where)
        return mode
    if wanted.kind in (str | None, Path | None) and value == "":
        return None
    _text(value, meta, where)
    return Path(value) if wanted.kind in (Path, Path | None) else value


def _number(wanted: Option, value: Any, where: str) -> Any:
    # bool is an int to Python, but `threads = true` is a mistake.
    allowed = (int,) if wanted.kind is int else (int, float)
    if isinstance(value, bool) or not isinstance(value, allowed):
        name = "a whole number" if wanted.kind is int else "a number"
        raise ConfigError(f"{where}: expected {name}, got {value!r}")
    if isinstance(value, float) and not math.isfinite(value):
        raise ConfigError(f"{where}: expected a finite number, got {value!r}")
    _range(value, wanted.meta, where)
    return wanted.kind(value)


def _range(value: float, meta: Mapping[str, Any], where: str) -> None:
    low, high = meta["low"], meta["high"]
    if not low <= value <= high:
        kind = type(value) if isinstance(value, FileMode) else plain
        unit = f" {meta['unit']}" if meta["unit"] else ""
        raise ConfigError(f"{where}: {kind(value)} is not in the range {kind(low)} to {kind(high)}{unit}")


def plain(number: float) -> str:
    """A number without the noise: 600.0 is 600."""
    return reprlib.repr(number) if isinstance(number, int) else f"{number:.12g}"


def _text(text: str, meta: Mapping[str, Any], where: str) -> None:
    if not text or "\0" in text:
        raise ConfigError(f"{where}: must not be empty nor hold a NUL, got {text!r}")
    if meta["choices"] and text not in meta["choices"]:
        raise ConfigError(f"{where}: {text!r} is not one of {', '.join(meta['choices'])}")
    if meta["pattern"] and not re.fullmatch(meta["pattern"], text):
        raise ConfigError(f"{where}: {text!r} is not {meta['form']}")
    if meta["max_bytes"] and len(os.fsencode(text)) > meta["max_bytes"]:
        raise ConfigError(
            f"{where}: a path of {len(os.fsencode(text))} bytes, {meta['max_bytes']} is the most: {text}"
        )
