"""The real HTTP server over an engine that hears what it is told to hear, on a Unix socket or on the loopback."""

from __future__ import annotations

import asyncio
import io
import socket
import threading
import wave
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import numpy as np
from fake_daemon import WAIT_SECONDS, FakeEngine
from whisperd.config import HttpConfig, Limits
from whisperd.http.server import HttpServer
from whisperd.scheduler import Scheduler
from whisperd.server import Server
from whisperd.speech.options import Options
from whisperd.speech.types import Control, Int16Samples, Segment, Timings, Transcription, Word


@dataclass
class TalkingEngine(FakeEngine):
    """Answers with two segments of one word each second, and with its text's words where they were asked for."""

    text: str = "Hello there. General Kenobi."

    def transcribe(self, pcm: Int16Samples, options: Options, control: Control) -> Transcription:
        """Remember, wait, answer."""
        super().transcribe(pcm, options, control)
        seconds = len(pcm) / 16_000
        if not self.text:
            return Transcription("", options.language or "en", seconds, (), Timings(1, 2, 3), no_speech="no-voice")
        words = self.text.split()
        step = seconds / len(words)
        made = [Word(i * step, (i + 1) * step, f" {word}", (i,), 0.9, 0.8) for i, word in enumerate(words)]
        half = (len(words) + 1) // 2
        segments = tuple(
            Segment(
                part[0].start_s,
                part[-1].end_s,
                "".join(word.text for word in part),
                tuple(word.tokens[0] for word in part),
                -0.1,
                0.0,
                words=tuple(part) if options.word_timestamps else (),
            )
            for part in (made[:half], made[half:])
            if part
        )
        return Transcription(
            self.text,
            options.language or "en",
            seconds,
            segments,
            Timings(1, 2, 3),
            confidence=0.8,
            languages=(("en", 0.75), ("de", 0.25)) if options.language == "auto" else (),
        )


@dataclass
class Running:
    """A server that runs.

    Attributes:
        url: over the loopback, if it listens there.
    """

    path: Path
    engine: FakeEngine
    server: Server
    http: HttpServer
    url: str = ""

    def client(self, **options: Any) -> httpx.Client:
        """A client over the Unix socket."""
        transport = httpx.HTTPTransport(uds=str(self.path))
        return httpx.Client(transport=transport, base_url="http://localhost", timeout=WAIT_SECONDS, **options)

    def connect(self) -> socket.socket:
        """A bare connection."""
        connection = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        connection.settimeout(WAIT_SECONDS)
        connection.connect(str(self.path))
        return connection


@contextmanager
def serve(
    path: Path,
    engine: FakeEngine | None = None,
    limits: Limits | None = None,
    settings: HttpConfig | None = None,
    *,
    tcp: bool = False,
    token: str | None = None,
    let_go: bool = True,
) -> Iterator[Running]:
    """Serve on a thread of its own until the block ends; then the engine is let go, if it is held."""
    engine = engine or TalkingEngine()
    loop = asyncio.new_event_loop()
    limits = limits or Limits()
    scheduler = Scheduler(engine, max_queue=limits.max_queue)
    scheduler.start()
    server = Server(scheduler, limits)
    unix = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    unix.bind(str(path))
    listening = [socket.create_server(("127.0.0.1", 0))] if tcp else []
    url = "http://{}:{}".format(*listening[0].getsockname()) if tcp else ""

    async def start() -> HttpServer:
        http = HttpServer(server, settings or HttpConfig(), token=token)
        await http.start([unix], listening)
        return http

    http = loop.run_until_complete(start())
    thread = threading.Thread(target=loop.run_forever)
    thread.start()
    try:
        yield Running(path, engine, server, http, url)
    finally:
        if let_go:
            engine.hold.set()
        asyncio.run_coroutine_threadsafe(server.stop(), loop).result(WAIT_SECONDS)
        asyncio.run_coroutine_threadsafe(http.close(), loop).result(WAIT_SECONDS)
        asyncio.run_coroutine_threadsafe(_last_tasks(), loop).result(WAIT_SECONDS)
        loop.call_soon_threadsafe(loop.stop)
        thread.join(WAIT_SECONDS)
        assert not thread.is_alive()
        loop.run_until_complete(loop.shutdown_default_executor())
        loop.close()
        path.unlink()


async def _last_tasks() -> None:
    """Let what was cancelled end, so that nothing of it is left when the loop is closed."""
    others = asyncio.all_tasks() - {asyncio.current_task()}
    if others:
        await asyncio.wait(others, timeout=1.0)


def wav(seconds: float = 1.0, rate: int = 16_000, channels: int = 1, amplitude: int = 8000) -> bytes:
    """A WAV file with a tone."""
    times = np.arange(round(seconds * rate)) / rate
    tone = (np.sin(2 * np.pi * 440 * times) * amplitude).astype("<i2")
    file = io.BytesIO()
    with wave.open(file, "wb") as out:
        out.setnchannels(channels)
        out.setsampwidth(2)
        out.setframerate(rate)
        out.writeframes(np.repeat(tone, channels).tobytes())
    return file.getvalue()
