"""The worker and its queue, with an engine that does what the test says."""

from __future__ import annotations

import queue
import threading
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
from whisperd.errors import Cancelled, InternalError, QueueFull, ShuttingDown, WhisperdError
from whisperd.protocol import Outcome, Priority
from whisperd.scheduler import Rest, Scheduler
from whisperd.speech.options import Options
from whisperd.speech.types import Control, Timings, Transcription

WAIT = 20.0
PCM = np.zeros(160, np.int16)


class Engine:
    """Runs until it is released or told to stop; remembers what it ran."""

    info: Any = None

    def __init__(self) -> None:
        self.ran: list[str] = []
        self.begun = threading.Semaphore(0)
        self.go = threading.Semaphore(0)
        self.deaf = False
        self.error: BaseException | None = None

    def check(self, options: Options) -> None:
        """Everything is welcome."""

    def transcribe(self, pcm: Any, options: Options, control: Control) -> Transcription:
        self.ran.append(options.language or "")
        self.begun.release()
        while not self.go.acquire(timeout=0.005):
            if not self.deaf:
                control.step()
            terminable = control.run_options()
            if terminable is not None and terminable.terminate:
                raise RuntimeError("run was terminated")
        if self.error is not None:
            raise self.error
        return Transcription(options.language or "", "en", 0.01, (), Timings(0, 0, 0))


class Results:
    """Outcomes by name, and a wait for each."""

    def __init__(self) -> None:
        self.outcomes: dict[str, Outcome] = {}
        self._arrived = threading.Condition()

    def expect(self, name: str) -> Any:
        def deliver(outcome: Outcome) -> None:
            with self._arrived:
                assert name not in self.outcomes, "delivered twice"
                self.outcomes[name] = outcome
                self._arrived.notify_all()

        return deliver

    def __getitem__(self, name: str) -> Transcription | WhisperdError:
        with self._arrived:
            assert self._arrived.wait_for(lambda: name in self.outcomes, WAIT), f"no outcome of {name}"
            return self.outcomes[name].result


@pytest.fixture
def engine() -> Engine:
    return Engine()


@pytest.fixture
def scheduler(engine: Engine) -> Iterator[Scheduler]:
    made = Scheduler(engine, max_queue=3)
    made.start()
    yield made
    engine.deaf = False
    for _ in range(20):
        engine.go.release()
    assert made.stop(WAIT)


def submit(scheduler: Scheduler, results: Results, name: str, priority: Priority = Priority.FINAL) -> Any:
    return scheduler.submit(PCM, Options(language=name), priority, results.expect(name))


def test_priority_then_order_of_arrival(scheduler: Scheduler, engine: Engine) -> None:
    results = Results()
    submit(scheduler, results, "running")
    assert engine.begun.acquire(timeout=WAIT)
    file = submit(scheduler, results, "file", Priority.FILE)
    first = submit(scheduler, results, "first")
    second = submit(scheduler, results, "second")
    assert (file.ahead, first.ahead, second.ahead) == (1, 1, 2)
    for _ in range(4):
        engine.go.release()
    assert isinstance(results["file"], Transcription)
    assert engine.ran == ["running", "first", "second", "file"]


def test_the_queue_at_its_limit_and_one_over(scheduler: Scheduler, engine: Engine) -> None:
    results = Results()
    for name in "abcd":  # one runs, three wait
        submit(scheduler, results, name)
    with pytest.raises(QueueFull, match="3 requests are waiting"):
        submit(scheduler, results, "e")
    engine.go.release()
    assert isinstance(results["a"], Transcription)
    submit(scheduler, results, "f")


def test_cancel_of_a_waiting_job_is_immediate(scheduler: Scheduler, engine: Engine) -> None:
    results = Results()
    submit(scheduler, results, "running")
    waiting = submit(scheduler, results, "waiting")
    scheduler.cancel(waiting)
    assert isinstance(results["waiting"], Cancelled)
    engine.go.release()
    assert isinstance(results["running"], Transcription)
    scheduler.cancel(waiting)  # long done: nothing happens
    assert "waiting" not in engine.ran


def test_cancel_of_a_running_job_is_seen_between_steps(scheduler: Scheduler, engine: Engine) -> None:
    results = Results()
    running = submit(scheduler, results, "running")
    assert engine.begun.acquire(timeout=WAIT)
    scheduler.cancel(running)
    assert isinstance(results["running"], Cancelled)
    submit(scheduler, results, "next")
    engine.go.release()
    assert isinstance(results["next"], Transcription)


def test_cancel_terminates_a_run_that_takes_no_steps() -> None:
    class RunOptions:
        terminate = False

    engine, results = Engine(), Results()
    engine.deaf = True
    scheduler = Scheduler(engine, run_options=RunOptions)
    scheduler.start()
    job = submit(scheduler, results, "deaf")
    assert engine.begun.acquire(timeout=WAIT)
    scheduler.cancel(job)
    assert isinstance(results["deaf"], Cancelled)  # and no InternalError, though the engine raised RuntimeError
    assert scheduler.stop(WAIT)


@pytest.mark.parametrize("error", [ValueError("secret words"), MemoryError(), SystemExit(3)])
def test_an_engine_s_exception_ends_its_job_alone(
    scheduler: Scheduler, engine: Engine, error: BaseException, caplog: pytest.LogCaptureFixture
) -> None:
    results = Results()
    engine.error = error
    engine.go.release()
    submit(scheduler, results, "bad")
    result = results["bad"]
    assert isinstance(result, InternalError)
    assert type(error).__name__ in result.text and "secret" not in result.text
    assert "transcription of 0.01 s of audio failed" in caplog.text
    engine.error = None
    engine.go.release()
    submit(scheduler, results, "good")
    assert isinstance(results["good"], Transcription)


def test_progress_and_stuck(engine: Engine) -> None:
    now = [100.0]
    scheduler, results = Scheduler(engine, clock=lambda: now[0]), Results()
    scheduler.start()
    assert scheduler.progress().busy_since is None
    now[0] = 500.0
    assert not scheduler.stuck_for(1.0)  # idle is not stuck, however long
    engine.deaf = True
    submit(scheduler, results, "deaf")
    assert engine.begun.acquire(timeout=WAIT)
    signs = scheduler.progress().count
    assert scheduler.progress().busy_since == 500.0
    now[0] = 529.0
    assert not scheduler.stuck_for(30.0)
    now[0] = 530.0
    assert scheduler.stuck_for(30.0)
    assert scheduler.progress().count == signs
    engine.deaf = False  # it takes steps again
    until = threading.Event()
    for _ in range(1000):
        if not scheduler.stuck_for(30.0):
            break
        until.wait(0.01)
    assert not scheduler.stuck_for(30.0)
    engine.go.release()
    assert isinstance(results["deaf"], Transcription)
    assert scheduler.stop(WAIT)


def test_stop_answers_what_waits_and_aborts_what_runs(engine: Engine) -> None:
    scheduler, results = Scheduler(engine), Results()
    scheduler.start()
    submit(scheduler, results, "running")
    assert engine.begun.acquire(timeout=WAIT)
    submit(scheduler, results, "waiting")
    assert scheduler.stop(0.05, WAIT)
    assert isinstance(results["waiting"], ShuttingDown)
    assert isinstance(results["running"], ShuttingDown)
    with pytest.raises(ShuttingDown):
        submit(scheduler, results, "late")


def test_stop_finishes_what_runs_within_the_grace(engine: Engine) -> None:
    scheduler, results = Scheduler(engine), Results()
    scheduler.start()
    submit(scheduler, results, "running")
    assert engine.begun.acquire(timeout=WAIT)
    engine.go.release()
    assert scheduler.stop(WAIT)
    assert isinstance(results["running"], Transcription)


def test_a_hung_engine_is_left_behind_and_its_job_answered(engine: Engine) -> None:
    scheduler, results = Scheduler(engine), Results()
    scheduler.start()
    engine.deaf = True
    submit(scheduler, results, "hung")
    assert engine.begun.acquire(timeout=WAIT)
    assert scheduler.stop(0.02, 0.02) is False
    assert isinstance(results["hung"], ShuttingDown)
    engine.go.release()


def test_a_delivery_that_raises_does_not_end_the_worker(scheduler: Scheduler, engine: Engine) -> None:
    def broken(outcome: Outcome) -> None:
        raise RuntimeError("the loop is closed")

    results = Results()
    scheduler.submit(PCM, Options(language="a"), Priority.FINAL, broken)
    submit(scheduler, results, "b")
    engine.go.release()
    engine.go.release()
    assert isinstance(results["b"], Transcription)


def test_a_partial_text_is_taken_by_an_idle_worker_only(scheduler: Scheduler, engine: Engine) -> None:
    results = Results()
    submit(scheduler, results, "final")
    with pytest.raises(QueueFull, match="the worker is busy"):
        submit(scheduler, results, "partial", Priority.PARTIAL)
    engine.go.release()
    assert isinstance(results["final"], Transcription)
    for _ in range(200):  # the outcome is told before the worker is idle
        try:
            submit(scheduler, results, "partial", Priority.PARTIAL)
            break
        except QueueFull:
            threading.Event().wait(0.01)
    engine.go.release()
    assert isinstance(results["partial"], Transcription)


def test_a_running_partial_makes_way(scheduler: Scheduler, engine: Engine) -> None:
    results = Results()
    submit(scheduler, results, "partial", Priority.PARTIAL)
    assert engine.begun.acquire(timeout=WAIT)
    submit(scheduler, results, "file", Priority.FILE)  # which can wait
    submit(scheduler, results, "final")
    assert isinstance(results["partial"], Cancelled)
    engine.go.release()
    assert isinstance(results["final"], Transcription)
    assert engine.ran[:2] == ["partial", "final"]
    engine.go.release()
    assert isinstance(results["file"], Transcription)


@pytest.mark.parametrize("other", [Priority.FINAL, Priority.PARTIAL])
def test_a_file_makes_way_and_goes_on(scheduler: Scheduler, engine: Engine, other: Priority) -> None:
    results = Results()
    submit(scheduler, results, "file", Priority.FILE)
    assert engine.begun.acquire(timeout=WAIT)
    submit(scheduler, results, "second file", Priority.FILE)
    submit(scheduler, results, "other", other)
    assert engine.begun.acquire(timeout=WAIT)
    assert scheduler.progress().waiting == 1
    engine.go.release()
    assert isinstance(results["other"], Transcription)
    assert engine.ran == ["file", "other"]
    engine.go.release()
    assert isinstance(results["file"], Transcription)
    engine.go.release()
    assert isinstance(results["second file"], Transcription)
    assert engine.ran == ["file", "other", "second file"]


def test_within_a_file_a_partial_makes_way_for_a_final(scheduler: Scheduler, engine: Engine) -> None:
    results = Results()
    submit(scheduler, results, "file", Priority.FILE)
    assert engine.begun.acquire(timeout=WAIT)
    submit(scheduler, results, "partial", Priority.PARTIAL)
    assert engine.begun.acquire(timeout=WAIT)
    with pytest.raises(QueueFull, match="the worker is busy"):
        submit(scheduler, results, "another partial", Priority.PARTIAL)
    submit(scheduler, results, "final")
    assert isinstance(results["partial"], Cancelled)
    engine.go.release()
    assert isinstance(results["final"], Transcription)
    engine.go.release()
    assert isinstance(results["file"], Transcription)


def test_a_file_that_has_made_way_can_be_cancelled(scheduler: Scheduler, engine: Engine) -> None:
    results = Results()
    file = submit(scheduler, results, "file", Priority.FILE)
    assert engine.begun.acquire(timeout=WAIT)
    submit(scheduler, results, "final")
    assert engine.begun.acquire(timeout=WAIT)
    scheduler.cancel(file)
    assert "final" not in results.outcomes
    engine.go.release()
    assert isinstance(results["final"], Transcription)
    assert isinstance(results["file"], Cancelled)


def test_what_fails_within_a_file_costs_the_file_nothing(scheduler: Scheduler, engine: Engine) -> None:
    results = Results()
    submit(scheduler, results, "file", Priority.FILE)
    assert engine.begun.acquire(timeout=WAIT)
    engine.error = ValueError("broken")
    submit(scheduler, results, "final")
    assert engine.begun.acquire(timeout=WAIT)
    engine.go.release()
    assert isinstance(results["final"], InternalError)
    engine.error = None
    engine.go.release()
    assert isinstance(results["file"], Transcription)


def test_stopping_ends_a_file_and_whom_it_has_let_in() -> None:
    engine, results = Engine(), Results()
    scheduler = Scheduler(engine)
    scheduler.start()
    submit(scheduler, results, "file", Priority.FILE)
    assert engine.begun.acquire(timeout=WAIT)
    submit(scheduler, results, "final")
    assert engine.begun.acquire(timeout=WAIT)
    assert scheduler.stop(0.01, WAIT)
    assert isinstance(results["final"], ShuttingDown)
    assert isinstance(results["file"], ShuttingDown)


def test_a_file_does_not_pay_for_the_time_of_others() -> None:
    now = 0.0

    class Slow(Engine):
        def transcribe(self, pcm: Any, options: Options, control: Control) -> Transcription:
            nonlocal now
            before = control.now()
            if options.language == "file":
                submit(scheduler, results, "final")
            now += 3.0
            control.step()
            took = 1000 * (control.now() - before)
            return Transcription("done", "en", 0.01, (), Timings(0, 0, took))

    results = Results()
    scheduler = Scheduler(Slow(), clock=lambda: now)
    scheduler.start()
    submit(scheduler, results, "file", Priority.FILE)
    for name in ("final", "file"):
        result = results[name]
        assert isinstance(result, Transcription)
        assert (result.timings.decode_ms, results.outcomes[name].run_s) == (3000.0, 3.0)
    assert results.outcomes["final"].queue_s == 3.0
    assert scheduler.stop(WAIT)


def test_a_partial_that_has_not_begun_is_overtaken() -> None:
    engine, results = Engine(), Results()
    scheduler = Scheduler(engine)  # not started: nothing begins
    submit(scheduler, results, "partial", Priority.PARTIAL)
    job = submit(scheduler, results, "final")
    assert job.ahead == 0
    assert isinstance(results["partial"], Cancelled)
    assert scheduler.progress().waiting == 1


def test_a_worker_at_rest_does_each_thing_once_after_its_jobs_and_in_order(engine: Engine) -> None:
    done: queue.Queue[tuple[str, object]] = queue.Queue()
    rests = (Rest(0.05, lambda of: done.put(("pause", of))), Rest(0.15, lambda of: done.put(("rest", of))))
    scheduler, results = Scheduler(engine, at_rest=rests), Results()
    scheduler.start()
    with pytest.raises(queue.Empty):
        done.get(timeout=0.3)  # there was no job to rest from
    for name in ("first", "second"):
        engine.go.release()
        submit(scheduler, results, name)
        assert isinstance(results[name], Transcription)
        assert [done.get(timeout=WAIT), done.get(timeout=WAIT)] == [("pause", engine), ("rest", engine)]
        with pytest.raises(queue.Empty):
            done.get(timeout=0.3)  # it was done already
    assert scheduler.stop(WAIT)


def test_a_job_begins_the_rest_anew(engine: Engine) -> None:
    done: queue.Queue[str] = queue.Queue()
    rests = (Rest(0.05, lambda of: done.put("pause")), Rest(60.0, lambda of: done.put("rest")))
    scheduler, results = Scheduler(engine, at_rest=rests), Results()
    scheduler.start()
    for name in ("first", "second"):
        engine.go.release()
        submit(scheduler, results, name)
        assert isinstance(results[name], Transcription)
        assert done.get(timeout=WAIT) == "pause"
    assert scheduler.stop(WAIT)  # a worker that waits for its rest ends at once
    assert done.empty()
