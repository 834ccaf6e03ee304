"""A JSON object whose one long member is audio in base64, taken apart while it comes. Pure.

The text of the member goes to the caller as bytes, piece by piece; the rest, which is short, is kept and parsed at
the end. So a recording is never in memory as JSON, as base64 and as bytes at once.
"""

from __future__ import annotations

import binascii
import json
import re
from typing import Any, Final, NoReturn

from ..wire import JsonObject
from .problems import BadBody, BadField, MissingField

MAX_REST_BYTES: Final = 65536
"""Of everything but the audio."""

MAX_DEPTH: Final = 8

_ALPHABET: Final = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/"
_TOKEN: Final = re.compile(rb'"(?:[^"\\]|\\.)*"|[{}\[\]:,]|\s+|[^"{}\[\]:,\s]+', re.DOTALL)
_ENDS: Final = re.compile(rb'["\\]')
_QUOTE: Final = ord('"')


class Base64Json:
    """The parser of one body.

    Args:
        member: name of the member with the audio, at the top level.
    """

    def __init__(self, member: str) -> None:
        self._member = member
        self._kept = bytearray()  # the JSON text without the audio
        self._at = 0  # how much of it has been looked at
        self._depth = 0
        self._name = b""  # the last text
        self._awaited = False  # the audio comes next
        self._inside = self._seen = self._escaped = self._padded = False
        self._group = b""  # less than four characters
        self._characters = 0

    def feed(self, data: bytes) -> bytes:
        """The next bytes, split anywhere; returns the audio that they hold.

        Raises:
            BadBody: the rest is too long or nested too deeply.
            BadField: the audio is not in base64, or comes twice.
        """
        audio = b""
        while data:
            if not self._inside:
                self._kept += data
                data = self._scan()
                if len(self._kept) > MAX_REST_BYTES:
                    raise BadBody(f"the JSON body has more than {MAX_REST_BYTES} bytes beside {self._member}")
                continue
            if self._escaped:  # PHP writes \/ for a slash; any other escape stands for what base64 has not
                self._escaped = False
                if data[:1] != b"/":
                    self._refuse("has an escape")
                audio += self._decode(b"/")
                data = data[1:]
                continue
            end = _ENDS.search(data)
            at = len(data) if end is None else end.start()
            audio += self._decode(data[:at])
            if end is not None and end[0] == b'"':
                self._close()
            elif end is not None:
                self._escaped = True
            data = data[at + 1 :]
        return audio

    def finish(self) -> JsonObject:
        """The body has ended; returns its other members.

        Raises:
            BadBody: it is no JSON object.
            MissingField: the audio is missing.
        """
        if self._inside:
            raise BadBody(f"the JSON body ends within {self._member}")
        try:
            values = json.loads(
                self._kept.decode("utf-8"), object_pairs_hook=_without_repetition, parse_constant=_no_constant
            )
            json.dumps(values, ensure_ascii=False).encode()  # half of a surrogate pair is no text
        except (ValueError, RecursionError) as error:
            raise BadBody(f"the body is not JSON: {error}") from None
        if not isinstance(values, dict):
            raise BadBody("the body must be a JSON object")
        if not self._seen:
            if self._member in values:
                raise BadField(f"{self._member} must be a text in base64", self._member)
            raise MissingField(f"{self._member} is missing", self._member)
        del values[self._member]
        return values

    # --- outside of the audio -----------------------------------------------------------------------------------

    def _scan(self) -> bytes:
        """Go through what is kept; where the audio begins, returns what lies behind its quote."""
        while self._at < len(self._kept):
            if self._awaited and self._kept[self._at] == _QUOTE:
                if self._seen:
                    raise BadField(f"{self._member} comes twice", self._member)
                behind = bytes(self._kept[self._at + 1 :])
                self._kept[self._at :] = b'""'
                self._at += 2
                self._seen = self._inside = True
                self._awaited = False
                return behind
            found = _TOKEN.match(self._kept, self._at)
            if found is None:
                return b""  # a text that has not ended
            self._at = found.end()
            token = bytes(found[0])
            if token.isspace():
                continue
            if token in (b"{", b"["):
                self._depth += 1
                if self._depth > MAX_DEPTH:
                    raise BadBody(f"the JSON body is nested more than {MAX_DEPTH} levels deep")
            elif token in (b"}", b"]"):
                self._depth -= 1
            self._awaited = token == b":" and self._depth == 1 and self._name == b'"%s"' % self._member.encode()
            self._name = token
        return b""

    # --- inside -------------------------------------------------------------------------------------------------

    def _decode(self, text: bytes) -> bytes:
        if not text:
            return b""
        if self._padded:
            self._refuse("goes on behind its padding")
        joined = self._group + text
        whole = len(joined) - len(joined) % 4
        self._group = joined[whole:]
        groups = joined[:whole]
        stripped = groups.rstrip(b"=")
        wrong = stripped.translate(None, _ALPHABET)
        if wrong:
            self._characters += stripped.index(wrong[0])
            self._refuse(f"has the character {chr(wrong[0])!r}")
        if len(groups) - len(stripped) > 2:
            self._refuse("has too much padding")
        self._padded = len(stripped) < len(groups)
        self._characters += whole
        return binascii.a2b_base64(groups)

    def _close(self) -> None:
        if self._group:
            self._refuse("ends within a group of four characters")
        if not self._characters:
            raise BadField(f"{self._member} is empty", self._member)
        self._inside = False

    def _refuse(self, why: str) -> NoReturn:
        text = f"{self._member} is not base64 (RFC 4648, with padding): it {why}, at character {self._characters}"
        raise BadField(text, self._member)


def _without_repetition(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for name, value in pairs:
        if name in found:
            raise BadField(f"{name} comes twice", name)
        found[name] = value
    return found


def _no_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is no JSON")
