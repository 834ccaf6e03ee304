"""The real server over an engine that hears what it is told to hear: quick, and without a model."""

from __future__ import annotations

import asyncio
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from whisperd.config import Limits
from whisperd.errors import UnknownLanguage, UnknownTask
from whisperd.scheduler import Scheduler
from whisperd.server import Server
from whisperd.speech.options import Options
from whisperd.speech.types import TASKS, Control, Int16Samples, ModelInfo, Segment, Timings, Transcription
from whisperd.wire import Decoder, Event, encode

WAIT_SECONDS = 30.0


@dataclass
class FakeEngine:
    """Answers with the number of samples, or with `text`. While `hold` is cleared it steps on and on."""

    text: str = ""
    info: ModelInfo = ModelInfo("fake", ("en", "de"), "en", ("en", "de"), True, "int8", "MIT", "somewhere")
    hold: threading.Event = field(default_factory=threading.Event)
    heard: list[tuple[Int16Samples, Options]] = field(default_factory=list)
    running: threading.Event = field(default_factory=threading.Event)
    voice: None = None  # utterances are found by their energy

    def __post_init__(self) -> None:
        self.hold.set()

    def check(self, options: Options) -> None:
        """As the real one."""
        if options.language not in (None, "auto", *self.info.languages):
            raise UnknownLanguage(f"no language {options.language!r}")
        if options.task not in TASKS:
            raise UnknownTask(f"no task {options.task!r}")

    def transcribe(self, pcm: Int16Samples, options: Options, control: Control) -> Transcription:
        """Remember, wait, answer."""
        self.heard.append((pcm.copy(), options))
        self.running.set()
        while not self.hold.wait(0.005):
            control.step()
        text = self.text or f"{len(pcm)} samples"
        seconds = len(pcm) / 16_000
        segments = (Segment(0.0, seconds, text, (1, 2), -0.1, 0.0),)
        return Transcription(text, options.language or "en", seconds, segments, Timings(1, 2, 3))


@contextmanager
def serve(path: Path, engine: FakeEngine, limits: Limits | None = None) -> Iterator[Server]:
    """Serve on a thread of its own until the block ends."""
    loop = asyncio.new_event_loop()
    scheduler = Scheduler(engine)
    scheduler.start()
    server = Server(scheduler, limits or Limits())
    listening = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    listening.bind(str(path))
    loop.run_until_complete(server.start([listening]))
    thread = threading.Thread(target=loop.run_forever)
    thread.start()
    try:
        yield server
    finally:
        engine.hold.set()
        asyncio.run_coroutine_threadsafe(server.stop(), loop).result(WAIT_SECONDS)
        loop.call_soon_threadsafe(loop.stop)
        thread.join(WAIT_SECONDS)
        assert not thread.is_alive()
        loop.run_until_complete(loop.shutdown_default_executor())
        loop.close()
        path.unlink()


@contextmanager
def peer(path: Path, says: bytes, *, then_close: bool = True) -> Iterator[bytearray]:
    """A peer that is no whisperd: takes one connection, says its piece after the first bytes, and closes or
    falls silent. Yields what it has been sent, when all is over."""
    listening = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    listening.bind(str(path))
    listening.listen(1)
    listening.settimeout(WAIT_SECONDS)
    received = bytearray()

    def play() -> None:
        connection, _ = listening.accept()
        listening.close()
        with connection:
            connection.settimeout(WAIT_SECONDS)
            received.extend(connection.recv(65536))
            connection.sendall(says)
            if not then_close:
                while data := connection.recv(65536):
                    received.extend(data)

    thread = threading.Thread(target=play)
    thread.start()
    try:
        yield received
    finally:
        thread.join(WAIT_SECONDS)


class Scripted:
    """A daemon that says what it is told to; what answers hello, status, cancel and begins speech, it knows.

    Attributes:
        heard: the events that came, of all connections, without audio.
        audio: the payloads of their audio.
        answers: what follows an event of some type, in place of what it answers by itself: (type, data) pairs, to
            which the id is added.
        flood: bytes that are written, and waited for to be taken, before the first chunk of audio is.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.heard: list[Event] = []
        self.audio = bytearray()
        self.answers: dict[str, list[tuple[str, dict[str, Any]]]] = {}
        self.flood = b""
        self._id = ""
        self._changed = threading.Condition()
        self._connection: socket.socket | None = None
        self._listening = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self._thread = threading.Thread(target=self._serve)

    def __enter__(self) -> Scripted:
        self._listening.bind(str(self.path))
        self._listening.listen(4)
        self._thread.start()
        return self

    def __exit__(self, *error: object) -> None:
        self.hang_up()
        self._listening.shutdown(socket.SHUT_RDWR)
        self._thread.join(WAIT_SECONDS)
        assert not self._thread.is_alive()
        self._listening.close()

    def say(self, kind: str, **data: Any) -> None:
        """An event of the live stream that began last."""
        with self._changed:
            assert self._connection is not None, "nobody is there"
            self._connection.sendall(encode(Event(kind, {"id": self._id, **data})))

    def hang_up(self) -> None:
        """End the connection."""
        with self._changed, suppress(OSError):
            if self._connection is not None:
                self._connection.shutdown(socket.SHUT_RDWR)

    def wait_for(self, kind: str, count: int = 1) -> Event:
        """Wait until so many events of a type have come; returns the last of them."""

        def come() -> bool:
            return len([event for event in self.heard if event.type == kind]) >= count

        with self._changed:
            assert self._changed.wait_for(come, WAIT_SECONDS), [event.type for event in self.heard]
        return [event for event in self.heard if event.type == kind][count - 1]

    def wait_for_audio(self, size: int) -> None:
        """Wait until so many bytes have come."""
        with self._changed:
            assert self._changed.wait_for(lambda: len(self.audio) >= size, WAIT_SECONDS), len(self.audio)

    def _serve(self) -> None:
        while True:
            try:
                connection, _ = self._listening.accept()
            except OSError:
                return
            connection.settimeout(WAIT_SECONDS)
            with self._changed:
                self._connection = connection
            with connection, suppress(ConnectionError):
                self._converse(connection)

    def _converse(self, connection: socket.socket) -> None:
        decoder = Decoder()
        while data := connection.recv(65536):
            decoder.receive_data(data)
            while (event := decoder.next_event()) is not None:
                if event.type == "audio-chunk" and self.flood:
                    flood, self.flood = self.flood, b""
                    connection.sendall(flood)
                with self._changed:
                    # The answer is out before anybody hears of the question: what a test says then comes after it.
                    for answer in self._answers(event):
                        connection.sendall(encode(answer))
                    if event.type == "audio-chunk":
                        self.audio += event.payload
                    else:
                        self.heard.append(event)
                    self._changed.notify_all()

    def _answers(self, event: Event) -> list[Event]:
        if event.type == "listen" or event.data.get("live"):
            self._id = str(event.data["id"])
        if event.type in self.answers:
            return [Event(kind, {"id": self._id, **data}) for kind, data in self.answers[event.type]]
        if event.type == "hello":
            return [Event("hello", {"protocol": 1, "limits": {"payload_bytes": 4096}})]
        if event.type == "status":
            return [Event("status", {"state": "idle"})]
        if event.type == "cancel":
            return [Event("cancelled", {**event.data, "count": 1})]
        if event.type in ("listen", "audio-start"):
            device = "mic" if event.type == "listen" else None
            return [Event("listening", {"id": self._id, "mode": "hands-free", "device": device})]
        return []


FINAL = {"language": "en", "utterance": 0, "start": 0.1, "end": 1.5, "audio_seconds": 1.4}
STOPPED = ("listen-stopped", {"utterances": 1})


def final(text: str, utterance: int = 0) -> tuple[str, dict[str, Any]]:
    """What `Scripted` says of a text."""
    return "transcript", {**FINAL, "text": text, "utterance": utterance}


def partial(stable: str, unstable: str, utterance: int = 0) -> tuple[str, dict[str, Any]]:
    """And of one that may change."""
    return "partial", {"utterance": utterance, "revision": 0, "stable": stable, "unstable": unstable}


def say(daemon: Scripted, event: tuple[str, dict[str, Any]]) -> None:
    """Say it."""
    daemon.say(event[0], **event[1])
