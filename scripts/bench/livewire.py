"""A daemon to measure, and a connection to it on which every event has the time at which it came."""

from __future__ import annotations

import argparse
import importlib.util
import shutil
import socket
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any

from whisperd.audio.pcm import SAMPLE_RATE, Int16Samples
from whisperd.wire import Decoder, Event, encode

from .contenders import cpu_seconds, memory_mb

FORM = {"rate": SAMPLE_RATE, "width": 2, "channels": 1}
BLOCK = SAMPLE_RATE // 50
"""20 ms of samples: what a microphone gives at once."""

CHUNK = SAMPLE_RATE
"""Samples to one event of a clip that is sent as fast as possible."""

ANSWER_SECONDS = 60.0
"""Wait for anything at all."""


class BenchError(Exception):
    """The daemon did not do what the benchmark needs."""


@contextmanager
def reasons(program: str) -> Iterator[None]:
    """End the program with a sentence where something goes wrong, as DaemonProcess and AlsaMicrophone give it."""
    try:
        yield
    except (BenchError, AssertionError, OSError) as error:
        raise SystemExit(f"{program}: {error}") from error


@dataclass(frozen=True)
class Came:
    """An event, and when it came on the monotonic clock."""

    at: float
    kind: str
    data: Mapping[str, Any]


class Line:
    """One connection after `hello`. A thread reads, so that times are right while the caller plays audio."""

    def __init__(self, path: Path) -> None:
        self._events: list[Came] = []
        self._news = threading.Condition()
        self._closed = False
        self._socket = socket.socket(socket.AF_UNIX)
        self._socket.connect(str(path))
        self._reader = threading.Thread(target=self._read, name="events", daemon=True)
        self._reader.start()
        self.send("hello", {"protocol": 1})
        self.wait(lambda came: came.kind == "hello")

    def send(self, kind: str, data: Mapping[str, Any] | None = None, payload: bytes = b"") -> None:
        """Write one event."""
        self._socket.sendall(encode(Event(kind, dict(data or {}), payload)))

    @property
    def count(self) -> int:
        """How many events have come."""
        return len(self._events)

    def since(self, begin: int) -> list[Came]:
        """The events from number `begin` on."""
        return self._events[begin:]

    def wait(self, wanted: Callable[[Came], bool], begin: int = 0, seconds: float = ANSWER_SECONDS) -> Came:
        """The first event that is wanted, of those from number `begin` on.

        Raises:
            BenchError: it does not come in time, or an `error` comes, or the connection ends.
        """
        until = time.monotonic() + seconds
        with self._news:
            while True:
                for came in self._events[begin:]:
                    if wanted(came):
                        return came
                    if came.kind == "error":
                        raise BenchError(f"the daemon says {came.data.get('code')}: {came.data.get('text')}")
                begin = len(self._events)
                if self._closed:
                    raise BenchError("the daemon closed the connection")
                if not self._news.wait(max(0.0, until - time.monotonic())) and time.monotonic() >= until:
                    raise BenchError(f"the daemon did not answer within {seconds:g} s")

    def clip(self, pcm: Int16Samples, name: str) -> str:
        """Text of a clip that is sent at once; "" for no speech."""
        begin = self.count
        self.send("transcribe", {"id": name})
        self.send("audio-start", FORM)
        for at in range(0, len(pcm), CHUNK):
            self.send("audio-chunk", FORM, pcm[at : at + CHUNK].tobytes())
        self.send("audio-stop")
        answers = ("transcript", "no-speech")
        answer = self.wait(lambda came: came.kind in answers and came.data.get("id") == name, begin)
        return str(answer.data.get("text", ""))

    def close(self) -> None:
        """End the connection."""
        self._socket.shutdown(socket.SHUT_RDWR)
        self._reader.join(ANSWER_SECONDS)
        self._socket.close()

    def _read(self) -> None:
        decoder = Decoder(data_bytes=1 << 20)
        try:
            while received := self._socket.recv(1 << 16):
                at = time.monotonic()
                decoder.receive_data(received)
                fresh = []
                while (event := decoder.next_event()) is not None:
                    fresh.append(Came(at, event.type, event.data))
                with self._news:
                    self._events += fresh
                    self._news.notify_all()
        except OSError:
            pass  # said by `wait`
        finally:
            with self._news:
                self._closed = True
                self._news.notify_all()

    def __enter__(self) -> Line:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def need_microphone() -> None:
    """Find out early that there can be no microphone.

    Raises:
        BenchError: what is not installed.
    """
    headers = Path("/usr/include/alsa/asoundlib.h").is_file() and Path("/usr/share/alsa/alsa.conf").is_file()
    if importlib.util.find_spec("alsaaudio") is None or shutil.which("gcc") is None or not headers:
        packages = "gcc libc6-dev libasound2-dev libasound2-data python3-dev"
        raise BenchError(f"a microphone takes ALSA and a compiler: apt install {packages}, and run this again")


def new_file(text: str) -> Path:
    """A file to be written at the end, as an argument: checked before the long run, not after it."""
    path = Path(text)
    if path.is_dir() or not path.absolute().parent.is_dir():
        raise argparse.ArgumentTypeError(f"{text}: not a file in a folder that is there")
    return path


def positive(text: str) -> float:
    """A number over 0, as an argument."""
    number = float(text)
    if not 0 < number < 1e6:
        raise argparse.ArgumentTypeError(f"must be over 0, not {text}")
    return number


@dataclass(frozen=True)
class Process:
    """What a process takes at a moment.

    Attributes:
        cpu_s: seconds of all its threads since it began.
        rss_mb, peak_mb: resident memory now and at most, in 2^20 bytes.
    """

    at: float
    cpu_s: float
    rss_mb: float
    peak_mb: float
    threads: int
    descriptors: int


def look_at(pid: int) -> Process:
    """What a process takes now."""
    folder = Path(f"/proc/{pid}")
    rss, peak = memory_mb(pid)
    threads = len(list((folder / "task").iterdir()))
    return Process(time.monotonic(), cpu_seconds(pid), rss, peak, threads, len(list((folder / "fd").iterdir())))
