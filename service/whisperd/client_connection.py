"""The client's end of a connection: events out, events in, and whose they are. Waits and stores are bounded."""

from __future__ import annotations

import os
import reprlib
import select
import socket
import time
from collections import deque
from collections.abc import Callable
from types import TracebackType
from typing import NoReturn, Protocol, TypeVar

from whisperd.client_errors import ConnectionLost, server_error, unreachable
from whisperd.errors import WhisperdError
from whisperd.wire import Decoder, Event, JsonObject, encode

T = TypeVar("T")
C = TypeVar("C", bound="Connection")

CHUNK_BYTES = 32 * 1024
"""One second of audio to an event, which is half of the daemon's default limit."""

DEFAULT_LIMITS: JsonObject = {"data_bytes": 16 * 1024, "payload_bytes": 64 * 1024, "max_clip_seconds": 600.0}
"""What holds where `hello` does not say otherwise."""

RECEIVE_BYTES = 64 * 1024
MAX_DATA_BYTES = 4 << 20
"""A transcript has some 100 bytes for each of its words. Two hours, the longest clip that a daemon can be
configured for, have 20,000 words; ten minutes of what is no speech can have 9,000, as many as tokens."""

MAX_KEPT_EVENTS = 1024
"""Answers to other requests than the one that is waited for; a daemon sends two or three to a request."""

ACCEPT_SECONDS = 30.0
"""For quick answers. One started by its socket first loads the model, which takes seconds on the target."""

BACKLOG_PAUSE_SECONDS = 0.02
"""Between two tries to connect to a daemon whose backlog is full."""

LAST_WORDS_SECONDS = 1.0
"""For the error that a daemon has sent before it closed: it is there already."""


class Taker(Protocol):
    """Whom the events with some id are for."""

    def arrived(self, event: Event) -> None:
        """Keep it."""

    def cancelled(self) -> None:
        """None will come any more."""


class Connection:
    """A connection to the daemon, by a client that has said hello.

    Args:
        path: the daemon's Unix socket.
        timeout: seconds for connecting, and for each answer that needs no inference.

    Attributes:
        limits: what the daemon said it accepts; max_clip_seconds of it: the longest clip.
    """

    def __init__(
        self,
        path: str | os.PathLike[str],
        timeout: float = ACCEPT_SECONDS,
    ) -> None:
        self.path = os.fspath(path)
        self.limits: JsonObject = DEFAULT_LIMITS
        self.max_clip_seconds: float = DEFAULT_LIMITS["max_clip_seconds"]
        self._chunk_bytes = CHUNK_BYTES
        self._timeout = timeout
        self._socket: socket.socket | None = None
        self._decoder = Decoder(data_bytes=MAX_DATA_BYTES)
        self._kept: deque[Event] = deque(maxlen=MAX_KEPT_EVENTS)
        self._takers: dict[str, Taker] = {}  # by the id of what they wait for
        self._sending = False
        self._sequence = 0

    # --- connection ---------------------------------------------------------------------------------------

    def connect(self: C) -> C:
        """Connect and introduce ourselves; does nothing on a connection that is open.

        Raises:
            DaemonNotRunning, PermissionDenied, ConnectionLost: see there.
            ServerError: the daemon refuses, as with too-many-connections.
        """
        if self._socket is not None:
            return self
        connecting = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        try:
            self._reach(connecting)
        except OSError as error:
            connecting.close()
            raise unreachable(self.path, error) from None
        self._socket = connecting
        self._decoder = Decoder(data_bytes=MAX_DATA_BYTES)
        self._kept.clear()
        self._takers.clear()
        self._sending = False
        try:
            self._say_hello()
        except BaseException:
            self.close()
            raise
        return self

    def _reach(self, connecting: socket.socket) -> None:
        """Connect, and wait for a place among those that wait to be accepted where a crowd has taken them all."""
        connecting.settimeout(self._timeout)
        give_up = time.monotonic() + self._timeout
        while True:
            try:
                connecting.connect(self.path)
                return
            except BlockingIOError:
                if time.monotonic() >= give_up:
                    raise
                time.sleep(BACKLOG_PAUSE_SECONDS)

    def _say_hello(self) -> None:
        answer = self._ask("hello", {"protocol": 1, "features": ["live", "no-speech", "queued", "segments"]})
        self.limits = {**DEFAULT_LIMITS, **self._field(answer, "limits", dict)}
        self._chunk_bytes = max(min(CHUNK_BYTES, self._field(self.limits, "payload_bytes", int)) & ~1, 2)
        self.max_clip_seconds = float(self._field(self.limits, "max_clip_seconds", (int, float)))

    def close(self) -> None:
        """Close the connection; the daemon then cancels what is not answered."""
        if self._socket is not None:
            self._socket.close()
            self._socket = None

    @property
    def connected(self) -> bool:
        """Whether the connection is open, as far as is known here."""
        return self._socket is not None

    def __enter__(self: C) -> C:
        return self.connect()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    # --- events -------------------------------------------------------------------------------------------

    def _ask(
        self, question: str, data: JsonObject, answer: str | None = None, timeout: float | None = None
    ) -> JsonObject:
        self._send(Event(question, data))
        wanted = (answer or question, data.get("id"))
        until = time.monotonic() + (self._timeout if timeout is None else timeout)
        # An error without an id answers a question without one, if it is not for the connection as a whole.
        event = self._next(
            lambda e: (e.type, e.data.get("id")) == wanted or (e.type == "error" and "id" not in e.data),
            until,
        )
        if event.type == "error":
            raise server_error(event)
        return event.data

    def _new_id(self) -> str:
        self._sequence += 1
        return f"c{self._sequence}"

    def _send(self, event: Event) -> None:
        """Write an event, and read meanwhile: a daemon does not read from a client that does not."""
        sock = self._open_socket()
        give_up = time.monotonic() + self._timeout
        self._sending = True
        try:
            data = memoryview(encode(event))
            while data:
                sock.settimeout(max(give_up - time.monotonic(), 0.001))
                if _writable(sock, give_up):
                    data = data[sock.send(data) :]
                elif not self._receive_some(sock):
                    raise BrokenPipeError("it was closed")
        except OSError as error:
            self._raise_last_words(error)
        except WhisperdError as error:
            self.close()
            raise self._not_whisperd_at_all(error) from None
        self._sending = False

    def _raise_last_words(self, cause: OSError) -> NoReturn:
        """The daemon took no more: what it said before it closed tells why."""
        try:
            said = self._next(lambda event: event.type == "error", time.monotonic() + LAST_WORDS_SECONDS)
        except ConnectionLost:
            raise ConnectionLost(f"the connection to whisperd broke while sending: {cause}") from None
        finally:
            self.close()
        raise server_error(said)

    def _next(self, wanted: Callable[[Event], bool], until: float) -> Event:
        """The next event that is wanted; without one in time the connection is closed."""
        event = self._next_until(wanted, until)
        if event is None:
            self.close()
            raise ConnectionLost("whisperd does not answer in time; `journalctl -u whisperd` tells more")
        return event

    def _next_until(self, wanted: Callable[[Event], bool], until: float) -> Event | None:
        """The next event that is wanted, if it comes in time; the others are kept for who wants them."""
        for event in self._kept:
            if wanted(event):
                self._kept.remove(event)
                return event
        while (received := self._receive(until)) is not None:
            if wanted(received):
                return received
            self._keep(received)
        return None

    def _keep(self, event: Event) -> None:
        request = event.data.get("id")
        taker = self._takers.get(request) if isinstance(request, str) else None
        if taker is None:
            self._kept.append(event)
        else:
            taker.arrived(event)

    def _receive(self, until: float) -> Event | None:
        """The next event of the connection, if one comes in time."""
        sock = self._open_socket()
        try:
            while (event := self._decoder.next_event()) is None:
                sock.settimeout(max(until - time.monotonic(), 0.001))
                received = sock.recv(RECEIVE_BYTES)
                if not received:
                    self.close()
                    raise ConnectionLost("whisperd closed the connection before it answered")
                self._decoder.receive_data(received)
        except TimeoutError:
            return None
        except OSError as error:
            self.close()
            raise ConnectionLost(f"the connection to whisperd broke: {error.strerror or error}") from None
        except WhisperdError as error:
            self.close()
            raise self._not_whisperd_at_all(error) from None
        return event

    def _receive_some(self, sock: socket.socket) -> bool:
        """Keep what has come; False at the end of the stream."""
        received = sock.recv(RECEIVE_BYTES)
        self._decoder.receive_data(received)
        while (event := self._decoder.next_event()) is not None:
            self._keep(event)
        return bool(received)

    def _not_whisperd_at_all(self, error: WhisperdError) -> ConnectionLost:
        return ConnectionLost(f"{self.path}: not what whisperd says: {error.text}")

    def _not_whisperd(self, name: str, value: object) -> ConnectionLost:
        self.close()
        return ConnectionLost(f"{self.path}: not what whisperd says: {name} is {reprlib.repr(value)}")

    def _field(self, data: JsonObject, name: str, kind: type[T] | tuple[type[T], ...]) -> T:
        """A field of an answer, which has to be there."""
        value = data.get(name)
        if not isinstance(value, kind):
            raise self._not_whisperd(name, value)
        return value

    def _open_socket(self) -> socket.socket:
        if self._socket is None:
            raise ConnectionLost("not connected to whisperd")
        return self._socket


def _writable(sock: socket.socket, until: float) -> bool:
    """Wait until something can be written, or only read (False); TimeoutError where neither is in time."""
    ready = select.poll()
    ready.register(sock, select.POLLIN | select.POLLOUT)
    found = ready.poll(max(until - time.monotonic(), 0) * 1000)
    if not found:
        raise TimeoutError("timed out")
    return bool(found[0][1] & select.POLLOUT)
