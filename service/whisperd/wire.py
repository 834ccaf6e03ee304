"""Wyoming framing as a sans-I/O codec: bytes in, events out. Every length is bounded.

An event on the wire is one line of JSON, the header, ended by LF:

    {"type": "audio-chunk", "data": {…}, "data_length": 52, "payload_length": 2048}

then `data_length` bytes of JSON and `payload_length` bytes of anything. Only `type` must be there. The data
block's members are merged over those of the inline `data`, as the `wyoming` package does.

The decoder is pulled, as in h11: `receive_data` only stores, `next_event` decodes one event. The caller thus
stops between two events when its own output is full, and an error comes exactly behind the last good event,
wherever the stream was split.
"""

from __future__ import annotations

import json
import math
from dataclasses import dataclass, field
from typing import Any, Final

from .errors import BadData, BadHeader, HeaderTooLong, PayloadTooLong, WhisperdError

JsonObject = dict[str, Any]

HEADER_BYTES: Final = 16 * 1024
DATA_BYTES: Final = 16 * 1024
PAYLOAD_BYTES: Final = 64 * 1024

# Wyoming's deepest event, `info`, nests 6 levels. A bound of our own, because how deep the json module goes
# before its RecursionError depends on the Python version and on how deep the caller stands.
MAX_DEPTH: Final = 32


@dataclass(frozen=True)
class Event:
    """One event: its type, its data (JSON values) and its payload."""

    type: str
    data: JsonObject = field(default_factory=dict)
    payload: bytes = b""


@dataclass(frozen=True)
class _Header:
    """A decoded header line, whose data block and payload are still to come."""

    type: str
    data: JsonObject
    data_length: int
    payload_length: int


class Decoder:
    """Turns the bytes of one direction of a connection into events.

    Holds at most one event within its limits, and what the last `receive_data` brought beyond it, provided
    that `next_event` is called until it returns None before more is put in.
    """

    def __init__(
        self,
        *,
        header_bytes: int = HEADER_BYTES,
        data_bytes: int = DATA_BYTES,
        payload_bytes: int = PAYLOAD_BYTES,
    ) -> None:
        """Make a decoder; the limits are inclusive, and the header's does not count its LF."""
        self._header_bytes = header_bytes
        self._data_bytes = data_bytes
        self._payload_bytes = payload_bytes
        self._buffer = bytearray()
        self._searched = 0  # bytes of the buffer known to hold no LF: one-byte reads must not search them again
        self._header: _Header | None = None
        self._error: WhisperdError | None = None
        self._events = 0

    @property
    def events(self) -> int:
        """How many events have been decoded."""
        return self._events

    @property
    def buffered(self) -> int:
        """How many bytes are held."""
        return len(self._buffer)

    @property
    def mid_event(self) -> bool:
        """Whether an event has begun and is not whole yet (when `next_event` has returned None)."""
        return self._error is None and (self._header is not None or bool(self._buffer))

    def receive_data(self, data: bytes | bytearray | memoryview) -> None:
        """Store bytes. After an error they are dropped: where the next event begins is not known."""
        if self._error is None:
            self._buffer += data

    def next_event(self) -> Event | None:
        """Decode the next event, or return None if it is not whole yet.

        Raises:
            HeaderTooLong, PayloadTooLong: a limit is exceeded; raised before what exceeds it is waited for.
            BadHeader, BadData: the header or the data block is not what the framing asks for.
                After any error the decoder is dead and every call raises the same error again.
        """
        if self._error is not None:
            raise self._error
        try:
            event = self._decode()
        except WhisperdError as error:
            self._error = error
            self._buffer.clear()
            raise
        if event is not None:
            self._events += 1
        return event

    def _decode(self) -> Event | None:
        if self._header is None:
            line = self._take_line()
            if line is None:
                return None
            self._header = self._parse_header(line)
        header = self._header
        if len(self._buffer) < header.data_length + header.payload_length:
            return None
        data = header.data
        if header.data_length:
            block = _parse_object(self._take(header.data_length), BadData, f"{self._where()}: data block")
            data = {**data, **block}
        payload = self._take(header.payload_length)
        self._header = None
        return Event(header.type, data, payload)

    def _take_line(self) -> bytes | None:
        end = self._buffer.find(b"\n", self._searched)
        length = len(self._buffer) if end < 0 else end
        if length > self._header_bytes:
            raise HeaderTooLong(f"{self._where()}: header line is longer than {self._header_bytes} bytes")
        if end < 0:
            self._searched = length
            return None
        self._searched = 0
        line = self._take(end)
        del self._buffer[:1]
        return line

    def _take(self, count: int) -> bytes:
        # bytearray deletes at its front by moving a pointer, so taking small events off a large read is linear.
        taken = bytes(self._buffer[:count])
        del self._buffer[:count]
        return taken

    def _parse_header(self, line: bytes) -> _Header:
        where = f"{self._where()}: header"
        header = _parse_object(line, BadHeader, where)
        event_type = header.get("type")
        if not isinstance(event_type, str) or not event_type:
            raise BadHeader(f"{where}: no type" if event_type is None else f"{where}: type is not a text")
        data = header.get("data")
        if data is not None and not isinstance(data, dict):
            raise BadHeader(f"{where}: data is not an object")
        return _Header(
            event_type,
            data or {},
            _length(header, "data_length", self._data_bytes, where),
            _length(header, "payload_length", self._payload_bytes, where),
        )

    def _where(self) -> str:
        return f"event {self._events + 1}"


def encode(event: Event) -> bytes:
    """The bytes of an event. Its data always goes into the data block, so that the header stays short.

    Raises:
        ValueError: the data holds a number that is not finite.
    """
    header: JsonObject = {"type": event.type}
    data = b""
    if event.data:
        data = _dump(event.data)
        header["data_length"] = len(data)
    if event.payload:
        header["payload_length"] = len(event.payload)
    return b"".join((_dump(header), b"\n", data, event.payload))


def _dump(value: JsonObject) -> bytes:
    text = json.dumps(value, ensure_ascii=False, allow_nan=False, separators=(",", ":"))
    # A lone surrogate has no UTF-8. The decoder lets none in; one of our own becomes "?" rather than an error.
    return text.encode("utf-8", "replace")


def _length(header: JsonObject, name: str, limit: int, where: str) -> int:
    value = header.get(name)
    if value is None:
        return 0
    if type(value) is not int or value < 0:  # neither true, which is an int to Python, nor 1.0
        raise BadHeader(f"{where}: {name} is not a whole number of bytes")
    if value > limit:
        # An int of thousands of digits is slow to print, and says nothing.
        raise PayloadTooLong(f"{where}: {name} is over the limit of {limit} bytes")
    return value


def _parse_object(raw: bytes, error: type[BadHeader] | type[BadData], where: str) -> JsonObject:
    """Parse one JSON object that can be encoded again: UTF-8, finite numbers, bounded depth."""
    try:
        # Decoded here: given bytes, the json module would guess among UTF-8, -16 and -32.
        value = json.loads(raw.decode("utf-8"))
    except UnicodeDecodeError as cause:
        raise error(f"{where}: byte {cause.start} is not UTF-8") from None
    except json.JSONDecodeError as cause:
        raise error(f"{where}: not JSON: {cause.msg} at character {cause.pos}") from None
    except ValueError:  # an integer of more digits than Python converts
        raise error(f"{where}: a number has too many digits") from None
    except RecursionError:
        raise error(f"{where}: nested deeper than {MAX_DEPTH} levels") from None
    if not isinstance(value, dict):
        raise error(f"{where}: not a JSON object")
    _check_values(value, error, where)
    return value


def _check_values(value: JsonObject, error: type[BadHeader] | type[BadData], where: str) -> None:
    """Refuse what Python's json module takes and JSON does not have, and what nests too deeply."""
    level: list[Any] = [value]
    depth = 1
    while level:
        below: list[Any] = []
        for item in level:
            if isinstance(item, dict):
                below += item.keys()
                below += item.values()
            elif isinstance(item, list):
                below += item
            elif isinstance(item, float) and not math.isfinite(item):  # NaN, Infinity, and 1e999
                raise error(f"{where}: a number is not finite")
            elif isinstance(item, str) and not item.isascii():
                _check_text(item, error, where)
            if depth > MAX_DEPTH and isinstance(item, (dict, list)):
                raise error(f"{where}: nested deeper than {MAX_DEPTH} levels")
        level = below
        depth += 1


def _check_text(text: str, error: type[BadHeader] | type[BadData], where: str) -> None:
    try:
        text.encode("utf-8")
    except UnicodeEncodeError:  # written as an escape such as \ud800
        raise error(f"{where}: a text holds half of a surrogate pair") from None
