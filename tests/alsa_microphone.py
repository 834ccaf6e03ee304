"""Microphones without a sound card: real alsa-lib, fed in real time through a FIFO.

    with AlsaMicrophone(folder) as microphone:                  # plugged in, silent
        environment = {**os.environ, **microphone.environment}  # for a daemon: has WHISPERD_MICROPHONE_DEVICE too
        microphone.play(pcm)                                    # int16 at 16 kHz mono; returns when it is played
        microphone.unplug()
        microphone.plug()

Two kinds. `FILE` is alsa-lib's own `file` plugin over `null` and needs no compiler. It has a clock only through
the FIFO, cannot be polled, and when its writer goes it gives, as fast as it is read, what was in memory: up to a
second of noise before the capture finds out. Its reads must be of the writer's blocks, 50 ms: pyalsaaudio 0.10 and
newer. `CARD` is a plugin of these tests, tests/alsa/device.c: it can be polled, overruns, vanishes and is picky as
a sound card, and gives nothing but what was played into it.
"""

from __future__ import annotations

import fcntl
import functools
import importlib.util
import os
import shutil
import subprocess
import tempfile
import threading
import time
from collections import deque
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType
from typing import Any

import rootfs

BLOCK_SECONDS = 0.05
LATE_SECONDS = 0.1
"""A writer that is later than this begins a new schedule: it does not catch up faster than time passes."""

ALSA_CONFIG = Path("/usr/share/alsa/alsa.conf")
DEVICE_SOURCE = Path(__file__).with_name("alsa") / "device.c"
WIDTHS = {"S16_LE": 2, "S24_3LE": 3, "S24_LE": 4, "S32_LE": 4}

FILE, CARD = "file", "card"

PAGE = 4096
LARGE_PIPE = 1 << 20
"""The most that Linux lets a user without rights have."""


def require(folder: str = "tests/alsa", kind: str = FILE) -> None:
    """Skip loudly where ALSA, pyalsaaudio or, for CARD, a compiler is missing. .ci/run installs them."""
    if importlib.util.find_spec("alsaaudio") is None:
        rootfs.skip(folder, "pyalsaaudio is not installed; .ci/run names the packages that building it takes")
    if not ALSA_CONFIG.is_file():
        rootfs.skip(folder, f"no {ALSA_CONFIG}: install libasound2-data")
    if kind == CARD and not (shutil.which("gcc") and Path("/usr/include/alsa/asoundlib.h").is_file()):
        rootfs.skip(folder, "no gcc or no libasound2-dev, for the sound card of the tests")


@functools.cache
def card_plugin() -> Path:
    """The compiled tests/alsa/device.c."""
    made = Path(tempfile.mkdtemp(prefix="whisperd-alsa-")) / "whispercard.so"
    command = ["gcc", "-Wall", "-Wextra", "-Werror", "-O1", "-shared", "-fPIC", "-DPIC", "-o", str(made)]
    subprocess.run([*command, str(DEVICE_SOURCE), "-lasound"], check=True)
    return made


class AlsaMicrophone:
    """One microphone and, while it is plugged in, the thread that speaks into it.

    Attributes:
        device: ALSA's name of it.
        environment: what a process needs to see it.
        fifo: where the samples go in.
        written: blocks of `BLOCK_SECONDS` that went in, silence too; without those of `burst`.

    Args:
        folder: for its configuration and FIFO.
        kind: FILE or CARD.
        rates: that a CARD has; a FILE is opened with any, and is fed at the first.
        channels, form: of a CARD; a FILE takes what it is opened with, and is fed so.
    """

    def __init__(
        self,
        folder: Path,
        kind: str = FILE,
        *,
        rates: Sequence[int] = (16_000,),
        channels: int = 1,
        form: str = "S16_LE",
    ) -> None:
        self.kind = kind
        self.device = "mic"
        self.fifo = folder / "microphone.fifo"
        self.written = 0
        self._block = round(rates[0] * BLOCK_SECONDS) * channels * WIDTHS[form]
        config = folder / "alsa.conf"
        config.write_text(ALSA_CONFIG.read_text() + self._definitions(rates, channels, form))
        self.environment = {"ALSA_CONFIG_PATH": str(config), "WHISPERD_MICROPHONE_DEVICE": self.device}
        self._queue: deque[bytes] = deque()
        self._played = threading.Condition()
        self._stop = threading.Event()
        self._silent = True
        self._writer: threading.Thread | None = None
        self._error: BaseException | None = None

    def _definitions(self, rates: Sequence[int], channels: int, form: str) -> str:
        if self.kind == CARD:
            listed = " ".join(f"{i} {rate}" for i, rate in enumerate(rates))
            return (
                f'\npcm_type.whispercard {{ lib "{card_plugin()}" }}\n'
                f'pcm.mic {{ type whispercard path "{self.fifo}" format "{form}" channels {channels}'
                f" rates {{ {listed} }} }}\n"
            )
        return (
            "\npcm.nullp { type null }\n"
            f'pcm.wavmic {{ type file slave.pcm "nullp" file "/dev/null" infile "{self.fifo}" format "raw" }}\n'
            'pcm.mic { type plug slave.pcm "wavmic" }\n'
        )

    def plug(self) -> None:
        """Plug in: silence, in real time."""
        assert self._writer is None, "plugged in already"
        # Made whole elsewhere, since whoever opens a FIFO without a writer waits, in alsa-lib with Python's lock.
        made = self.fifo.with_suffix(".new")
        os.mkfifo(made)
        descriptor = os.open(made, os.O_RDWR | os.O_NONBLOCK)
        # Small for FILE, so that little is old when somebody begins to listen; a CARD overruns by itself.
        fcntl.fcntl(descriptor, 1031, PAGE if self.kind == FILE else LARGE_PIPE)  # F_SETPIPE_SZ, Linux
        os.rename(made, self.fifo)
        self._stop.clear()
        self._writer = threading.Thread(target=self._write, args=(descriptor,), name="speaker", daemon=True)
        self._writer.start()

    def unplug(self) -> None:
        """Pull the plug: the FIFO has no writer and no name any more. What was not played is dropped."""
        if self._writer is not None:
            self.fifo.unlink()
            self._stop.set()
            self._writer.join(10)
            assert not self._writer.is_alive()
            self._writer = None
        self._queue.clear()

    def play(self, pcm: bytes, timeout: float = 120.0) -> None:
        """Play samples as the device has them, at their pace, after what is being played; wait for the end.

        The last block is filled up with silence.
        """
        pcm += bytes(-len(pcm) % self._block)
        with self._played:
            self._queue.extend(pcm[i : i + self._block] for i in range(0, len(pcm), self._block))
            finished = self._played.wait_for(lambda: not self._queue or self._error is not None, timeout)
        if self._error is not None:
            raise AssertionError("the writer failed") from self._error
        assert finished, f"not played in {timeout} s: nobody listens"

    def hush(self, silent: bool) -> None:
        """Say nothing at all (False), not even silence, or silence (True) while nothing is played."""
        self._silent = silent

    def burst(self, pcm: bytes) -> None:
        """Put samples in at once, as they gather while nobody reads."""
        descriptor = os.open(self.fifo, os.O_WRONLY)
        try:
            assert os.write(descriptor, pcm) == len(pcm)
        finally:
            os.close(descriptor)

    def _write(self, descriptor: int) -> None:
        silence = bytes(self._block)
        due = time.monotonic()
        try:
            while not self._stop.is_set():
                block = self._queue[0] if self._queue else silence if self._silent else b""
                # A whole block or nothing: up to a page is written so.
                try:
                    if block:
                        os.write(descriptor, block)
                        self.written += 1
                except BlockingIOError:
                    if block is silence:  # nobody hears it
                        block = b""
                else:
                    with self._played:
                        if self._queue and block is self._queue[0]:
                            self._queue.popleft()
                            self._played.notify_all()
                due += BLOCK_SECONDS
                now = time.monotonic()
                if now - due > LATE_SECONDS:
                    due = now
                self._stop.wait(max(0.0, due - now))
        except BaseException as error:  # told by `play`
            self._error = error
        finally:
            os.close(descriptor)
            with self._played:
                self._played.notify_all()

    def __enter__(self) -> AlsaMicrophone:
        self.plug()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.unplug()


class Heard:
    """A listener that keeps everything, with what was lost before each block."""

    def __init__(self) -> None:
        self.blocks: list[Any] = []
        self.lost: list[int] = []
        self.events: list[tuple[str, ...]] = []

    def heard(self, pcm: Any, lost: int) -> None:
        self.blocks.append(pcm)
        self.lost.append(lost)

    def microphone_lost(self, text: str, retry_seconds: float) -> None:
        self.events.append(("lost", text, str(retry_seconds)))

    def microphone_restored(self) -> None:
        self.events.append(("restored",))

    @property
    def pcm(self) -> bytes:
        """Everything heard, as bytes."""
        return b"".join(block.tobytes() for block in self.blocks)
