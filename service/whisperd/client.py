"""A small synchronous client of the daemon: what `whisperctl` and the tests talk through.

    with Client("/run/whisperd/whisperd.sock") as client:
        print(client.transcribe(pcm).text)

One thread uses a client at a time. Every wait has a time-out, and what the daemon sends is bounded.
"""

from __future__ import annotations

import errno
import grp
import os
import reprlib
import socket
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from types import TracebackType
from typing import TYPE_CHECKING, NoReturn, TypeVar

from whisperd.errors import WhisperdError
from whisperd.wire import Decoder, Event, JsonObject, encode

if TYPE_CHECKING:
    from whisperd.speech.types import Int16Samples

T = TypeVar("T")

SAMPLE_RATE = 16_000
CHUNK_BYTES = 32 * 1024
"""One second of audio to an event, which is half of the daemon's default limit."""

DEFAULT_LIMITS: JsonObject = {"payload_bytes": 64 * 1024, "max_clip_seconds": 600.0}
"""What holds where `hello` does not say otherwise."""

RECEIVE_BYTES = 64 * 1024
MAX_DATA_BYTES = 4 << 20
"""A transcript with its segments has some 100 bytes for each second of audio."""

MAX_KEPT_EVENTS = 1024
"""Answers to other requests than the one that is waited for; a daemon sends two or three to a request."""

ACCEPT_SECONDS = 30.0
"""For quick answers. One started by its socket first loads the model, which takes seconds on the target."""

BACKLOG_PAUSE_SECONDS = 0.02
"""Between two tries to connect to a daemon whose backlog is full."""

LAST_WORDS_SECONDS = 1.0
"""For the error that a daemon has sent before it closed: it is there already."""

RESULT_SECONDS = 3600.0
"""For transcripts: a long file behind a queue of long files. A daemon that dies is noticed at once."""


class ClientError(Exception):
    """Something between this program and the daemon went wrong; `text` says what, and what can be done."""

    def __init__(self, text: str) -> None:
        super().__init__(text)
        self.text = text


class Unreachable(ClientError):
    """There is no talking to the daemon."""


class DaemonNotRunning(Unreachable):
    """Nobody listens on the socket."""


class PermissionDenied(Unreachable):
    """The socket is there and is not this user's to open."""


class ConnectionLost(Unreachable):
    """The daemon closed the connection, does not answer in time, or says what no whisperd says."""


class ServerError(ClientError):
    """The daemon's answer is an error.

    Attributes:
        code: stable, as in docs/protocol.md.
        retry: whether the same request can succeed later.
    """

    def __init__(self, code: str, text: str, retry: bool) -> None:
        super().__init__(text)
        self.code = code
        self.retry = retry


@dataclass(frozen=True)
class Transcript:
    """The daemon's answer to a clip.

    Attributes:
        data: the whole answer, as docs/protocol.md describes it: segments, timings.
    """

    text: str
    language: str | None
    audio_seconds: float
    data: JsonObject = field(repr=False)


class Client:
    """A connection to the daemon.

    Args:
        path: the daemon's Unix socket.
        timeout: seconds for connecting, and for each answer that needs no inference.
        result_timeout: seconds for a transcript.

    Attributes:
        limits: what the daemon said it accepts; max_clip_seconds of it: the longest clip.
    """

    def __init__(
        self,
        path: str | os.PathLike[str],
        timeout: float = ACCEPT_SECONDS,
        result_timeout: float = RESULT_SECONDS,
    ) -> None:
        self.path = os.fspath(path)
        self.limits: JsonObject = DEFAULT_LIMITS
        self.max_clip_seconds: float = DEFAULT_LIMITS["max_clip_seconds"]
        self._chunk_bytes = CHUNK_BYTES
        self._timeout = timeout
        self._result_timeout = result_timeout
        self._socket: socket.socket | None = None
        self._decoder = Decoder(data_bytes=MAX_DATA_BYTES)
        self._kept: deque[Event] = deque(maxlen=MAX_KEPT_EVENTS)
        self._sending = False
        self._sequence = 0

    # --- connection ---------------------------------------------------------------------------------------

    def connect(self) -> Client:
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
            raise _unreachable(self.path, error) from None
        self._socket = connecting
        self._decoder = Decoder(data_bytes=MAX_DATA_BYTES)
        self._kept.clear()
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
        answer = self._ask("hello", {"protocol": 1, "features": ["queued", "segments"]})
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

    def __enter__(self) -> Client:
        return self.connect()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    # --- questions ----------------------------------------------------------------------------------------

    def describe(self) -> JsonObject:
        """Wyoming's `info`: program, version, models and their languages."""
        return self._ask("describe", {}, answer="info")

    def status(self) -> JsonObject:
        """State, queue and counters of the daemon."""
        return self._ask("status", {})

    # --- clips --------------------------------------------------------------------------------------------

    def transcribe(
        self,
        pcm: Int16Samples,
        *,
        language: str | None = None,
        task: str | None = None,
        priority: str | None = None,
        on_queued: Callable[[int], None] | None = None,
    ) -> Transcript:
        """Send a clip and wait for its text.

        Args:
            pcm: int16[n] at 16 kHz mono.
            language: code, "auto", or None for the daemon's default.
            task: "transcribe" or "translate"; None is "transcribe".
            priority: "final" (None is the same), or "file", which waits behind all that are not.
            on_queued: called with the number of requests that are served before.

        Raises:
            ServerError: the daemon's answer is an error.
            Unreachable: there is no answer.
        """
        return self.result(self.submit(pcm, language=language, task=task, priority=priority), on_queued=on_queued)

    def submit(
        self,
        pcm: Int16Samples,
        *,
        language: str | None = None,
        task: str | None = None,
        priority: str | None = None,
    ) -> str:
        """Send a clip and do not wait; returns its request's id. Arguments and errors as `transcribe`."""
        if pcm.dtype.kind != "i" or pcm.dtype.itemsize != 2 or pcm.ndim != 1:
            raise ValueError(f"expected int16[n], got {pcm.dtype}{list(pcm.shape)}")
        self._sequence += 1
        request = f"c{self._sequence}"
        wish = {"id": request, "language": language, "task": task, "priority": priority}
        form = {"rate": SAMPLE_RATE, "width": 2, "channels": 1}
        self._send(Event("transcribe", {k: v for k, v in wish.items() if v is not None}))
        self._send(Event("audio-start", form))
        samples = pcm.astype("<i2", copy=False).tobytes()
        for start in range(0, len(samples), self._chunk_bytes):
            self._send(Event("audio-chunk", form, samples[start : start + self._chunk_bytes]))
        self._send(Event("audio-stop"))
        return request

    def result(self, request: str, *, on_queued: Callable[[int], None] | None = None) -> Transcript:
        """Wait for the text of a clip that was submitted. Errors as `transcribe`."""
        until = time.monotonic() + self._result_timeout
        while True:
            event = self._next(lambda e: e.data.get("id") == request or _ends_connection(e), until)
            if event.type == "transcript":
                return self._transcript(event.data)
            if event.type == "error":
                raise _server_error(event)
            if event.type == "queued" and on_queued is not None:
                on_queued(self._field(event.data, "position", int))

    def cancel(self, request: str | None = None, *, timeout: float | None = None) -> int:
        """Cancel a request, or all of this connection; returns how many were still to be answered.

        A cancelled request gets no answer any more: do not wait for its `result`. Where the sending of a clip
        was interrupted, the connection is closed instead, which cancels everything.
        """
        if self._sending:
            self.close()
            return 1
        data = {} if request is None else {"id": request}
        return self._field(self._ask("cancel", data, answer="cancelled", timeout=timeout), "count", int)

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
            raise _server_error(event)
        return event.data

    def _send(self, event: Event) -> None:
        sock = self._open_socket()
        sock.settimeout(self._timeout)
        self._sending = True
        try:
            sock.sendall(encode(event))
        except OSError as error:
            self._raise_last_words(error)
        self._sending = False

    def _raise_last_words(self, cause: OSError) -> NoReturn:
        """The daemon took no more: what it said before it closed tells why."""
        try:
            said = self._next(lambda event: event.type == "error", time.monotonic() + LAST_WORDS_SECONDS)
        except ConnectionLost:
            raise ConnectionLost(f"the connection to whisperd broke while sending: {cause}") from None
        finally:
            self.close()
        raise _server_error(said)

    def _next(self, wanted: Callable[[Event], bool], until: float) -> Event:
        """The next event that is wanted; the others are kept for who wants them."""
        for event in self._kept:
            if wanted(event):
                self._kept.remove(event)
                return event
        while True:
            event = self._receive(until)
            if wanted(event):
                return event
            self._kept.append(event)

    def _receive(self, until: float) -> Event:
        sock = self._open_socket()
        try:
            while (event := self._decoder.next_event()) is None:
                sock.settimeout(max(until - time.monotonic(), 0.001))
                received = sock.recv(RECEIVE_BYTES)
                if not received:
                    raise ConnectionLost("whisperd closed the connection before it answered")
                self._decoder.receive_data(received)
        except TimeoutError:
            self.close()
            raise ConnectionLost("whisperd does not answer in time; `journalctl -u whisperd` tells more") from None
        except OSError as error:
            self.close()
            raise ConnectionLost(f"the connection to whisperd broke: {error.strerror or error}") from None
        except WhisperdError as error:
            self.close()
            raise ConnectionLost(f"{self.path}: not what whisperd says: {error.text}") from None
        except ConnectionLost:
            self.close()
            raise
        return event

    def _transcript(self, data: JsonObject) -> Transcript:
        return Transcript(
            text=self._field(data, "text", str),
            language=None if data.get("language") is None else self._field(data, "language", str),
            audio_seconds=float(self._field(data, "audio_seconds", (int, float))),
            data=data,
        )

    def _field(self, data: JsonObject, name: str, kind: type[T] | tuple[type[T], ...]) -> T:
        """A field of an answer, which has to be there."""
        value = data.get(name)
        if not isinstance(value, kind):
            self.close()
            raise ConnectionLost(f"{self.path}: not what whisperd says: {name} is {reprlib.repr(value)}")
        return value

    def _open_socket(self) -> socket.socket:
        if self._socket is None:
            raise ConnectionLost("not connected to whisperd")
        return self._socket


# --- answers ----------------------------------------------------------------------------------------------


def _ends_connection(event: Event) -> bool:
    """An error that answers no request is about the connection."""
    return event.type == "error" and "id" not in event.data


def _server_error(event: Event) -> ServerError:
    data = event.data
    return ServerError(str(data.get("code", "internal")), str(data.get("text", "")), data.get("retry") is True)


def _unreachable(path: str, error: OSError) -> Unreachable:
    if error.errno == errno.EACCES:
        group = _group_of(path)
        return PermissionDenied(
            f"you may not open {path}: you are not in the group {group}. Join it with"
            f" `sudo usermod -aG {group} $USER`, then log in again"
        )
    if isinstance(error, TimeoutError) or error.errno == errno.EAGAIN:
        return ConnectionLost(f"whisperd does not accept connections on {path}; `systemctl status whisperd`")
    if error.errno in (errno.ENOENT, errno.ECONNREFUSED, errno.ENOTDIR):
        return DaemonNotRunning(
            f"whisperd is not running: nobody listens on {path}. Start it with `sudo systemctl start"
            " whisperd`, or from a clone with `scripts/run --serve`; --socket names another socket"
        )
    return Unreachable(f"cannot connect to {path}: {error.strerror or error}")


def _group_of(path: str) -> str:
    try:
        return grp.getgrgid(os.stat(path).st_gid).gr_name
    except (OSError, KeyError):
        return "whisper"
