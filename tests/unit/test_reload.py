"""Reloading, with engines that are made in no time, or never, or fail."""

from __future__ import annotations

import asyncio
import gc
import logging
import threading
import weakref
from collections.abc import Awaitable, Callable, Iterator
from dataclasses import dataclass, field, replace
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from fake_daemon import FakeEngine
from whisperd import memory, reload
from whisperd.config import Config, Limits, LogConfig, ModelConfig, SocketConfig
from whisperd.errors import BundleError, ConfigError, WhisperdError
from whisperd.protocol import Outcome, Priority
from whisperd.reload import Reloader, Running, needed
from whisperd.scheduler import Scheduler
from whisperd.server import Server
from whisperd.speech.options import Options

WAIT_SECONDS = 20.0
PCM = np.zeros(160, np.int16)
OLD, NEW = Config(), Config(model=ModelConfig(language="de"), limits=Limits(max_queue=1, max_connections=2))


def manifest(name: str, size: int = 80_000_000) -> Any:
    return SimpleNamespace(name=name, files={"encoder.data": ("", size)})


def engine(name: str) -> FakeEngine:
    return FakeEngine(text=name, info=replace(FakeEngine.info, name=name))


@dataclass
class Maker:
    """Gives what the test has laid out for it."""

    running: Any = field(default_factory=lambda: Running(OLD, manifest("old")))
    settings: Config = NEW
    bundle: Any = field(default_factory=lambda: manifest("new"))
    error: dict[str, BaseException] = field(default_factory=dict)
    go: threading.Event = field(default_factory=threading.Event)
    loading: threading.Event = field(default_factory=threading.Event)
    loads: int = 0
    reads: int = 0

    def __post_init__(self) -> None:
        self.go.set()

    def read(self) -> Config:
        self.reads += 1
        self._fail("read")
        return self.settings

    def check(self, model: ModelConfig) -> Any:
        self._fail("check")
        return self.bundle

    def load(self, model: ModelConfig) -> FakeEngine:
        self.loads += 1
        self.loading.set()
        assert self.go.wait(WAIT_SECONDS)
        self._fail("load")
        return engine("new")

    def _fail(self, where: str) -> None:
        if where in self.error:
            raise self.error[where]


class Told:
    """In systemd's place."""

    def __init__(self) -> None:
        self.said: list[str] = []

    def reloading(self, status: str) -> None:
        self.said.append("reloading")

    def ready(self, status: str) -> None:
        self.said.append(f"ready {status}")


class Story:
    """A server, its scheduler and the reloader, on the loop of the test."""

    def __init__(self, maker: Maker, room: int | None = None) -> None:
        self.maker = maker
        self.told = Told()
        self.applied: list[Config] = []
        self.outcomes: list[Outcome] = []
        self.scheduler = Scheduler(engine("old"))
        self.scheduler.start()
        self.server = Server(self.scheduler, OLD.limits)
        self.reloader = Reloader(
            maker,
            self.server,
            self.scheduler,
            self.told,  # type: ignore[arg-type]
            on_settings=self.applied.append,
            available=lambda: room,
        )

    def status(self) -> str:
        return str(self.server.status()["reload_error"])

    async def reload(self) -> None:
        """Ask for one and wait for its end."""
        before = len(self.told.said)
        self.reloader.request()
        await until(lambda: any(said.startswith("ready") for said in self.told.said[before:]))

    async def transcribe(self) -> str:
        return heard(await self.submit())

    async def submit(self) -> Outcome:
        outcomes: list[Outcome] = []
        self.scheduler.submit(PCM, Options(), Priority.FINAL, outcomes.append)
        await until(lambda: bool(outcomes))
        return outcomes[0]


def heard(outcome: Outcome) -> str:
    assert not isinstance(outcome.result, WhisperdError)
    return outcome.result.text


async def until(happened: Callable[[], bool]) -> None:
    async def poll() -> None:
        while not happened():
            await asyncio.sleep(0.005)

    await asyncio.wait_for(poll(), WAIT_SECONDS)


def play(tell: Callable[[Story], Awaitable[None]], maker: Maker | None = None, room: int | None = None) -> Story:
    async def run() -> Story:
        story = Story(maker or Maker(), room)
        serving = asyncio.create_task(story.reloader.serve(story.status))
        try:
            await tell(story)
            assert not serving.done(), "one reload must not end the next"
        finally:
            serving.cancel()
            story.maker.go.set()
            assert story.scheduler.stop(WAIT_SECONDS)
        return story

    return asyncio.run(run())


@pytest.fixture(autouse=True)
def trims(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[None]]:
    """How often memory was given back. The waits for an engine to be let go of are short here."""
    calls: list[None] = []
    monkeypatch.setattr(memory, "trim", lambda: calls.append(None))
    monkeypatch.setattr(reload, "LET_GO_PAUSE", 0.01)
    yield calls


def test_the_new_serves_and_the_old_is_let_go_of(trims: list[None]) -> None:
    async def tell(story: Story) -> None:
        old = weakref.ref(story.scheduler._engine)
        assert await story.transcribe() == "old"
        await story.reload()
        assert await story.transcribe() == "new"
        await until(lambda: len(trims) == 2)  # before the room is measured, and when the old one is gone
        gc.collect()
        assert old() is None
        assert story.server.status()["model"] == "new"
        assert story.server.limits == NEW.limits

    story = play(tell)
    assert story.told.said == ["reloading", "ready "]
    assert story.applied == [NEW]


def test_the_running_job_is_finished_by_the_old_and_the_waiting_one_by_the_new() -> None:
    async def tell(story: Story) -> None:
        old: Any = story.scheduler._engine
        old.hold.clear()
        running: list[Outcome] = []
        waiting: list[Outcome] = []
        story.scheduler.submit(PCM, Options(), Priority.FINAL, running.append)
        story.scheduler.submit(PCM, Options(), Priority.FINAL, waiting.append)
        await until(old.running.is_set)
        await story.reload()
        assert not running and story.server.status()["model"] == "new"
        old.hold.set()
        await until(lambda: bool(running and waiting))
        assert (heard(running[0]), heard(waiting[0])) == ("old", "new")

    play(tell)


@pytest.mark.parametrize(
    ("where", "error", "said"),
    [
        ("read", ConfigError("whisperd.toml: unknown key"), "whisperd.toml: unknown key"),
        ("check", BundleError("encoder.data was changed"), "encoder.data was changed"),
        ("load", BundleError("cannot load"), "cannot load"),
        ("load", MemoryError(), "MemoryError: "),
        ("load", RuntimeError("of the run-time"), "RuntimeError: of the run-time"),
    ],
)
def test_what_fails_changes_nothing(
    where: str, error: BaseException, said: str, caplog: pytest.LogCaptureFixture
) -> None:
    maker = Maker(error={where: error})

    async def tell(story: Story) -> None:
        await story.reload()
        assert await story.transcribe() == "old"
        assert story.server.status()["model"] == "old"
        assert story.server.status()["reload_error"] == said
        assert story.server.limits == OLD.limits
        # The next good one clears it.
        maker.error.clear()
        await story.reload()
        assert await story.transcribe() == "new"
        assert story.server.status()["reload_error"] == ""

    with caplog.at_level(logging.ERROR):
        story = play(tell, maker)
    assert story.told.said == ["reloading", f"ready {said}", "reloading", "ready "]
    assert f"reload refused, the old configuration and model stay: {said}" in caplog.text
    assert maker.loads == (2 if where == "load" else 1)


def test_where_two_do_not_fit_the_second_is_not_loaded() -> None:
    need = needed(manifest("new"))
    maker = Maker()

    async def tell(story: Story) -> None:
        await story.reload()
        assert await story.transcribe() == "old"
        assert "no room for new beside old: it takes 195 MB, 195 MB are left" in story.status()

    play(tell, maker, room=need - 1)
    assert maker.loads == 0

    async def fits(story: Story) -> None:
        await story.reload()
        assert await story.transcribe() == "new"

    play(fits, Maker(), room=need)


def test_what_the_last_request_has_left_is_room(trims: list[None]) -> None:
    need = needed(manifest("new"))

    async def tell(story: Story) -> None:
        story.reloader._available = lambda: need if trims else 0
        await story.reload()
        assert await story.transcribe() == "new"

    play(tell)


def test_the_same_model_is_not_loaded_again_and_needs_no_room() -> None:
    running = Running(OLD, manifest("old"))
    maker = Maker(running, settings=replace(OLD, limits=NEW.limits), bundle=manifest("old"))

    async def tell(story: Story) -> None:
        await story.reload()
        assert await story.transcribe() == "old"
        assert story.server.limits.max_connections == 2
        assert story.scheduler._max_queue == 1

    play(tell, maker, room=0)
    assert maker.loads == 0


def test_a_changed_bundle_in_the_same_folder_is_loaded() -> None:
    maker = Maker(settings=OLD, bundle=manifest("old", size=81_000_000))

    async def tell(story: Story) -> None:
        await story.reload()
        assert await story.transcribe() == "new"

    play(tell, maker)


def test_it_serves_while_it_loads_and_signals_meanwhile_make_one_more() -> None:
    maker = Maker()
    maker.go.clear()

    async def tell(story: Story) -> None:
        story.reloader.request()
        await until(maker.loading.is_set)
        assert story.server.status()["reloading"] and story.reloader.busy
        assert await story.transcribe() == "old"
        for _ in range(5):
            story.reloader.request()
        maker.go.set()
        await until(lambda: story.told.said[-1].startswith("ready"))
        assert not story.server.status()["reloading"]

    story = play(tell, maker)
    assert maker.reads == 2
    assert story.told.said == ["reloading", "ready "]


def test_a_stop_while_it_loads() -> None:
    maker = Maker()
    maker.go.clear()

    async def tell(story: Story) -> None:
        story.reloader.request()
        await until(maker.loading.is_set)
        story.reloader.stop()
        assert story.reloader.busy
        maker.go.set()
        await until(lambda: not story.reloader.busy)
        assert story.server.status()["model"] == "old"
        story.reloader.request()
        await asyncio.sleep(0.05)

    story = play(tell, maker)
    assert story.told.said == ["reloading"]
    assert story.applied == [] and maker.reads == 1


def test_what_changed_is_in_the_log(caplog: pytest.LogCaptureFixture) -> None:
    settings = Config(log=LogConfig(level="debug"), socket=SocketConfig(group=None))

    async def tell(story: Story) -> None:
        await story.reload()

    with caplog.at_level(logging.INFO):
        play(tell, Maker(settings=settings))
    assert "reloaded: changed socket.group, log.level" in caplog.text
    assert "socket.group takes effect at the next start" in caplog.text
