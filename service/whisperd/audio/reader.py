"""The thread that reads a capture device, and the bounded way of its samples to the event loop."""

from __future__ import annotations

import asyncio
import threading
import time
from collections import deque
from collections.abc import Callable
from contextlib import suppress
from typing import Any, Final, Protocol

from ..errors import NoMicrophone
from .capture import DeviceLost
from .pcm import SAMPLE_RATE, Int16Samples

HELD_SECONDS: Final = 3.0
"""Audio that waits for an event loop that is late. What is over it is counted as lost."""

OPEN_SECONDS: Final = 5.0
"""A device that is not open by then has failed."""

STUCK_SECONDS: Final = 4.0
"""A read that has not come back by then hangs in the driver. `Capture.read` comes back several times a second."""


class Source(Protocol):
    """An open device, as `Capture` is one."""

    def read(self) -> tuple[Int16Samples, int]: ...
    def close(self) -> None: ...


class Reader:
    """One opening of the device, on a thread of its own, which alone touches it: opened, read, closed.

    The thread is a daemon: one that hangs in a driver does not keep the process from ending.

    Attributes:
        opened: done when the device is open; fails with NoMicrophone.
        ended: done with the reason, or "" after `stop`, once no more samples come.
        closed: done when the device is closed and the thread at its end.

    Args:
        open_source: opens the device, or raises NoMicrophone; called on the thread.
        heard: gets (int16[n] at 16 kHz mono, samples lost before) on the event loop's thread, from `deliver` on.
    """

    def __init__(self, open_source: Callable[[], Source], heard: Callable[[Int16Samples, int], None]) -> None:
        self._loop = asyncio.get_running_loop()
        self._open_source = open_source
        self._heard = heard
        self.opened: asyncio.Future[Source] = self._loop.create_future()
        self.ended: asyncio.Future[str] = self._loop.create_future()
        self.closed: asyncio.Future[None] = self._loop.create_future()
        self._stopping = threading.Event()
        self._lock = threading.Lock()
        self._held: deque[tuple[Int16Samples, int]] = deque()
        self._held_samples = 0
        self._lost = 0  # samples, since the last that were held
        self._called = False  # the event loop has been asked to come
        self._delivering = False
        self._alive_at = time.monotonic()
        threading.Thread(target=self._run, name="microphone", daemon=True).start()

    def deliver(self) -> None:
        """From now on pass samples on, first those that have come since the opening."""
        self._delivering = True
        self._drain()

    def stop(self) -> None:
        """Pass nothing more on, and let the thread close the device."""
        self._delivering = False
        self._stopping.set()
        self._settle(self.ended, "")
        self._fail(NoMicrophone("the microphone was closed while it was being opened"))

    async def open(self) -> Source:
        """Wait for the device. If this fails or is cancelled, the reader is stopped.

        Raises:
            NoMicrophone: it cannot be opened, or not in `OPEN_SECONDS`.
        """
        try:
            if not (await asyncio.wait((self.opened,), timeout=OPEN_SECONDS))[0]:
                raise NoMicrophone(f"the microphone is not open after {OPEN_SECONDS:g} s")
            source = self.opened.result()
            if self._stopping.is_set():
                raise NoMicrophone("the microphone was closed while it was being opened")
            return source
        except BaseException:
            self.stop()
            raise

    async def end(self) -> str:
        """Wait until no more samples come, and give the reason."""
        seen = 0.0
        while True:
            done, _ = await asyncio.wait((self.ended,), timeout=STUCK_SECONDS / 2)
            if done:
                return self.ended.result()
            # Not at the first look: where the whole process was stopped, the thread has yet to come to life again.
            if seen == self._alive_at and time.monotonic() - seen > STUCK_SECONDS:
                self.stop()
                return f"a read has not come back for {STUCK_SECONDS:g} s"
            seen = self._alive_at

    # --- on the thread ------------------------------------------------------------------------------------------

    def _run(self) -> None:
        try:
            source = self._open_source()
        except NoMicrophone as error:
            self._post(self._fail, error)
        except Exception as error:  # a defect, which must not leave anybody waiting
            self._post(self._fail, NoMicrophone(f"the microphone cannot be opened: {error!r}"))
        else:
            self._alive_at = time.monotonic()
            self._post(self._settle, self.opened, source)
            try:
                self._post(self._settle, self.ended, self._read(source))
            finally:
                with suppress(Exception):
                    source.close()
        finally:
            self._post(self._settle, self.closed, None)

    def _read(self, source: Source) -> str:
        while not self._stopping.is_set():
            try:
                pcm, lost = source.read()
            except DeviceLost as error:
                return str(error)
            except Exception as error:
                return f"reading failed: {error!r}"
            self._alive_at = time.monotonic()
            self._hold(pcm, lost)
        return ""

    def _hold(self, pcm: Int16Samples, lost: int) -> None:
        pcm.flags.writeable = False  # every listener gets the same array
        with self._lock:
            self._lost += lost
            if not pcm.size:
                return
            if self._held_samples + pcm.size > HELD_SECONDS * SAMPLE_RATE:
                self._lost += pcm.size
                return
            self._held.append((pcm, self._lost))
            self._held_samples += pcm.size
            self._lost = 0
            called, self._called = self._called, True
        if not called:
            self._post(self._drain)

    def _post(self, function: Callable[..., None], *arguments: object) -> None:
        with suppress(RuntimeError):  # the event loop is closed: nobody is left to hear
            self._loop.call_soon_threadsafe(function, *arguments)

    # --- on the event loop's thread -----------------------------------------------------------------------------

    def _drain(self) -> None:
        while self._delivering:
            with self._lock:
                if not self._held:
                    self._called = False
                    return
                pcm, lost = self._held.popleft()
                self._held_samples -= pcm.size
            self._heard(pcm, lost)

    def _fail(self, error: NoMicrophone) -> None:
        if not self.opened.done():
            self.opened.set_exception(error)
            self.opened.exception()  # looked at, should nobody wait for it any more
        self._settle(self.ended, error.text)

    @staticmethod
    def _settle(future: asyncio.Future[Any], value: object) -> None:
        if not future.done():
            future.set_result(value)
