"""A choice that a client has: its type, range, unit and meaning, and how a value of it is read. Pure.

The wire, the HTTP server, the command line and the documentation read them from here.
"""

from __future__ import annotations

import reprlib
from dataclasses import dataclass
from typing import Any, Final

from ..errors import BadOption

_NAMES: Final = {bool: "true or false", int: "a whole number", float: "a number", str: "a text"}
_TRUTHS: Final = {"true": True, "1": True, "yes": True, "false": False, "0": False, "no": False}
_SCHEMA_TYPES: Final = {bool: "boolean", int: "integer", float: "number", str: "string"}


@dataclass(frozen=True)
class Choice:
    """One choice, as the readers and the documentation see it.

    Attributes:
        kind: bool, int, float or str; of each item where it is a `many`.
        many: how many items there may be; 0 where it is no list.
        nullable: whether None is a value of its own.
        low, high: inclusive range of a number.
        longest: characters of a text.
        live: whether it can be chosen for live speech too.
    """

    name: str
    default: Any
    doc: str
    kind: type
    many: int = 0
    nullable: bool = False
    low: float | None = None
    high: float | None = None
    unit: str = ""
    longest: int = 0
    values: tuple[str, ...] = ()
    live: bool = False

    def read(self, value: object, where: str) -> Any:
        """A JSON value, checked. None is the default, or what None means here.

        Raises:
            BadOption: a wrong type, or a value outside of what may be chosen; begins with `where` and the name.
        """
        if value is None:
            return None if self.nullable else self.default
        if not self.many:
            return self._item(value, where)
        # One item stands for a list of it, as faster-whisper has it for temperature and hotwords.
        items = value if isinstance(value, (list, tuple)) else [value]
        # Where None is a value, a list of nothing is one too: for faster-whisper both suppress no tokens.
        needed = bool(self.default) and not self.nullable
        if len(items) > self.many or (not items and needed):
            least = "1 to " if needed else "up to "
            raise self._refused(where, f"must be a list of {least}{self.many}, not of {len(items)}")
        return tuple(self._item(item, where) for item in items)

    def read_text(self, text: str, where: str) -> Any:
        """The same of a form field or a flag: lists have commas, "" is an empty list, or no value."""
        if self.many:
            items = [item.strip() for item in text.split(",")] if text.strip() else []
            return self.read([self._of_text(item) for item in items], where)
        if text == "" and (self.nullable or self.kind is not str):
            return self.read(None, where)
        return self.read(self._of_text(text), where)

    def schema(self) -> dict[str, Any]:
        """Its schema, in OpenAPI 3.0's dialect of JSON Schema, which has `nullable`."""
        one: dict[str, Any] = {"type": _SCHEMA_TYPES[self.kind]}
        for key, bound in (("minimum", self.low), ("maximum", self.high), ("maxLength", self.longest or None)):
            if bound is not None:
                one[key] = bound
        if self.values:
            one["enum"] = list(self.values)
        if self.many:
            one = {"type": "array", "items": one, "maxItems": self.many}
        default = list(self.default) if isinstance(self.default, tuple) else self.default
        if self.nullable:
            one["nullable"] = True
        return {**one, "description": self.doc, "default": default}

    def _of_text(self, text: str) -> object:
        """As JSON would have given it; what does not read so stays a text, and is refused in the same words."""
        try:
            if self.kind is bool:
                return _TRUTHS[text.lower()]
            return self.kind(text)
        except (KeyError, ValueError):
            return text

    def _item(self, value: object, where: str) -> Any:
        kinds = (int, float) if self.kind is float else (self.kind,)
        if not isinstance(value, kinds) or (isinstance(value, bool) and self.kind is not bool):
            raise self._refused(where, f"must be {_NAMES[self.kind]}, not {reprlib.repr(value)}")
        if isinstance(value, str):
            if self.longest and len(value) > self.longest:
                raise self._refused(where, f"is {len(value)} characters long, {self.longest} is the most")
            if "\0" in value or any("\ud800" <= char <= "\udfff" for char in value):
                raise self._refused(where, "holds a NUL or half of a character")
            if self.values and value not in self.values:
                raise self._refused(where, f"must be {' or '.join(self.values)}, not {reprlib.repr(value)}")
        elif not isinstance(value, bool):
            assert isinstance(value, (int, float)) and self.low is not None and self.high is not None
            # NaN is in no range; and a whole number of hundreds of digits, as JSON may have it, is no float.
            if not self.low <= value <= self.high:
                unit = f" {self.unit}" if self.unit else ""
                shown = f"{reprlib.repr(value)} is not in the range {self.low:g} to {self.high:g}{unit}"
                raise self._refused(where, shown)
        return self.kind(value)

    def _refused(self, where: str, why: str) -> BadOption:
        return BadOption(f"{where}: {self.name} {why}" if where else f"{self.name} {why}", self.name)
