"""Reload on SIGHUP: read the configuration again, make what it asks for beside what runs, and swap.

Nothing that runs is touched until the new is known to work: the file is parsed, every file of the model is
checked, the model is loaded and warmed up, all in a thread of its own while the daemon serves. Then the scheduler
takes the new engine for its next job; the running one is finished by the old. Where any of that fails, the old
stays, and the journal and `status` say why.

Two models are in memory for a moment. Whether the second fits is asked before it is loaded (`headroom`): a daemon
that is killed for it would be worse than one that declines. A restart needs room for one only.
"""

from __future__ import annotations

import asyncio
import dataclasses
import logging
import threading
import weakref
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NoReturn, Protocol, TypeVar

from . import headroom, memory
from .errors import NoRoom, WhisperdError

if TYPE_CHECKING:
    from .config import Config, ModelConfig
    from .scheduler import Scheduler
    from .server import Server
    from .speech.bundle import Manifest
    from .speech.types import Engine
    from .systemd import Notifier

log = logging.getLogger("whisperd.reload")

T = TypeVar("T")

ENGINE_BYTES = 64 << 20
"""What a model takes beside its files: tensors of a 30 s window, and what is gone once it is loaded."""

FILES_FACTOR = 1.6
"""Memory that loading takes over the size of the files: weights are packed anew for the CPU's kernels. Measured
(peak, with the warm-up): base 132 MB of 80 MB of files, in float32 499 MB of 282 MB."""

LET_GO_SECONDS = 60.0
"""How long the old engine is waited for, to give its memory back; it is let go of in any case."""

LET_GO_PAUSE = 0.25


@dataclass(frozen=True)
class Running:
    """What the daemon runs on."""

    settings: Config
    manifest: Manifest


class Maker(Protocol):
    """How a configuration becomes an engine: what the daemon does at its start as well. Called in a thread."""

    @property
    def running(self) -> Running:
        """What the daemon was started with."""

    @property
    def read(self) -> Callable[[], Config]:
        """Gives the configuration as it is now, or raises ConfigError."""

    def check(self, model: ModelConfig) -> Manifest:
        """Check every file of the bundle; raises BundleError or ConfigError."""

    def load(self, settings: Config) -> Engine:
        """A warm engine; raises BundleError."""


@dataclass(frozen=True)
class _Prepared:
    running: Running
    engine: Engine | None  # None where the one that runs is the right one


class Reloader:
    """Does what SIGHUP asks for, one after the other.

    Args:
        maker: tells what runs, and makes what is to run next.
        on_settings: told of the new settings after the swap.
        available: bytes that a second model may take, or None where nobody knows.
    """

    def __init__(
        self,
        maker: Maker,
        server: Server,
        scheduler: Scheduler,
        notifier: Notifier,
        *,
        on_settings: Callable[[Config], object] = lambda settings: None,
        available: Callable[[], int | None] = headroom.available,
    ) -> None:
        self._running = maker.running
        self._maker = maker
        self._server = server
        self._scheduler = scheduler
        self._notifier = notifier
        self._on_settings = on_settings
        self._available = available
        self._wanted = asyncio.Event()
        self._busy = False
        self._stopped = False
        self._error = ""
        self._old: weakref.ref[Engine] | None = None
        self._tell()

    @property
    def busy(self) -> bool:
        """Whether a thread is making an engine: it cannot be interrupted."""
        return self._busy

    @property
    def error(self) -> str:
        """Why the last reload was refused, or "" where it was not."""
        return self._error

    def request(self) -> None:
        """Reload soon. Requests that come meanwhile become one more reload: the files may have changed since."""
        if self._stopped:
            return
        if not self._busy:
            # At once: `systemctl reload` is over when the signal is sent, and whoever looks then is to see it.
            self._notifier.reloading("reloading")
        self._wanted.set()

    def stop(self) -> None:
        """The daemon stops: what is being made is not waited for, and changes nothing any more."""
        self._stopped = True

    async def serve(self, status: Callable[[], str]) -> NoReturn:
        """Do the reloads, for ever; `status` makes the line that systemd is told at the end of each."""
        while True:
            await self._wanted.wait()
            while self._wanted.is_set():
                self._wanted.clear()
                await self._reload()
            if not self._stopped:
                self._notifier.ready(status())
            await self._give_back()

    async def _reload(self) -> None:
        log.info("reloading")
        self._busy = True
        self._tell()
        refused = ""
        try:
            prepared = await _in_thread(self._prepare)
            if not self._stopped:
                self._swap(prepared)
        except WhisperdError as error:
            refused = error.text
        except Exception as error:  # whatever it is, it is no reason to end what works
            log.exception("the reload failed")
            refused = f"{type(error).__name__}: {error}"
        if refused:
            log.error("reload refused, the old configuration and model stay: %s", refused)
        self._busy, self._error = False, refused
        self._tell()

    def _tell(self) -> None:
        self._server.reload_state = {"reloading": self._busy, "reload_error": self._error}

    async def _give_back(self) -> None:
        """Once nothing runs on the old engine any more, give its memory back to the system.

        The next reload waits for that, up to a bound: otherwise there would be three models.
        """
        for _ in range(int(LET_GO_SECONDS / LET_GO_PAUSE)):
            if self._old is None or self._old() is None:
                break
            await asyncio.sleep(LET_GO_PAUSE)
        memory.trim()

    def _prepare(self) -> _Prepared:
        """In a thread: everything that takes time or may fail."""
        settings = self._maker.read()
        manifest = self._maker.check(settings.model)
        running = Running(settings, manifest)
        if settings.model == self._running.settings.model and manifest == self._running.manifest:
            return _Prepared(running, None)
        memory.trim()  # what the last request has left is kept for the next one, and counts as taken
        need, room = needed(manifest), self._available()
        if room is not None and room < need:
            raise NoRoom(
                f"no room for {manifest.name} beside {self._running.manifest.name}: it takes {_mb(need)},"
                f" {_mb(room)} are left; `systemctl restart whisperd` needs room for one only"
            )
        return _Prepared(running, self._maker.load(settings))

    def _swap(self, prepared: _Prepared) -> None:
        old, self._running = self._running.settings, prepared.running
        new = prepared.running.settings
        self._server.apply(new.limits, new.live.endpoints, new.microphone.device)
        self._scheduler.resize(new.limits.max_queue)
        if prepared.engine is not None:
            self._old = weakref.ref(self._scheduler.replace(prepared.engine))
            info = prepared.engine.info
            log.info("now serving %s (%s), default language %s", info.name, info.precision, info.default_language)
        self._on_settings(new)
        changed = ", ".join(_changed(old, new))
        log.info("reloaded: %s", f"changed {changed}" if changed else "the configuration is the same")
        for key in _changed(old, new):
            if key.startswith(("socket.", "http.")):
                log.warning("%s takes effect at the next start: the daemon goes on listening where it does", key)
            elif key == "live.policy" and prepared.engine is None:
                log.warning("%s takes effect with the next model that is loaded, or the next start", key)


def needed(manifest: Manifest) -> int:
    """Bytes of memory that a second model takes, estimated from the size of its files."""
    return ENGINE_BYTES + int(FILES_FACTOR * sum(size for _, size in manifest.files.values()))


def _changed(old: Config, new: Config) -> Iterator[str]:
    """The options that differ, as `section.name`."""
    for section in dataclasses.fields(old):
        before, after = getattr(old, section.name), getattr(new, section.name)
        for option in dataclasses.fields(before):
            if getattr(before, option.name) != getattr(after, option.name):
                yield f"{section.name}.{option.name}"


def _mb(count: int) -> str:
    return f"{count / 1e6:.0f} MB"


async def _in_thread(call: Callable[[], T]) -> T:
    """Like asyncio.to_thread, but nobody waits for the thread when the daemon ends."""
    loop = asyncio.get_running_loop()
    done: asyncio.Future[T] = loop.create_future()

    def settle(give: Callable[[Any], None], value: Any) -> None:
        if not done.done():
            give(value)

    def run() -> None:
        outcome: tuple[Callable[[Any], None], Any]
        try:
            outcome = (done.set_result, call())
        except BaseException as error:
            outcome = (done.set_exception, error)
        try:
            loop.call_soon_threadsafe(settle, *outcome)
        except RuntimeError:  # the loop is closed: nobody is there any more who would want to know
            log.debug("a reload ended after the daemon's end")

    threading.Thread(target=run, name="reload", daemon=True).start()
    return await done
