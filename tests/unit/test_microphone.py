"""The microphone that several share, with a device that is made up: who hears what, and what if it vanishes."""

from __future__ import annotations

import asyncio
import logging
import queue
import threading
import time
from collections.abc import Awaitable, Callable
from typing import Any

import numpy as np
import pytest
from whisperd.audio import microphone as hub
from whisperd.audio import reader
from whisperd.audio.capture import DeviceLost
from whisperd.audio.microphone import BACK_OFF, Microphone, back_off
from whisperd.errors import NoMicrophone

WAIT_SECONDS = 20.0
"""For what happens at once; only a failure takes so long."""


class Card:
    """A device that one program at a time can open, and that gives what `say` is told."""

    def __init__(self) -> None:
        self.here = True
        self.refusal = "No such device"
        self.opens = 0
        self.opened = 0
        """How many have it open now: more than one at a time is refused, as by hardware."""
        self.opening = threading.Event()
        self.may_open = threading.Event()
        self.may_open.set()
        self.may_read = threading.Event()
        self.may_read.set()
        self._said: queue.SimpleQueue[Any] = queue.SimpleQueue()

    def open(self, device: str) -> Card:
        assert device == "mic" and threading.current_thread() is not threading.main_thread()
        self.opens += 1
        self.opening.set()
        assert self.may_open.wait(WAIT_SECONDS)
        if not self.here:
            raise NoMicrophone(f"cannot open the microphone {device!r}: {self.refusal}")
        if self.opened:
            raise NoMicrophone("Device or resource busy")
        self.opened += 1
        return self

    def read(self) -> tuple[Any, int]:
        assert self.may_read.wait(WAIT_SECONDS)
        try:
            said = self._said.get(timeout=0.01)
        except queue.Empty:
            return np.zeros(0, np.int16), 0
        if isinstance(said, Exception):
            raise said
        return said

    def close(self) -> None:
        self.opened -= 1

    def say(self, *values: int, lost: int = 0) -> None:
        """A block with each of the values 320 times."""
        for value in values:
            self._said.put((np.full(320, value, np.int16), lost))

    def vanish(self, text: str = "No such device") -> None:
        self.here = False
        self._said.put(DeviceLost(text))


class Ear:
    """A listener that keeps the first sample of each block, and the events in their order among them."""

    def __init__(self, then: Callable[[Ear], None] | None = None) -> None:
        self.heard_all: list[Any] = []
        self.blocks: list[Any] = []
        self.lost = 0
        self._then = then

    def heard(self, pcm: Any, lost: int) -> None:
        assert threading.current_thread() is threading.main_thread()
        self.blocks.append(pcm)
        self.heard_all.append(int(pcm[0]))
        self.lost += lost
        if self._then:
            self._then(self)

    def microphone_lost(self, text: str, retry_seconds: float) -> None:
        self.heard_all.append((text, retry_seconds))

    def microphone_restored(self) -> None:
        self.heard_all.append("restored")


async def until(condition: Callable[[], Any]) -> None:
    async def poll() -> None:
        while not condition():
            await asyncio.sleep(0.002)

    await asyncio.wait_for(poll(), WAIT_SECONDS)


def story(tell: Callable[[Card, Microphone], Awaitable[None]]) -> Card:
    """Run a test's coroutine with a card and its microphone; at the end the card must be closed."""

    async def run() -> Card:
        card = Card()
        microphone = Microphone("mic", card.open)
        try:
            await tell(card, microphone)
        finally:
            card.may_open.set()
            card.may_read.set()
            await microphone.stop()
        await until(lambda: card.opened == 0)
        return card

    return asyncio.run(run())


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """The same tries, without the waits."""
    monkeypatch.setattr(hub, "BACK_OFF", (0.001, 0.002, 0.003))


# --- who hears ------------------------------------------------------------------------------------------------


def test_open_while_somebody_listens() -> None:
    async def tell(card: Card, microphone: Microphone) -> None:
        first, second = Ear(), Ear()
        assert card.opens == 0
        await microphone.join(first)
        await microphone.join(second)
        assert (card.opens, card.opened) == (1, 1)
        microphone.leave(first)
        card.say(1)
        await until(lambda: second.heard_all == [1])
        assert card.opened == 1
        microphone.leave(second)
        await until(lambda: card.opened == 0)
        assert not [t for t in threading.enumerate() if t.name == "microphone" and not t.daemon]

    story(tell)


def test_all_hear_the_same_in_the_same_order() -> None:
    async def tell(card: Card, microphone: Microphone) -> None:
        ears = [Ear(), Ear(), Ear()]
        for ear in ears:
            await microphone.join(ear)
        card.say(*range(100))
        await until(lambda: len(ears[-1].blocks) == 100)
        for ear in ears:
            assert ear.heard_all == list(range(100))
            assert all(mine is theirs for mine, theirs in zip(ear.blocks, ears[0].blocks, strict=True))
        with pytest.raises(ValueError, match="read-only"):
            ears[0].blocks[0][0] = 1
        assert microphone.samples == 32_000 and microphone.lost == 0

    story(tell)


def test_one_leaving_disturbs_nobody() -> None:
    async def tell(card: Card, microphone: Microphone) -> None:
        stays = Ear()
        leaves = Ear(lambda ear: microphone.leave(ear) if len(ear.blocks) == 3 else None)
        await microphone.join(leaves)
        await microphone.join(stays)
        card.say(*range(50))
        await until(lambda: len(stays.blocks) == 50)
        assert stays.heard_all == list(range(50)) and leaves.heard_all == [0, 1, 2]
        assert card.opens == 1

    story(tell)


def test_who_is_made_to_leave_by_another_hears_no_more() -> None:
    async def tell(card: Card, microphone: Microphone) -> None:
        victim = Ear()
        await microphone.join(Ear(lambda _: microphone.leave(victim)))
        await microphone.join(victim)
        ear = Ear()
        await microphone.join(ear)
        card.say(1)
        await until(lambda: ear.blocks)
        assert victim.heard_all == []

    story(tell)


def test_a_listener_that_fails_makes_nobody_deaf(caplog: pytest.LogCaptureFixture) -> None:
    def fail(ear: Ear) -> None:
        raise ZeroDivisionError("my own")

    async def tell(card: Card, microphone: Microphone) -> None:
        ear = Ear()
        await microphone.join(Ear(fail))
        await microphone.join(ear)
        card.say(1, 2)
        await until(lambda: ear.heard_all == [1, 2])

    story(tell)
    assert "a listener failed" in caplog.text and "my own" in caplog.text


def test_joining_twice_is_a_mistake_and_leaving_twice_is_none() -> None:
    async def tell(card: Card, microphone: Microphone) -> None:
        ear = Ear()
        microphone.leave(ear)
        await microphone.join(ear)
        with pytest.raises(ValueError, match="joined already"):
            await microphone.join(ear)
        microphone.leave(ear)
        microphone.leave(ear)
        assert card.opens == 1

    story(tell)


def test_leaving_and_joining_at_once() -> None:
    """Barge-in. The device is given back before it is opened again, since it would be busy."""

    async def tell(card: Card, microphone: Microphone) -> None:
        for n in range(20):
            ear = Ear()
            await microphone.join(ear)
            card.say(n)
            await until(lambda ear=ear, n=n: ear.heard_all == [n])  # type: ignore[misc]
            microphone.leave(ear)
        assert card.opens == 20

    story(tell)


def test_the_first_hears_all_from_the_opening_on() -> None:
    async def tell(card: Card, microphone: Microphone) -> None:
        ear = Ear()
        card.say(*range(10))
        await microphone.join(ear)
        await until(lambda: len(ear.blocks) == 10)
        assert ear.heard_all == list(range(10))

    story(tell)


# --- opening --------------------------------------------------------------------------------------------------


def test_a_device_that_is_not_there(caplog: pytest.LogCaptureFixture) -> None:
    async def tell(card: Card, microphone: Microphone) -> None:
        card.here = False
        ear = Ear()
        for _ in range(2):
            with pytest.raises(NoMicrophone, match="cannot open the microphone 'mic': No such device"):
                await microphone.join(ear)
        card.here = True
        await microphone.join(ear)
        card.say(1)
        await until(lambda: ear.heard_all == [1])

    assert story(tell).opens == 3
    assert "Traceback" not in caplog.text


def test_a_defect_of_opening_is_an_answer_too() -> None:
    async def run() -> None:
        def fail(device: str) -> Any:
            raise ZeroDivisionError("inside")

        with pytest.raises(NoMicrophone, match="inside"):
            await Microphone("mic", fail).join(Ear())

    asyncio.run(run())


def test_the_event_loop_goes_on_while_the_device_opens() -> None:
    async def tell(card: Card, microphone: Microphone) -> None:
        card.may_open.clear()
        ears = [Ear(), Ear()]
        joining = [asyncio.create_task(microphone.join(ear)) for ear in ears]
        await until(card.opening.is_set)
        for _ in range(100):
            await asyncio.sleep(0)
        assert not any(task.done() for task in joining)
        card.may_open.set()
        await asyncio.gather(*joining)
        assert card.opens == 1
        card.say(5)
        await until(lambda: all(ear.heard_all == [5] for ear in ears))

    story(tell)


def test_a_device_that_does_not_come_open(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reader, "OPEN_SECONDS", 0.05)
    monkeypatch.setattr(hub, "CLOSE_SECONDS", 0.05)

    async def tell(card: Card, microphone: Microphone) -> None:
        card.may_open.clear()
        with pytest.raises(NoMicrophone, match="not open after"):
            await microphone.join(Ear())
        # One thread hangs, and no second is sent after it.
        with pytest.raises(NoMicrophone, match="hangs"):
            await microphone.join(Ear())
        assert card.opens == 1
        card.may_open.set()
        await until(lambda: card.opened == 0)
        await microphone.join(Ear())
        assert card.opens == 2

    story(tell)


def test_a_client_that_goes_while_the_device_opens() -> None:
    async def tell(card: Card, microphone: Microphone) -> None:
        card.may_open.clear()
        ear = Ear()
        joining = asyncio.create_task(microphone.join(ear))
        await until(card.opening.is_set)
        joining.cancel()
        await asyncio.wait((joining,))
        assert joining.cancelled()
        card.say(1)
        card.may_open.set()
        await until(lambda: card.opened == 0)
        assert ear.heard_all == []

    story(tell)


def test_stopping_while_the_device_opens() -> None:
    async def tell(card: Card, microphone: Microphone) -> None:
        card.may_open.clear()
        ear = Ear()
        joining = asyncio.create_task(microphone.join(ear))
        await until(card.opening.is_set)
        stopping = asyncio.create_task(microphone.stop())
        with pytest.raises(NoMicrophone, match="closed while it was being opened"):
            await joining
        card.may_open.set()
        await stopping
        assert card.opened == 0
        with pytest.raises(NoMicrophone, match="stopping"):
            await microphone.join(ear)

    story(tell)


def test_stop_closes_the_device_and_lets_nobody_hear() -> None:
    async def tell(card: Card, microphone: Microphone) -> None:
        ear = Ear()
        await microphone.join(ear)
        await microphone.stop()
        assert card.opened == 0
        card.say(1)
        await asyncio.sleep(0.05)
        assert ear.heard_all == []
        await microphone.stop()

    story(tell)


# --- vanishing ------------------------------------------------------------------------------------------------


@pytest.mark.usefixtures("quick")
def test_it_vanishes_and_returns(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)

    async def tell(card: Card, microphone: Microphone) -> None:
        ears = [Ear(), Ear()]
        for ear in ears:
            await microphone.join(ear)
        card.say(1, 2)
        card.vanish("Input/output error")
        await until(lambda: card.opens >= 8)
        with pytest.raises(NoMicrophone, match="'mic' has vanished: Input/output error"):
            await microphone.join(Ear())
        card.here = True
        card.say(3)
        await until(lambda: ears[-1].heard_all[-1] == 3)
        told = ("the microphone 'mic' is lost: Input/output error", 0.001)
        for ear in ears:
            assert ear.heard_all == [1, 2, told, "restored", 3]
        await microphone.join(Ear())

    story(tell)
    said = [record.getMessage() for record in caplog.records if record.name.startswith("whisperd")]
    assert said == [
        "microphone mic is open: no details",
        "microphone mic is lost: Input/output error; trying until it opens",
        "microphone mic is open: no details",
        "microphone mic is closed",
    ]


def test_the_waits_before_each_try() -> None:
    delays = back_off()
    assert [next(delays) for _ in range(9)] == [0.25, 0.5, 1.0, 2.0, 4.0, 5.0, 5.0, 5.0, 5.0]
    assert len(BACK_OFF) == 6


def test_the_tries_wait_for_that_long(monkeypatch: pytest.MonkeyPatch) -> None:
    slept: list[float] = []
    really = asyncio.sleep

    async def sleep(seconds: float) -> None:
        slept.append(seconds)
        await really(0)

    async def tell(card: Card, microphone: Microphone) -> None:
        ear = Ear()
        await microphone.join(ear)
        monkeypatch.setattr(hub.asyncio, "sleep", sleep)
        card.vanish()
        while card.opens < 9:
            await really(0.001)
        monkeypatch.setattr(hub.asyncio, "sleep", really)
        assert ear.heard_all[0][1] == 0.25
        assert slept[:8] == [0.25, 0.5, 1.0, 2.0, 4.0, 5.0, 5.0, 5.0]

    story(tell)


def test_a_device_that_comes_and_goes_is_tried_less_and_less(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(hub, "BACK_OFF", (0.001, 0.002, 0.004))

    async def tell(card: Card, microphone: Microphone) -> None:
        ear = Ear()
        await microphone.join(ear)
        for _ in range(4):
            seen = len(ear.heard_all)
            card.vanish()
            card.here = True
            await until(lambda seen=seen: len(ear.heard_all) == seen + 2)  # type: ignore[misc]
        assert [said[1] for said in ear.heard_all[::2]] == [0.001, 0.002, 0.004, 0.004]
        # One that was steady for a while begins anew.
        monkeypatch.setattr(hub, "STEADY_SECONDS", 0.0)
        card.vanish()
        card.here = True
        await until(lambda: len(ear.heard_all) == 10)
        assert ear.heard_all[-2][1] == 0.001

    story(tell)


@pytest.mark.usefixtures("quick")
def test_nobody_listens_any_more_and_the_search_ends() -> None:
    async def tell(card: Card, microphone: Microphone) -> None:
        ear = Ear()
        await microphone.join(ear)
        card.vanish()
        await until(lambda: card.opens >= 4)
        microphone.leave(ear)
        await until(lambda: card.opened == 0)
        opens = card.opens
        await asyncio.sleep(0.1)
        assert card.opens <= opens + 1, "one may have been on its way"
        card.here = True
        await microphone.join(ear)
        card.say(4)
        await until(lambda: ear.heard_all[-1] == 4)
        assert "restored" not in ear.heard_all

    story(tell)


@pytest.mark.usefixtures("quick")
def test_a_read_that_does_not_come_back(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reader, "STUCK_SECONDS", 0.1)
    monkeypatch.setattr(hub, "CLOSE_SECONDS", 0.02)

    async def tell(card: Card, microphone: Microphone) -> None:
        ear = Ear()
        await microphone.join(ear)
        card.may_read.clear()
        await until(lambda: ear.heard_all)
        assert "a read has not come back" in ear.heard_all[0][0]
        await asyncio.sleep(0.2)
        assert card.opens == 1, "no thread is sent after one that hangs"
        card.may_read.set()
        await until(lambda: ear.heard_all[-1] == "restored")
        card.say(6)
        await until(lambda: ear.heard_all[-1] == 6)

    story(tell)


def test_a_defect_of_reading_is_a_loss() -> None:
    async def tell(card: Card, microphone: Microphone) -> None:
        ear = Ear()
        await microphone.join(ear)
        card._said.put(ZeroDivisionError("inside"))
        await until(lambda: ear.heard_all)
        assert "inside" in ear.heard_all[0][0]

    story(tell)


# --- losses ---------------------------------------------------------------------------------------------------


def test_what_the_device_lost_is_told_with_what_follows(caplog: pytest.LogCaptureFixture) -> None:
    async def tell(card: Card, microphone: Microphone) -> None:
        ear = Ear()
        await microphone.join(ear)
        card.say(1)
        card.say(2, lost=8000)
        card._said.put((np.zeros(0, np.int16), 500))  # nothing to tell it with yet
        card.say(3)
        card.say(4, lost=100)
        await until(lambda: len(ear.blocks) == 4)
        assert ear.lost == 8600 and microphone.lost == 8600
        assert all(block.size == 320 for block in ear.blocks)

    story(tell)
    assert caplog.text.count("were lost") == 1


def test_an_event_loop_that_is_late_costs_memory_up_to_a_bound_and_no_sample_uncounted() -> None:
    async def tell(card: Card, microphone: Microphone) -> None:
        ear = Ear()
        await microphone.join(ear)
        seconds = 10
        card.say(*range(50 * seconds))
        while not card._said.empty():  # the event loop is late, and the thread goes on
            time.sleep(0.01)
        await until(lambda: len(ear.blocks) >= 50 * reader.HELD_SECONDS)
        card.say(1000)
        await until(lambda: ear.heard_all and ear.heard_all[-1] == 1000)
        got = sum(block.size for block in ear.blocks)
        assert got + ear.lost == 16_000 * seconds + 320
        held = round(reader.HELD_SECONDS * 50)
        assert ear.heard_all[:held] == list(range(held)), "what is held is what came first, whole"
        assert held * 320 <= got < 16_000 * seconds

    story(tell)
