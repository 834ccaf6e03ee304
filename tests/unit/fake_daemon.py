"""The real server over an engine that hears what it is told to hear: quick, and without a model."""

from __future__ import annotations

import asyncio
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from whisperd.config import Limits
from whisperd.errors import UnknownLanguage, UnknownTask
from whisperd.scheduler import Scheduler
from whisperd.server import Server
from whisperd.speech.types import TASKS, Control, Int16Samples, ModelInfo, Options, Segment, Timings, Transcription

WAIT_SECONDS = 30.0


@dataclass
class FakeEngine:
    """Answers with the number of samples, or with `text`. While `hold` is cleared it steps on and on."""

    text: str = ""
    info: ModelInfo = ModelInfo("fake", ("en", "de"), "en", ("en", "de"), True, "int8", "MIT", "somewhere")
    hold: threading.Event = field(default_factory=threading.Event)
    heard: list[tuple[Int16Samples, Options]] = field(default_factory=list)
    running: threading.Event = field(default_factory=threading.Event)

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
