"""Live speech as a client sees it: a stream of typed events, whose audio the daemon hears or the client sends.

with client.listen() as live:       # the daemon's microphone
    for event in live:
        if isinstance(event, Final):
            print(event.text)
            live.stop()             # what is being said now is still told

with client.stream() as live:       # samples of our own
    live.send(samples)
    live.stop()
    texts = [event.text for event in live if isinstance(event, Final)]
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from types import NoneType, TracebackType
from typing import TYPE_CHECKING, Any, ClassVar

from whisperd.client_errors import ClientError, ConnectionLost, ends_connection, server_error
from whisperd.wire import Event, JsonObject

if TYPE_CHECKING:
    from whisperd.client import Client

MAX_PENDING_EVENTS = 1024
"""That have come and are not taken. Levels and partial texts beyond are left out, the oldest first."""

_NUMBER = (int, float)
_Kinds = Mapping[str, "type | tuple[type, ...]"]


@dataclass(frozen=True)
class LiveEvent:
    """What the daemon tells of a stream.

    Attributes:
        data: all of it, as docs/protocol.md describes it.
        type: its name there.
    """

    type: ClassVar[str] = ""
    kinds: ClassVar[_Kinds] = {}
    data: JsonObject = field(repr=False)


@dataclass(frozen=True)
class Listening(LiveEvent):
    """It has begun. `device` is None where the client sends the audio."""

    type: ClassVar[str] = "listening"
    kinds: ClassVar[_Kinds] = {"mode": str, "device": (str, NoneType)}
    mode: str
    device: str | None


@dataclass(frozen=True)
class VoiceStarted(LiveEvent):
    """Somebody speaks, since `timestamp` milliseconds after the stream began."""

    type: ClassVar[str] = "voice-started"
    kinds: ClassVar[_Kinds] = {"timestamp": int}
    timestamp: int


@dataclass(frozen=True)
class VoiceStopped(LiveEvent):
    """And speaks no more, since `timestamp` milliseconds after the stream began."""

    type: ClassVar[str] = "voice-stopped"
    kinds: ClassVar[_Kinds] = {"timestamp": int}
    timestamp: int


@dataclass(frozen=True)
class Partial(LiveEvent):
    """The text of an utterance so far: `stable` only grows, `unstable` may change."""

    type: ClassVar[str] = "partial"
    kinds: ClassVar[_Kinds] = {"utterance": int, "revision": int, "stable": str, "unstable": str}
    utterance: int
    revision: int
    stable: str
    unstable: str

    @property
    def text(self) -> str:
        """All of it."""
        return self.stable + self.unstable


@dataclass(frozen=True)
class Final(LiveEvent):
    """The text of an utterance. `start` and `end` are seconds of the stream."""

    type: ClassVar[str] = "transcript"
    kinds: ClassVar[_Kinds] = {
        "utterance": int,
        "text": str,
        "language": (str, NoneType),
        "start": _NUMBER,
        "end": _NUMBER,
        "audio_seconds": _NUMBER,
    }
    utterance: int
    text: str
    language: str | None
    start: float
    end: float
    audio_seconds: float


@dataclass(frozen=True)
class NoSpeech(LiveEvent):
    """There was a sound and no words: "no-voice", "silence" or "doubtful"."""

    type: ClassVar[str] = "no-speech"
    kinds: ClassVar[_Kinds] = {"utterance": int, "reason": str, "audio_seconds": _NUMBER}
    utterance: int
    reason: str
    audio_seconds: float


@dataclass(frozen=True)
class Level(LiveEvent):
    """How loud it is, in dBFS from -96 to 0."""

    type: ClassVar[str] = "level"
    kinds: ClassVar[_Kinds] = {"rms": _NUMBER, "peak": _NUMBER}
    rms: float
    peak: float


@dataclass(frozen=True)
class Overrun(LiveEvent):
    """Audio was lost."""

    type: ClassVar[str] = "overrun"
    kinds: ClassVar[_Kinds] = {"samples": int, "seconds": _NUMBER}
    samples: int
    seconds: float


@dataclass(frozen=True)
class MicLost(LiveEvent):
    """The microphone has vanished; the daemon looks for it every `retry_seconds`."""

    type: ClassVar[str] = "mic-lost"
    kinds: ClassVar[_Kinds] = {"text": str, "retry_seconds": _NUMBER}
    text: str
    retry_seconds: float


@dataclass(frozen=True)
class MicRestored(LiveEvent):
    """It is back."""

    type: ClassVar[str] = "mic-restored"


@dataclass(frozen=True)
class Failed(LiveEvent):
    """An utterance has no text because of an error; the stream goes on. `code` as of `ServerError`."""

    type: ClassVar[str] = "error"
    kinds: ClassVar[_Kinds] = {"code": str, "text": str, "retry": bool}
    code: str
    text: str
    retry: bool


@dataclass(frozen=True)
class Stopped(LiveEvent):
    """Nothing more comes."""

    type: ClassVar[str] = "listen-stopped"
    kinds: ClassVar[_Kinds] = {"utterances": int}
    utterances: int


_EVENTS: Mapping[str, type[LiveEvent]] = {
    kind.type: kind
    for kind in (
        *(Listening, VoiceStarted, VoiceStopped, Partial, Final, NoSpeech),
        *(Level, Overrun, MicLost, MicRestored, Failed, Stopped),
    )
}


class Live:
    """One live stream. Iterating gives its events to the end, `poll` the next one if there is one.

    Leaving its `with` block before it is over cancels it. As long as nothing comes, the daemon is asked now and
    then whether it is still there.

    Attributes:
        id: its request's.
        over: whether nothing more comes.

    Args:
        form: of the samples that are sent: rate, width, channels; None if the daemon listens to its microphone.
    """

    def __init__(self, client: Client, request: str, form: JsonObject | None) -> None:
        self.id = request
        self.over = False
        self._client = client
        self._form = form
        self._pending: deque[Event] = deque()
        self._heard = time.monotonic()  # when the daemon last gave a sign of life
        self._until: float | None = None  # when it has to be over, once it is stopped

    def begin(self) -> None:
        """Wait for `listening`, which stays the first event; raises what the daemon says in its place."""
        event = self._client._next(self._ours, time.monotonic() + self._client._timeout)
        if event.type == "error":
            self._end()
            raise server_error(event)
        self.arrived(event)

    # --- what is asked for --------------------------------------------------------------------------------

    def send(self, samples: bytes) -> None:
        """Send audio in the stream's format, in whole frames. Events that come meanwhile are kept.

        Raises:
            ValueError: no whole number of frames, it is the daemon's microphone that is heard, or it was stopped.
            ServerError, Unreachable: as `poll`.
        """
        if self._form is None or self._until is not None:
            raise ValueError("this stream takes no samples" + (" any more" if self._form else ""))
        frame = self._form["width"] * self._form["channels"]
        if len(samples) % frame:
            raise ValueError(f"{len(samples)} bytes are no whole number of frames of {frame} bytes")
        if self.over:
            return
        step = max(self._client._chunk_bytes // frame, 1) * frame
        for start in range(0, len(samples), step):
            self._client._send(Event("audio-chunk", self._form, samples[start : start + step]))

    def stop(self) -> None:
        """Listen no more. What is being said is still told, then comes `Stopped`."""
        if self.over or self._until is not None:
            return
        self._until = time.monotonic() + self._client._result_timeout
        self._client._send(Event("listen-stop", {"id": self.id}) if self._form is None else Event("audio-stop"))

    def cancel(self) -> None:
        """End at once; nothing more is told. The client can listen anew."""
        if not self.over:
            self._client.cancel(self.id)

    # --- what comes ---------------------------------------------------------------------------------------

    def __iter__(self) -> Iterator[LiveEvent]:
        while (event := self._next(None)) is not None:
            yield event

    def poll(self, timeout: float = 0.0) -> LiveEvent | None:
        """The next event, if one comes within so many seconds; None also when all is over.

        Raises:
            ServerError: the stream has ended with an error.
            Unreachable: the daemon is gone or gives no sign of life.
        """
        return self._next(time.monotonic() + timeout)

    def fileno(self) -> int:
        """To wait at with others, after `poll` has returned None."""
        return self._client._open_socket().fileno()

    def arrived(self, event: Event) -> None:
        """Take an event of this stream that came while something else was waited for."""
        if len(self._pending) >= MAX_PENDING_EVENTS:
            spare = next((kept for kept in self._pending if kept.type in ("level", "partial")), None)
            if spare is None:
                self._client.close()
                raise ClientError(f"{len(self._pending)} events of live speech have come and were not taken")
            self._pending.remove(spare)
        self._pending.append(event)

    def cancelled(self) -> None:
        """It was cancelled: what has come is wanted no more."""
        self._pending.clear()
        self._end()

    def _next(self, until: float | None) -> LiveEvent | None:
        client = self._client
        while True:
            event = self._take()
            while event is None and not self.over:
                now = time.monotonic()
                ask_at = self._heard + client._timeout
                wait = min(ask_at if until is None else min(ask_at, until), self._until or ask_at)
                event = client._next_until(self._ours, wait)
                if event is None:
                    self._check(now)
                    event = self._take()
                if event is None and until is not None and time.monotonic() >= until:
                    return None
            if event is None:
                return None
            self._heard = time.monotonic()
            told = self._read(event)
            if told is not None:  # a newer daemon may tell more
                return told

    def _take(self) -> Event | None:
        return self._pending.popleft() if self._pending else None

    def _check(self, now: float) -> None:
        """Nothing came: is the daemon there, and is it still time?"""
        if self._until is not None and now >= self._until:
            self._client.close()
            raise ConnectionLost("whisperd does not finish what it has heard; `journalctl -u whisperd` tells more")
        if now >= self._heard + self._client._timeout:
            self._client.status()
            self._heard = time.monotonic()

    def _ours(self, event: Event) -> bool:
        return event.data.get("id") == self.id or ends_connection(event)

    def _read(self, event: Event) -> LiveEvent | None:
        if event.type == "error" and (ends_connection(event) or "utterance" not in event.data):
            self._end()
            raise server_error(event)
        kind = _EVENTS.get(event.type)
        if kind is None:
            return None
        values: dict[str, Any] = {name: self._client._field(event.data, name, t) for name, t in kind.kinds.items()}
        if kind is Stopped:
            self._end()
        return kind(data=event.data, **values)

    def _end(self) -> None:
        self.over = True
        self._client._takers.pop(self.id, None)

    # --- context ------------------------------------------------------------------------------------------

    def __enter__(self) -> Live:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if kind is not None and not issubclass(kind, Exception):
            self._client.close()  # cancels as well, and Ctrl-C does not wait for an answer
        elif self._client.connected:
            with suppress(ClientError):  # so does a lost connection
                self.cancel()
