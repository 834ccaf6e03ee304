"""Whether other programs leave the model's threads their cores, and how these threads therefore wait.

Between two operators of a graph a thread waits for some microseconds. Asleep it has to be woken, a hundred times
for each word: on a quiet PC the text takes an eighth longer. Awake it holds its core while the model works; where
another program wants that core as well, the text takes half as long again. So threads wait awake as long as they
have been seen to have their cores to themselves, and asleep otherwise. While the model has nothing to do they
sleep in any case.
"""

from __future__ import annotations

import logging
import os
import time
from collections.abc import Callable, Iterable
from contextlib import nullcontext
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Final

from . import memory
from .errors import BundleError

if TYPE_CHECKING:
    from .speech.options import Options
    from .speech.transcribe import Transcriber
    from .speech.types import Control, Int16Samples, ModelInfo, Transcription
    from .speech.vad import VoiceDetector

log = logging.getLogger("whisperd.cores")

ENOUGH_SECONDS: Final = 0.5
"""Seconds of work after which its cores are judged: the kernel counts them in hundredths."""

AWAKE: Final = 0.25
"""Threads begin to wait awake where their cores are free, but for so much of one."""

ASLEEP: Final = 0.5
"""They go back to sleep where more than this is missing."""

HOLD_SECONDS: Final = 60.0
"""So long they then stay asleep: to change it is to load the model once more."""

_STAT = Path("/proc/stat")


def idle_seconds(cpus: Iterable[int], stat: Path = _STAT) -> float | None:
    """Seconds that these cores have been idle since the start of the system, together; None where nobody tells.

    Source: proc(5), /proc/stat: the fourth and fifth figures of a core are idle and iowait.
    """
    names = {f"cpu{cpu}" for cpu in cpus}
    try:
        rows = [line.split() for line in stat.read_text("ascii", "replace").splitlines()]
        ticks = sum(int(row[4]) + int(row[5]) for row in rows if row and row[0] in names)
    except (OSError, ValueError, IndexError):
        return None
    return ticks / os.sysconf("SC_CLK_TCK")


class Cores:
    """Watches, while the model works, how many of this process's cores are idle or its own. For one thread.

    Use it as a context around the work; one within another is part of it.

    Args:
        threads: of the model.
        idle: seconds that the cores have been idle; None where that is not known.
        clock: monotonic seconds.
        own: seconds of processor time that this process has used.
    """

    def __init__(
        self,
        threads: int,
        *,
        idle: Callable[[], float | None] = lambda: idle_seconds(os.sched_getaffinity(0)),
        clock: Callable[[], float] = time.monotonic,
        own: Callable[[], float] = time.process_time,
    ) -> None:
        self._threads = threads
        self._idle, self._clock, self._own = idle, clock, own
        self._depth = 0
        self._begun: tuple[float, float] | None = None
        self._worked = self._free = 0.0
        self._hold_until = -HOLD_SECONDS

    def _reading(self) -> tuple[float, float] | None:
        idle = self._idle()
        return None if idle is None else (self._clock(), idle + self._own())

    def __enter__(self) -> Cores:
        if self._depth == 0:
            self._begun = self._reading()
        self._depth += 1
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._depth -= 1
        if self._depth or self._begun is None or (ended := self._reading()) is None:
            return
        self._worked += ended[0] - self._begun[0]
        self._free += ended[1] - self._begun[1]

    def wish(self, awake: bool) -> bool:
        """How the threads should wait from now on, by what has been seen since this was last decided.

        Args:
            awake: how they wait now.
        """
        if self._threads < 2 or self._worked < ENOUGH_SECONDS:
            return awake
        missing = self._threads - self._free / self._worked
        self._worked = self._free = 0.0
        if awake and missing > ASLEEP:
            self._hold_until = self._clock() + HOLD_SECONDS
            return False
        return awake or (missing <= AWAKE and self._clock() >= self._hold_until)


class Considerate:
    """An engine whose threads wait as `Cores` wishes.

    Args:
        engine: the engine.
        cores: watches it; None leaves its threads as they are.
    """

    def __init__(self, engine: Transcriber, cores: Cores | None) -> None:
        self._engine = engine
        self._cores = cores

    @property
    def info(self) -> ModelInfo:
        """What is loaded."""
        return self._engine.info

    @property
    def voice(self) -> VoiceDetector | None:
        """The network that is asked whether somebody speaks."""
        return self._engine.voice

    def check(self, options: Options) -> None:
        """See `Transcriber.check`."""
        self._engine.check(options)

    def warm_up(self) -> None:
        """See `Transcriber.warm_up`."""
        self._engine.warm_up()

    def transcribe(self, pcm: Int16Samples, options: Options, control: Control) -> Transcription:
        """See `Transcriber.transcribe`."""
        with self._cores or nullcontext():
            return self._engine.transcribe(pcm, options, control)

    def rest(self) -> bool:
        """Between two requests: change how the threads wait, where that is wished; returns whether it has been."""
        if self._cores is None:
            return False
        awake = self._engine.awake
        wish = self._cores.wish(awake)
        if wish == awake:
            return False
        memory.trim()  # what the last request has left would be resident beside what is loaded now
        try:
            self._engine.wait_awake(wish)
        except BundleError as error:
            # An update has begun that no reload has followed yet: what is loaded goes on as it is.
            log.warning("the model's threads go on as they are: %s", error)
            return False
        log.debug("the model's threads wait %s", "awake: their cores are free" if wish else "asleep")
        return True
