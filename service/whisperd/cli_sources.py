"""Audio that `whisperctl listen` sends itself: a file at its real speed, or a sound card of this machine."""

from __future__ import annotations

import os
import threading
import time
from collections import deque
from collections.abc import Callable
from contextlib import suppress
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from whisperd.audio.capture import Capture
    from whisperd.audio.pcm import Int16Samples

SAMPLE_RATE = 16_000
BLOCK_SECONDS = 0.05
QUEUE_SECONDS = 60.0
"""Of audio that was heard and not sent: as much as the daemon keeps itself."""

CLOSE_SECONDS = 2.0


class Source(Protocol):
    """Where samples come from: bytes of int16 at 16 kHz mono."""

    def start(self) -> None:
        """Begin now: what was there before is not wanted."""

    def wait(self) -> float | None:
        """Seconds until there are samples; None if `fileno` tells."""

    def fileno(self) -> int | None:
        """Readable when there are samples; None if `wait` tells."""

    def read(self) -> bytes | None:
        """The samples that are there, perhaps none; None at the end.

        Raises:
            NoMicrophone: it has vanished.
        """

    def close(self) -> None:
        """No more are wanted."""


class FileSource:
    """Samples at the pace at which they were spoken.

    Args:
        pcm: int16[n] at 16 kHz mono.
        clock: seconds, monotonic.
    """

    def __init__(self, pcm: Int16Samples, clock: Callable[[], float] = time.monotonic) -> None:
        self._samples = pcm.astype("<i2", copy=False).tobytes()
        self._clock = clock
        self._begun = clock()
        self._sent = 0

    def start(self) -> None:
        """From its beginning, now."""
        self._begun = self._clock()
        self._sent = 0

    def wait(self) -> float | None:
        """Until the next block has been spoken."""
        end = min(self._sent + self._bytes(BLOCK_SECONDS), len(self._samples))
        return max(0.0, end / self._bytes(1.0) - (self._clock() - self._begun))

    def fileno(self) -> int | None:
        """None: a clock tells."""
        return None

    def read(self) -> bytes | None:
        """What has been spoken since the last time."""
        if self._sent >= len(self._samples):
            return None
        spoken = min(self._bytes(self._clock() - self._begun), len(self._samples))
        samples = self._samples[self._sent : spoken]
        self._sent = max(self._sent, spoken)
        return samples

    def close(self) -> None:
        """Nothing to close."""

    @staticmethod
    def _bytes(seconds: float) -> int:
        return round(seconds * SAMPLE_RATE) * 2


class DeviceSource:
    """A capture device of this machine, read by a thread of its own, since reading it blocks.

    Args:
        device: ALSA's name of it.
        note: called with what a person should know: that audio was lost.

    Raises:
        NoMicrophone: it cannot be opened; or pyalsaaudio is missing.
    """

    def __init__(self, device: str, note: Callable[[str], None]) -> None:
        from whisperd.audio.capture import Capture

        self._device = device
        self._note = note
        self._blocks: deque[bytes] = deque()
        self._queued = 0  # samples
        self._lost = 0
        self._problem = ""
        self._lock = threading.Lock()
        self._stop = threading.Event()
        self._reading, self._writing = os.pipe()
        os.set_blocking(self._reading, False)
        os.set_blocking(self._writing, False)
        try:
            capture = Capture(device)
        except BaseException:
            self._close_pipe()
            raise
        self._thread = threading.Thread(target=self._capture, args=(capture,), name="capture", daemon=True)
        self._thread.start()

    def start(self) -> None:
        """Forget what was heard so far."""
        with self._lock:
            self._blocks.clear()
            self._queued = self._lost = 0

    def wait(self) -> float | None:
        """None: the pipe tells."""
        return None

    def fileno(self) -> int | None:
        """Readable when something was heard, or the device is gone."""
        return self._reading

    def read(self) -> bytes | None:
        """What was heard since the last time."""
        from whisperd.errors import NoMicrophone

        with suppress(BlockingIOError):
            os.read(self._reading, 4096)
        with self._lock:
            samples, lost, problem = b"".join(self._blocks), self._lost, self._problem
            self._blocks.clear()
            self._queued = self._lost = 0
        if lost:
            self._note(f"{lost / SAMPLE_RATE:.2f} s of audio were lost")
        if not samples and problem:
            raise NoMicrophone(f"the microphone {self._device!r} is gone: {problem}")
        return samples

    def close(self) -> None:
        """Give the device back."""
        self._stop.set()
        self._thread.join(CLOSE_SECONDS)
        if not self._thread.is_alive():
            self._close_pipe()

    def _close_pipe(self) -> None:
        os.close(self._reading)
        os.close(self._writing)

    def _capture(self, capture: Capture) -> None:
        from whisperd.audio.capture import DeviceLost

        problem = "it broke"
        try:
            while not self._stop.is_set():
                pcm, lost = capture.read()
                self._take(pcm, lost)
        except DeviceLost as error:
            problem = str(error)
        finally:
            capture.close()
            with self._lock:
                self._problem = problem
            self._wake()

    def _take(self, pcm: Int16Samples, lost: int) -> None:
        with self._lock:
            self._lost += lost
            if self._queued + len(pcm) > QUEUE_SECONDS * SAMPLE_RATE:
                self._lost += len(pcm)
            else:
                self._queued += len(pcm)
                self._blocks.append(pcm.astype("<i2", copy=False).tobytes())
        if len(pcm):
            self._wake()

    def _wake(self) -> None:
        with suppress(BlockingIOError):  # it is readable already
            os.write(self._writing, b".")
