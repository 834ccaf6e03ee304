"""The one inference worker: a bounded queue of jobs, and the only thread that runs the model.

Everything that wants a clip transcribed hands a job to `Scheduler.submit` and hears of it once, through the
job's `deliver` callback. The scheduler knows nothing of sockets or of asyncio, and does not import the model's
run-time: what it runs is an `Engine`, and what aborts a run in the middle is whatever `run_options` makes.

Order of service: `Priority` first, then first come, first served. A partial text is never waited for: it is taken
only where nothing but files is in hand, and makes way for who waits for an answer, running or not.

Files make way too, and lose nothing: whoever cannot wait is served between two steps of a file's transcription,
on the same thread, and the file goes on behind.
"""

from __future__ import annotations

import heapq
import logging
import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

from .errors import Cancelled, InternalError, QueueFull, ShuttingDown, WhisperdError
from .protocol import Outcome, Priority
from .speech.options import Options
from .speech.types import Engine, Int16Samples, ModelInfo, Transcription

if TYPE_CHECKING:
    from .speech.vad import VoiceDetector

log = logging.getLogger(__name__)

_OVERTAKEN = "another request came"


@dataclass(frozen=True)
class Rest:
    """What is done with the engine once there has been no job for some seconds."""

    seconds: float
    call: Callable[[Engine], object]


class Terminable(Protocol):
    """The part of onnxruntime.RunOptions that aborts a run from another thread."""

    terminate: bool


@dataclass(frozen=True)
class Progress:
    """What the watchdog looks at. Times are those of the scheduler's clock.

    Attributes:
        count: signs of life of the worker so far; it only rises, and stands still in a stuck worker.
        busy_since: when the running job began, or None where none runs.
        last_sign: the newest sign of life, or the submission that ended an idle time.
        waiting: jobs in the queue, the running one not counted.
    """

    count: int
    busy_since: float | None
    last_sign: float
    waiting: int


class Job:
    """One clip on its way through the worker. Made by `Scheduler.submit`, and the scheduler's to change.

    Attributes:
        ahead: how many jobs stood before it when it was submitted, the running one included.
        away: seconds for which it had made way for others since it began.
    """

    __slots__ = (
        "ahead",
        "away",
        "deliver",
        "options",
        "pcm",
        "priority",
        "run_options",
        "sequence",
        "settled",
        "started",
        "stop",
        "submitted",
    )

    def __init__(
        self,
        pcm: Int16Samples,
        options: Options,
        priority: Priority,
        deliver: Callable[[Outcome], None],
        *,
        sequence: int,
        submitted: float,
    ) -> None:
        self.pcm = pcm
        self.options = options
        self.priority = priority
        self.deliver = deliver
        self.sequence = sequence
        self.submitted = submitted
        self.ahead = 0
        self.away = 0.0
        self.started: float | None = None
        self.run_options: Terminable | None = None
        self.stop: WhisperdError | None = None  # set by another thread: why the worker is to leave it
        self.settled = False  # its outcome is decided, and there is only one

    def __lt__(self, other: Job) -> bool:
        return (self.priority, self.sequence) < (other.priority, other.sequence)


class Scheduler:
    """Owns the inference thread and the queue before it. Its methods may be called from any thread."""

    def __init__(
        self,
        engine: Engine,
        *,
        max_queue: int = 32,
        run_options: Callable[[], Terminable | None] = lambda: None,
        clock: Callable[[], float] = time.monotonic,
        at_rest: Sequence[Rest] = (),
    ) -> None:
        """Make a scheduler; its worker begins with `start`.

        Args:
            engine: what the worker runs.
            max_queue: jobs that may wait beside the one that runs.
            run_options: makes the run options of one job, as `onnxruntime.RunOptions` does. The default makes
                none: then a cancelled job is left only between the steps of the engine.
            clock: monotonic seconds.
            at_rest: called on the worker's thread, in this order, while it has nothing to do after a job.
        """
        self._engine = engine
        self._at_rest = tuple(at_rest)
        self._rests: deque[Rest] = deque()  # those that are still to come
        self._last_job = clock()
        self._max_queue = max_queue
        self._make_run_options = run_options
        self._clock = clock
        self._wake = threading.Condition()
        self._queue: list[Job] = []  # a heap
        self._running: Job | None = None
        self._paused: Job | None = None  # the file that the running job was let in before
        self._sequence = 0
        self._stopping = False
        self._signs = 0
        self._last_sign = clock()
        # A daemon thread: a run-time that hangs for good must not keep the process from ending.
        self._thread = threading.Thread(target=self._work, name="inference", daemon=True)

    @property
    def model(self) -> ModelInfo:
        """What the engine has loaded."""
        return self._engine.info

    @property
    def voice(self) -> VoiceDetector | None:
        """The network that the engine asks whether somebody speaks."""
        return self._engine.voice

    def check(self, options: Options) -> None:
        """Raise UnknownLanguage or UnknownTask for options that the engine cannot serve."""
        self._engine.check(options)

    def replace(self, engine: Engine) -> Engine:
        """Run another engine from the next job on; the running job is finished by the one that began it.

        Returns:
            The engine before, which may be running still.
        """
        with self._wake:
            old, self._engine = self._engine, engine
            return old

    def resize(self, max_queue: int) -> None:
        """Change how many jobs may wait; those that wait already stay."""
        with self._wake:
            self._max_queue = max_queue

    def start(self) -> None:
        """Start the worker's thread."""
        self._thread.start()

    def submit(
        self, pcm: Int16Samples, options: Options, priority: Priority, deliver: Callable[[Outcome], None]
    ) -> Job:
        """Queue a clip, int16[n] at 16 kHz mono.

        `deliver` is called exactly once, when the worker is done with the clip, whatever came of it. It runs
        on the worker's thread, or within `cancel` or `stop`, and must not block: with asyncio it does no more
        than `loop.call_soon_threadsafe`.

        Raises:
            QueueFull: `max_queue` jobs are waiting; or this is for a partial text, and the worker has more in hand
                than files.
            ShuttingDown: `stop` has been called.
        """
        with self._wake:
            if self._stopping:
                raise ShuttingDown("the daemon is stopping")
            if priority is Priority.PARTIAL and not self._only_files():
                raise QueueFull("the worker is busy")
            # Waiting and running are counted together: whether the worker has picked up the job before this
            # one already must not decide if this one fits.
            if self._pending() > self._max_queue:
                raise QueueFull(f"{self._max_queue} requests are waiting already")
            now = self._clock()
            if not self._pending():
                self._last_sign = now  # the worker was idle, not late: it is to be judged from now on
            self._sequence += 1
            job = Job(pcm, options, priority, deliver, sequence=self._sequence, submitted=now)
            job.ahead = sum(other < job for other in (*self._queue, *self._begun()))
            urgent = priority is not Priority.FILE
            overtaken = [other for other in self._queue if urgent and other.priority is Priority.PARTIAL]
            for other in overtaken:  # taken, and not begun yet
                self._queue.remove(other)
            job.ahead -= sum(other < job for other in overtaken)
            heapq.heapify(self._queue)
            heapq.heappush(self._queue, job)
            if urgent and self._running is not None and self._running.priority is Priority.PARTIAL:
                self._abort(self._running, Cancelled(_OVERTAKEN))
            self._wake.notify()
        for other in overtaken:
            self._settle(other, Cancelled(_OVERTAKEN))
        return job

    def cancel(self, job: Job) -> None:
        """Take a waiting job out of the queue; make the worker leave a running one soon; or do nothing."""
        error = Cancelled("cancelled by its client")
        with self._wake:
            if job in self._begun():
                self._abort(job, error)
                return
            if job not in self._queue:
                return
            self._queue.remove(job)
            heapq.heapify(self._queue)
        self._settle(job, error)

    def progress(self) -> Progress:
        """The worker's signs of life."""
        with self._wake:
            busy_since = None if self._running is None else self._running.started
            return Progress(self._signs, busy_since, self._last_sign, len(self._queue))

    def stuck_for(self, seconds: float) -> bool:
        """Whether there is work, and the worker is dead or has shown no sign of life for this long."""
        with self._wake:
            if not self._pending():
                return False
            return not self._thread.is_alive() or self._clock() - self._last_sign >= seconds

    def stop(self, grace_seconds: float, abort_seconds: float = 1.0) -> bool:
        """End the worker; blocks for at most the sum of both times.

        What waits is answered with ShuttingDown at once, and so is what still runs after the grace; the worker
        then gets `abort_seconds` to leave it. An encoder run is aborted within milliseconds: only a run-time
        that hangs takes longer.

        Returns:
            Whether the thread has ended.
        """
        with self._wake:
            self._stopping = True
            waiting, self._queue = sorted(self._queue), []
            self._wake.notify()
        for job in waiting:
            self._settle(job, ShuttingDown("the daemon is stopping"))
        if not self._thread.is_alive():
            return True
        self._thread.join(grace_seconds)
        with self._wake:
            begun = self._begun()
            for job in begun:
                self._abort(job, ShuttingDown("the daemon is stopping"))
        for job in begun:
            self._settle(job, ShuttingDown("the daemon is stopping"))
        self._thread.join(abort_seconds)
        return not self._thread.is_alive()

    # --- under the lock --------------------------------------------------------------------------------------

    def _begun(self) -> list[Job]:
        """What runs, and what made way for it."""
        return [job for job in (self._running, self._paused) if job is not None]

    def _pending(self) -> int:
        return len(self._queue) + len(self._begun())

    def _only_files(self) -> bool:
        return all(job.priority is Priority.FILE for job in (*self._queue, *self._begun()))

    def _let_in(self, job: Job) -> Job | None:
        """Who is served before this running job goes on, taken out of the queue; None: nobody."""
        if self._stopping or job.priority is not Priority.FILE or not self._queue:
            return None
        return heapq.heappop(self._queue) if self._queue[0].priority < Priority.FILE else None

    def _abort(self, job: Job, error: WhisperdError) -> None:
        if job.stop is None:
            job.stop = error
        if job.run_options is not None:
            job.run_options.terminate = True

    def _sign_of_life(self) -> None:
        self._signs += 1
        self._last_sign = self._clock()

    # --- the worker's thread ---------------------------------------------------------------------------------

    def _work(self) -> None:
        while self._work_once():
            pass

    def _work_once(self) -> bool:
        # One job to a call, so that no local variable keeps its clip while the worker waits for the next.
        with self._wake:
            rested = False
            while not (self._queue or self._stopping or rested):
                left = self._last_job + self._rests[0].seconds - self._clock() if self._rests else None
                rested = left is not None and left <= 0
                if not rested:
                    self._wake.wait(left)
            job = heapq.heappop(self._queue) if self._queue else None
        if job is not None:
            self._serve(job)
            self._rests, self._last_job = deque(self._at_rest), self._clock()
        elif rested:
            self._rests.popleft().call(self._engine)
        return rested or job is not None

    def _serve(self, job: Job) -> None:
        with self._wake:
            made_way, self._running = self._running, job
            self._paused = made_way
            job.started = self._clock()
            self._sign_of_life()
        result = self._run(job)
        with self._wake:
            self._running, self._paused = made_way, None
            if made_way is not None:
                made_way.away += self._clock() - job.started
            self._sign_of_life()
            result = job.stop or result  # its client has been told already, whatever came of it
        self._settle(job, result)

    def _run(self, job: Job) -> Transcription | WhisperdError:
        try:
            run_options = self._make_run_options()
            with self._wake:
                job.run_options = run_options
            control = _JobControl(self, job)
            control.step()
            return self._engine.transcribe(job.pcm, job.options, control)
        except WhisperdError as error:
            return error.with_traceback(None)  # whose frames would hold the clip
        except BaseException as error:  # SystemExit too: nothing that an engine raises may end this thread
            # A run-time that was terminated says so by an exception of no particular type.
            if job.stop is None:
                log.exception("transcription of %.2f s of audio failed", len(job.pcm) / 16_000)
            return InternalError(f"transcription failed: {type(error).__name__}")

    def _step(self, job: Job) -> None:
        while True:
            with self._wake:
                self._sign_of_life()
                if job.stop is not None:
                    raise Cancelled(job.stop.text)
                other = self._let_in(job)
            if other is None:
                return
            self._serve(other)

    # --- any thread ------------------------------------------------------------------------------------------

    def _settle(self, job: Job, result: Transcription | WhisperdError) -> None:
        with self._wake:
            if job.settled:
                return
            job.settled = True
            now = self._clock()
        started = now if job.started is None else job.started
        try:
            run_s = now - started - job.away
            job.deliver(Outcome(result, queue_s=started - job.submitted, run_s=run_s))
        except Exception:  # such as an event loop that has been closed; the worker goes on
            log.exception("the outcome of a job could not be delivered")


class _JobControl:
    """`Control` of one job: what the engine sees of the scheduler."""

    def __init__(self, scheduler: Scheduler, job: Job) -> None:
        self._scheduler = scheduler
        self._job = job

    def step(self) -> None:
        """A sign of life, and the place where a job that shall stop is left."""
        self._scheduler._step(self._job)

    def now(self) -> float:
        """Monotonic seconds, without those for which the job had made way."""
        return self._scheduler._clock() - self._job.away

    def run_options(self) -> Any:
        """What aborts a run in the middle, or None."""
        return self._job.run_options
