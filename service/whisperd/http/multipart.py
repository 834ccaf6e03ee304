"""multipart/form-data (RFC 7578) as a sans-I/O parser: bytes in, parts out, every length bounded. Pure.

parser = Multipart("the-boundary")
for found in parser.feed(data):       # Part, bytes of it, PartEnd, Part …
    ...
parser.finish()                       # raises where the body ended before its last boundary
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Final

from .problems import BadBody, BadContentType

MAX_HEAD_BYTES: Final = 8192
MAX_PARTS: Final = 1100
MAX_PREAMBLE_BYTES: Final = 1024
MAX_BOUNDARY: Final = 70  # RFC 2046, 5.1.1

_BOUNDARY: Final = re.compile(r"[0-9A-Za-z'()+_,./:=? -]{0,69}[0-9A-Za-z'()+_,./:=?-]")
_PARAMETER: Final = re.compile(r';\s*([A-Za-z0-9!#$&^_.+*-]+)\s*=\s*(?:"((?:[^"\\]|\\.)*)"|([^\s;"]*))\s*')


@dataclass(frozen=True)
class Part:
    """The beginning of a part. `filename` is None where it is a plain field."""

    name: str
    filename: str | None


@dataclass(frozen=True)
class PartEnd:
    """The end of the part that began last."""


Found = Part | PartEnd | bytes


def parameters(header: str) -> tuple[str, dict[str, str]]:
    """A header such as `form-data; name="file"` as its value, in small letters, and its parameters.

    Raises:
        ValueError: it is not well-formed.
    """
    value, _, rest = header.partition(";")
    found: dict[str, str] = {}
    rest = f";{rest}" if rest.strip() else ""
    while rest:
        match = _PARAMETER.match(rest)
        if match is None:
            raise ValueError("not well-formed")
        # Browsers write %22 for a quote and leave a backslash as it is; others escape both.
        text = match[3] if match[2] is None else re.sub(r'\\(["\\])', r"\1", match[2])
        found.setdefault(match[1].lower(), text)
        rest = rest[match.end() :]
    return value.strip().lower(), found


def boundary_of(content_type: str) -> str:
    """The boundary that a Content-Type names.

    Raises:
        BadContentType: it is no multipart/form-data, or names none that is usable.
    """
    try:
        kind, found = parameters(content_type)
    except ValueError:
        raise BadContentType("the header Content-Type is not well-formed", "Content-Type") from None
    if kind != "multipart/form-data":
        shown = kind[:100] or "nothing"
        raise BadContentType(f"the body must be multipart/form-data, not {shown}", "Content-Type")
    boundary = found.get("boundary", "")
    if not _BOUNDARY.fullmatch(boundary):
        raise BadContentType("the header Content-Type names no usable boundary", "Content-Type")
    return boundary


class Multipart:
    """The parser of one body."""

    def __init__(self, boundary: str) -> None:
        # A line break belongs to the boundary behind it: the first one gets one of ours.
        self._mark = b"\r\n--" + boundary.encode("ascii")
        self._rest = bytearray(b"\r\n")
        self._state = "preamble"
        self._parts = 0
        self._skip = 0  # bytes at the beginning that are not of the body

    def feed(self, data: bytes) -> list[Found]:
        """The next bytes, split anywhere.

        Raises:
            BadBody: naming what is wrong.
        """
        self._rest += data
        found: list[Found] = []
        step = {"preamble": self._preamble, "edge": self._edge, "head": self._head, "body": self._body}
        while self._state != "epilogue" and step[self._state](found):
            pass
        if self._state == "epilogue":
            self._rest.clear()  # RFC 2046: to be ignored
        return found

    def finish(self) -> None:
        """The body has ended; raises BadBody where that is too early."""
        if self._state != "epilogue":
            where = f"in part {self._parts}" if self._parts else "before its first boundary"
            raise BadBody(f"the multipart body ends {where}: its last boundary is missing")

    def _preamble(self, found: list[Found]) -> bool:
        at = self._rest.find(self._mark)
        if at < 0:
            if len(self._rest) > MAX_PREAMBLE_BYTES + len(self._mark):
                raise BadBody("the multipart body does not begin with its boundary")
            return False
        del self._rest[: at + len(self._mark)]
        self._state = "edge"
        return True

    def _edge(self, found: list[Found]) -> bool:
        """Behind a boundary: another part, or the end."""
        if len(self._rest) < 2:
            return False
        if self._rest.startswith(b"--"):
            self._state = "epilogue"
            return True
        line, separator, _ = bytes(self._rest[:256]).partition(b"\r\n")
        if not separator and len(self._rest) < 256 and not line.strip(b" \t\r"):
            return False
        if not separator or line.strip(b" \t"):
            raise BadBody("a boundary of the multipart body is followed by something else than a line break")
        del self._rest[: len(line)]  # the line break stays: a head without a line ends with it
        self._state = "head"
        return True

    def _head(self, found: list[Found]) -> bool:
        end = self._rest.find(b"\r\n\r\n")
        if end < 0 or end > MAX_HEAD_BYTES:
            if len(self._rest) > MAX_HEAD_BYTES:
                raise BadBody(f"the head of a part is longer than {MAX_HEAD_BYTES} bytes")
            return False
        head = bytes(self._rest[:end])
        del self._rest[: end + 2]  # the line break before an empty body's boundary stays
        self._parts += 1
        if self._parts > MAX_PARTS:
            raise BadBody(f"the multipart body has more than {MAX_PARTS} parts")
        found.append(self._part(head))
        self._state = "body"
        self._skip = 2  # that line break
        return True

    def _part(self, head: bytes) -> Part:
        try:
            lines = head.decode("utf-8").split("\r\n")
        except UnicodeDecodeError:
            raise BadBody(f"the head of part {self._parts} is not UTF-8") from None
        for line in lines:
            name, _, value = line.partition(":")
            if name.strip().lower() == "content-disposition":
                break
        else:
            raise BadBody(f"part {self._parts} has no Content-Disposition")
        try:
            kind, found = parameters(value)
        except ValueError:
            raise BadBody(f"the Content-Disposition of part {self._parts} is not well-formed") from None
        if kind != "form-data" or not found.get("name"):
            raise BadBody(f"part {self._parts} is no form-data with a name")
        encoding = [v for n, _, v in (x.partition(":") for x in lines) if n.lower() == "content-transfer-encoding"]
        if any(value.strip().lower() not in ("binary", "8bit", "7bit") for value in encoding):
            raise BadBody(f"part {self._parts} ({found['name']}) has a Content-Transfer-Encoding", found["name"])
        return Part(found["name"], found.get("filename"))

    def _body(self, found: list[Found]) -> bool:
        at = self._rest.find(self._mark)
        # What may be the beginning of a boundary waits for its end.
        end = at if at >= 0 else len(self._rest) - len(self._mark) + 1
        if end > self._skip:
            found.append(bytes(self._rest[self._skip : end]))
        if at >= 0:
            del self._rest[: at + len(self._mark)]
            found.append(PartEnd())
            self._state = "edge"
            return True
        if end > self._skip:
            del self._rest[:end]
            self._skip = 0
        return False
