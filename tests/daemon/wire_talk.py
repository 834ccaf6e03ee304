"""A client that only has the wire: events in, events out, each with a bounded wait."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Callable
from types import TracebackType
from typing import Any

import numpy as np
from daemon_process import DaemonProcess
from whisperd.wire import Decoder, Event, encode

FORM = {"rate": 16_000, "width": 2, "channels": 1}
CHUNK = 320  # samples: 20 ms
WAIT = 60.0

Told = tuple[str, dict[str, Any]]


class WireTalk:
    """A connection, and a thread that reads it.

    Attributes:
        told: (event type, data) of all events so far, in order.
    """

    def __init__(self, daemon: DaemonProcess, *, hello: bool = True) -> None:
        self.told: list[Told] = []
        self._asked = 0
        self._news = threading.Condition()
        self._socket = daemon.connect()
        self._socket.settimeout(None)
        self._thread = threading.Thread(target=self._read, daemon=True)
        self._thread.start()
        if hello:
            self.send("hello", protocol=1)
            self.wait("hello")

    def send(self, event_type: str, payload: bytes = b"", **data: Any) -> None:
        """Send an event."""
        self._socket.sendall(encode(Event(event_type, data, payload)))

    def speak(self, pcm: np.ndarray) -> None:
        """Send int16 samples at 16 kHz as chunks, at the pace of speech."""
        due = time.monotonic()
        for start in range(0, len(pcm), CHUNK):
            chunk = pcm[start : start + CHUNK]
            self.send("audio-chunk", chunk.tobytes(), **FORM)
            due += len(chunk) / 16_000
            time.sleep(max(0.0, due - time.monotonic()))

    def ask(self, pcm: np.ndarray, seconds: float = WAIT, **chosen: Any) -> Told:
        """Send a clip, int16 at 16 kHz, with what is chosen for it; its answer, within some seconds."""
        self._asked += 1
        request = f"clip{self._asked}"
        self.send("transcribe", id=request, **chosen)
        self.send("audio-start", **FORM)
        samples = pcm.tobytes()
        for start in range(0, len(samples), 32_000):
            self.send("audio-chunk", samples[start : start + 32_000], **FORM)
        self.send("audio-stop")
        answers = ("transcript", "no-speech", "error")
        return self.wait(*answers, when=lambda data: data.get("id") == request, seconds=seconds)

    def wait(
        self,
        *kinds: str,
        count: int = 1,
        when: Callable[[dict[str, Any]], bool] = lambda data: True,
        seconds: float = WAIT,
    ) -> Told:
        """The `count`-th event of one of these kinds, from the beginning of the connection."""

        def found() -> list[Told]:
            return [told for told in self.told if told[0] in kinds and when(told[1])]

        with self._news:
            assert self._news.wait_for(lambda: len(found()) >= count, seconds), f"no {kinds}; told: {self.kinds()}"
            return found()[count - 1]

    def of(self, *kinds: str) -> list[dict[str, Any]]:
        """Data of all events of these kinds so far."""
        return [data for kind, data in self.told if kind in kinds]

    def kinds(self, *ignored: str) -> list[str]:
        """Types of the events so far; repetitions in a row are told once."""
        kinds = [kind for kind, _ in self.told if kind not in ignored]
        return [kind for at, kind in enumerate(kinds) if at == 0 or kinds[at - 1] != kind]

    def _read(self) -> None:
        decoder = Decoder(data_bytes=4 << 20)
        while True:
            try:
                data = self._socket.recv(65536)
            except OSError:
                return
            if not data:
                return
            decoder.receive_data(data)
            while (event := decoder.next_event()) is not None:
                with self._news:
                    self.told.append((event.type, event.data))
                    self._news.notify_all()

    def __enter__(self) -> WireTalk:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._socket.shutdown(socket.SHUT_RDWR)
        self._socket.close()
        self._thread.join(WAIT)
