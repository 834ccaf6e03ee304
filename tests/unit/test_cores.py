"""How the model's threads wait: by what their cores have been seen to do, and never against a changed bundle."""

from __future__ import annotations

import logging
import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from whisperd.cores import ASLEEP, AWAKE, ENOUGH_SECONDS, HOLD_SECONDS, Considerate, Cores, idle_seconds
from whisperd.errors import BundleError
from whisperd.speech.options import Options
from whisperd.speech.types import Unattended

STAT = """\
cpu  900 0 90 4000 400 0 0 0 0 0
cpu0 100 0 10 1000 100 0 0 0 0 0
cpu1 200 0 20 2000 200 0 0 0 0 0
cpu10 600 0 60 1000 100 0 0 0 0 0
intr 12345
"""


class Machine:
    """Two cores, and the time on them; `free` of them are idle or work for this process."""

    def __init__(self, threads: int = 2) -> None:
        self.now = self.idle = self.used = 0.0
        self.known = True
        self.cores = Cores(
            threads,
            idle=lambda: self.idle if self.known else None,
            clock=lambda: self.now,
            own=lambda: self.used,
        )

    def passes(self, seconds: float, free: float) -> None:
        self.now += seconds
        self.idle += seconds * free / 4
        self.used += seconds * free * 3 / 4

    def works(self, seconds: float, free: float) -> None:
        with self.cores:
            self.passes(seconds, free)


# --- what the kernel tells ------------------------------------------------------------------------------------


def test_only_the_named_cores_count_and_both_kinds_of_idling(tmp_path: Path) -> None:
    stat = tmp_path / "stat"
    stat.write_text(STAT)
    tick = os.sysconf("SC_CLK_TCK")
    assert idle_seconds([0], stat) == 1100 / tick
    assert idle_seconds([0, 1], stat) == 3300 / tick
    assert idle_seconds([10], stat) == 1100 / tick


@pytest.mark.parametrize("text", [None, "cpu0 1 2\n", "cpu0 a b c d e\n"])
def test_nobody_tells(tmp_path: Path, text: str | None) -> None:
    stat = tmp_path / "stat"
    if text is not None:
        stat.write_text(text)
    assert idle_seconds([0], stat) is None


def test_this_kernel_tells_and_its_figure_never_falls() -> None:
    first = idle_seconds(os.sched_getaffinity(0))
    second = idle_seconds(os.sched_getaffinity(0))
    assert first is not None and second is not None and 0 < first <= second


# --- what is wished ---------------------------------------------------------------------------------------------


def test_free_cores_wake_the_threads_and_busy_ones_put_them_to_sleep() -> None:
    machine = Machine()
    machine.works(1.0, free=2.0)
    assert machine.cores.wish(False)
    machine.works(1.0, free=1.0)
    assert not machine.cores.wish(True)


@pytest.mark.parametrize(("awake", "at"), [(False, AWAKE), (True, ASLEEP)])
def test_the_thresholds_and_what_lies_between_them(awake: bool, at: float) -> None:
    for missing, expected in ((at - 0.01, True), (at + 0.01, False)):
        machine = Machine()
        machine.works(1.0, free=2.0 - missing)
        assert machine.cores.wish(awake) is expected


def test_too_little_work_tells_nothing_and_adds_up() -> None:
    machine = Machine()
    machine.works(ENOUGH_SECONDS * 0.6, free=2.0)
    assert not machine.cores.wish(False)
    machine.works(ENOUGH_SECONDS * 0.6, free=2.0)
    assert machine.cores.wish(False)
    assert not machine.cores.wish(False), "what was judged once counts no more"


def test_what_others_do_between_two_requests_does_not_count() -> None:
    machine = Machine()
    machine.works(ENOUGH_SECONDS, free=2.0)
    machine.passes(100.0, free=0.0)
    machine.works(ENOUGH_SECONDS, free=2.0)
    assert machine.cores.wish(False)


def test_work_within_work_is_counted_once() -> None:
    machine = Machine()
    with machine.cores:
        machine.works(ENOUGH_SECONDS * 0.6, free=2.0)
    assert not machine.cores.wish(False)


def test_an_error_ends_the_work_as_well() -> None:
    machine = Machine()
    with pytest.raises(RuntimeError), machine.cores:
        machine.passes(ENOUGH_SECONDS, free=2.0)
        raise RuntimeError
    assert machine.cores.wish(False)


def test_who_was_disturbed_stays_asleep_for_a_while() -> None:
    machine = Machine()
    machine.works(1.0, free=1.0)
    assert not machine.cores.wish(True)
    machine.works(HOLD_SECONDS - 0.1, free=2.0)
    assert not machine.cores.wish(False)
    machine.works(1.0, free=2.0)
    assert machine.cores.wish(False)


@pytest.mark.parametrize("awake", [False, True])
def test_one_thread_waits_for_nobody_and_no_knowledge_changes_nothing(awake: bool) -> None:
    alone = Machine(threads=1)
    alone.works(1.0, free=1.0)
    assert alone.cores.wish(awake) is awake
    blind = Machine()
    blind.known = False
    blind.works(1.0, free=0.0)
    assert blind.cores.wish(awake) is awake


# --- what is done ---------------------------------------------------------------------------------------------


class Engine:
    """Remembers how its threads wait."""

    info: Any = "info"
    voice: Any = "voice"

    def __init__(self, machine: Machine, error: BundleError | None = None) -> None:
        self.machine, self.error = machine, error
        self.awake = False
        self.checked: list[Options] = []

    def check(self, options: Options) -> None:
        self.checked.append(options)

    def transcribe(self, *_: Any) -> str:
        self.machine.passes(1.0, free=2.0)
        return "text"

    def wait_awake(self, awake: bool) -> None:
        if self.error:
            raise self.error
        self.awake = awake


def considerate(machine: Machine, engine: Engine, cores: Cores | None) -> Considerate:
    found: Any = Considerate(engine, cores)  # type: ignore[arg-type]
    assert found.transcribe(np.zeros(1, np.int16), Options(), Unattended()) == "text"
    return found  # type: ignore[no-any-return]


def test_an_engine_that_has_its_cores_to_itself_is_woken_once() -> None:
    machine = Machine()
    engine = Engine(machine)
    seen = considerate(machine, engine, machine.cores)
    assert seen.rest() and engine.awake
    assert not seen.rest()
    assert seen.info is engine.info and seen.voice is engine.voice
    seen.check(Options(language="de"))
    assert engine.checked == [Options(language="de")]


def test_an_engine_that_nobody_watches_stays_as_it_is() -> None:
    machine = Machine()
    engine = Engine(machine)
    assert not considerate(machine, engine, None).rest()
    assert not engine.awake


def test_a_bundle_that_is_being_replaced_is_said_and_served_on(caplog: pytest.LogCaptureFixture) -> None:
    machine = Machine()
    engine = Engine(machine, BundleError("the files of /m have changed since they were loaded"))
    with caplog.at_level(logging.WARNING, "whisperd.cores"):
        assert not considerate(machine, engine, machine.cores).rest()
    assert "/m have changed" in caplog.text
    assert not engine.awake
