"""The one microphone for all: opened with the first listener, closed after the last, looked for if it vanishes."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from typing import Final, Protocol

from ..errors import NoMicrophone
from .capture import Capture
from .pcm import SAMPLE_RATE, Int16Samples
from .reader import Reader, Source

logger = logging.getLogger(__name__)

BACK_OFF: Final = (0.25, 0.5, 1.0, 2.0, 4.0, 5.0)
"""Seconds before each try to open a device that has vanished; the last is repeated."""

STEADY_SECONDS: Final = 10.0
"""A device that was there for so long begins again with the first of BACK_OFF; a flickering one does not."""

CLOSE_SECONDS: Final = 2.0
"""Wait for a thread to give the device back, before it is opened again."""


class Listener(Protocol):
    """Who hears the microphone. Called on the event loop's thread only; must neither block nor raise."""

    def heard(self, pcm: Int16Samples, lost: int) -> None:
        """Samples: int16[n], 16 kHz mono, n > 0, read-only. `lost`: samples that were lost before these."""

    def microphone_lost(self, text: str, retry_seconds: float) -> None:
        """The device gives nothing more. It is tried again, in `retry_seconds` and then until it is back."""

    def microphone_restored(self) -> None:
        """It is back: samples follow. The time without it is not counted as lost samples."""


class Microphone:
    """The capture device of the daemon. All methods are called on the event loop's thread.

    Attributes:
        device: ALSA's name of what it opens.
        samples: how many samples, at 16 kHz, the device gave to listeners so far.
        lost: how many were lost: overruns of the device, and what came while the event loop was late.

    Args:
        device: see above.
        open_source: opens a device by its name, on a thread; raises NoMicrophone.
    """

    def __init__(self, device: str, open_source: Callable[[str], Source] = Capture) -> None:
        self.device = device
        self.samples = 0
        self.lost = 0
        self._open_source = open_source
        self._listeners: list[Listener] = []
        self._joining = asyncio.Lock()
        self._reader: Reader | None = None  # open, and delivering
        self._former: Reader | None = None  # opening, or told to stop: it may have the device still
        self._watch: asyncio.Task[None] | None = None
        self._missing = ""  # why the device is not there, while it is looked for
        self._stopped = False

    @property
    def listeners(self) -> int:
        """How many listen now."""
        return len(self._listeners)

    async def join(self, listener: Listener) -> None:
        """Let `listener` hear from now on. Opens the device for the first, without blocking the event loop.

        Opening takes milliseconds, with a broken device up to some seconds. When this is cancelled meanwhile, or
        raises, `listener` has not joined. The device runs when this returns: what is said from then on is heard.

        Raises:
            NoMicrophone: the device cannot be opened, or has vanished and is being looked for. The text names it,
                ALSA's reason and what to do.
            ValueError: `listener` has joined already.
        """
        async with self._joining:
            if any(one is listener for one in self._listeners):
                raise ValueError("joined already")
            if self._stopped:
                raise NoMicrophone("the microphone is closed: whisperd is stopping")
            if self._missing:
                raise NoMicrophone(f"the microphone {self.device!r} has vanished: {self._missing}")
            if self._reader is not None:
                self._listeners = [*self._listeners, listener]
                return
            reader = await self._open()
            self._listeners = [listener]
            reader.deliver()
            self._watch = asyncio.create_task(self._keep(reader), name="microphone")

    def leave(self, listener: Listener) -> None:
        """Let `listener` hear no more, from this moment on. The device is closed after the last.

        Who has not joined may leave too; `listener` may join again at once.
        """
        self._listeners = [one for one in self._listeners if one is not listener]
        if not self._listeners:
            self._close()

    async def stop(self) -> None:
        """Let nobody hear any more, close the device, and refuse who joins from now on."""
        self._stopped = True
        self._listeners = []
        self._close()
        if self._former is not None:
            self._former.stop()
            await asyncio.wait((self._former.closed,), timeout=CLOSE_SECONDS)

    # --- the device -------------------------------------------------------------------------------------------

    async def _open(self) -> Reader:
        """Open the device, once who had it before has given it back."""
        if self._former is not None:
            await asyncio.wait((self._former.closed,), timeout=CLOSE_SECONDS)
            if not self._former.closed.done():
                # One thread may hang in a driver, but not one for each try.
                raise NoMicrophone(f"the microphone {self.device!r} hangs: a read of it does not come back")
        reader = self._former = Reader(lambda: self._open_source(self.device), self._heard)
        source = await reader.open()
        self._reader, self._former = reader, None
        logger.info("microphone %s is open: %s", self.device, getattr(source, "obtained", "no details"))
        return reader

    def _close(self) -> None:
        if self._watch is not None:
            self._watch.cancel()
            self._watch = None
        self._missing = ""
        if self._reader is not None:
            self._reader.stop()
            self._former, self._reader = self._reader, None
            logger.info("microphone %s is closed", self.device)

    async def _keep(self, reader: Reader) -> None:
        """While somebody listens: wait until the device vanishes, and look for it until it is back."""
        delays = back_off()
        while True:
            since = time.monotonic()
            self._missing = await reader.end()
            self._former, self._reader = reader, None
            if time.monotonic() - since > STEADY_SECONDS:
                delays = back_off()
            delay = next(delays)
            logger.warning("microphone %s is lost: %s; trying until it opens", self.device, self._missing)
            self._tell_lost(f"the microphone {self.device!r} is lost: {self._missing}", delay)
            reader = await self._find(delay, delays)
            self._missing = ""
            self._tell(lambda one: one.microphone_restored())
            reader.deliver()

    async def _find(self, delay: float, delays: Iterator[float]) -> Reader:
        while True:
            await asyncio.sleep(delay)
            with suppress(NoMicrophone):
                return await self._open()
            delay = next(delays)

    # --- the listeners ------------------------------------------------------------------------------------------

    def _heard(self, pcm: Int16Samples, lost: int) -> None:
        if lost and not self.lost:
            seconds = lost / SAMPLE_RATE
            logger.warning("microphone %s: %.2f s were lost; what follows is only counted", self.device, seconds)
        self.lost += lost
        self.samples += pcm.size
        self._tell(lambda one: one.heard(pcm, lost))

    def _tell_lost(self, text: str, retry_seconds: float) -> None:
        self._tell(lambda one: one.microphone_lost(text, retry_seconds))

    def _tell(self, tell: Callable[[Listener], None]) -> None:
        for listener in self._listeners:  # this list is never changed, but replaced
            if not any(one is listener for one in self._listeners):
                continue  # left meanwhile, by what another did
            try:
                tell(listener)
            except Exception:  # one listener's defect must not make the others deaf
                logger.exception("a listener failed")


def back_off() -> Iterator[float]:
    """Seconds before each try."""
    yield from BACK_OFF
    while True:
        yield BACK_OFF[-1]
