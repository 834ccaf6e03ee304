"""The asyncio shell: accepts connections, counts them, and brings them to an end.

scheduler = Scheduler(engine, max_queue=config.limits.max_queue, run_options=onnxruntime.RunOptions)
scheduler.start()
server = Server(scheduler, config.limits)
await server.start(sockets)      # bound AF_UNIX stream sockets, owned from here on
...
await server.stop()              # finishes or answers `shutting-down`, stops the scheduler, closes
"""

from __future__ import annotations

import asyncio
import dataclasses
import logging
import socket
import sys
import time
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Any

from . import listen
from .actions import NO_SPEECH, TRANSCRIBED, Report
from .audio.devices import devices
from .audio.microphone import Microphone
from .clip import Budget
from .connection import Connection, Guest, shutting_down
from .errors import TooManyConnections, WhisperdError
from .live import LiveStream
from .protocol import Mode
from .scheduler import Scheduler
from .session import Session
from .speech.endpoint import Endpointer, EndpointSettings
from .speech.options import Options
from .speech.types import ModelInfo
from .wire import JsonObject

if TYPE_CHECKING:
    from .config import Limits

log = logging.getLogger("whisperd.server")

STUCK_SECONDS = 30.0
"""A worker that shows no sign of life for so long is called stuck: a step takes some seconds on the Pi."""

ABORT_SECONDS = 1.0
"""Of the time for stopping, what is kept for a worker that has to be aborted."""

FLUSH_SECONDS = 1.0
"""For clients to take their last words."""


class Server:
    """Serves any number of listening sockets with one scheduler."""

    def __init__(
        self,
        scheduler: Scheduler,
        limits: Limits,
        *,
        endpoints: EndpointSettings | None = None,
        microphone: str = "default",
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.scheduler = scheduler
        self.limits = limits
        self.clock = clock
        self.budget = Budget(limits.max_buffered_seconds)
        self.observers: list[Callable[[Report], object]] = []  # told of each request's end
        self.mic = Microphone(microphone)
        self._endpoints = endpoints or EndpointSettings()
        self._connections: set[Guest] = set()
        self._listening: list[asyncio.Server] = []
        self._begun = clock()
        self._requests = 0
        self._failed = 0
        self._stopping = False
        self._ended = asyncio.Event()
        self.reload_state: JsonObject = {"reloading": False, "reload_error": ""}

    def apply(self, limits: Limits, endpoints: EndpointSettings, microphone: str) -> None:
        """Take over other settings: connections that are open keep what they were told, as far as it is theirs.

        Another microphone is opened with the next first listener.
        """
        self.limits = limits
        self._endpoints = endpoints
        self.mic.device = microphone
        self.budget.resize(limits.max_buffered_seconds)

    # --- life ---------------------------------------------------------------------------------------------

    async def start(self, sockets: Iterable[socket.socket]) -> None:
        """Begin to accept. The sockets are bound (and may listen already, as systemd's do)."""
        loop = asyncio.get_running_loop()
        await self.listen(sockets, lambda: Connection(self, loop))

    async def listen(self, sockets: Iterable[socket.socket], factory: Callable[[], asyncio.Protocol]) -> None:
        """Accept on more sockets, Unix or TCP, whose connections speak what the factory makes."""
        loop = asyncio.get_running_loop()
        # From 3.13 on asyncio removes the path of a socket that it closes; it is whoever bound it who does that.
        keep: dict[str, Any] = {"cleanup_socket": False} if sys.version_info >= (3, 13) else {}
        for sock in sockets:
            sock.setblocking(False)
            if sock.family == socket.AF_UNIX:
                server = await loop.create_unix_server(factory, sock=sock, backlog=listen.BACKLOG, **keep)
            else:
                server = await loop.create_server(factory, sock=sock, backlog=listen.BACKLOG)
            self._listening.append(server)

    async def stop(self) -> bool:
        """Stop within limits.stop_seconds, and a second for last words.

        Returns:
            Whether the worker's thread has ended.
        """
        self._stopping = True
        for server in self._listening:
            server.close()
        for guest in list(self._connections):
            guest.shutdown()
        loop = asyncio.get_running_loop()
        abort = min(ABORT_SECONDS, self.limits.stop_seconds / 2)
        grace = self.limits.stop_seconds - abort
        ended = await loop.run_in_executor(None, self.scheduler.stop, grace, abort)
        await self.mic.stop()
        await asyncio.sleep(0)  # what the worker delivered last is in the loop's queue
        if self._connections:
            self._ended.clear()
            try:
                await asyncio.wait_for(self._ended.wait(), FLUSH_SECONDS)
            except asyncio.TimeoutError:
                for guest in list(self._connections):
                    guest.abort()
                await asyncio.sleep(0)
        return ended

    # --- what status tells --------------------------------------------------------------------------------

    def status(self) -> JsonObject:
        """What the `status` event and systemd's status line are made of."""
        progress = self.scheduler.progress()
        running = progress.busy_since is not None
        if self._stopping:
            state = "stopping"
        elif self.scheduler.stuck_for(STUCK_SECONDS):
            state = "stuck"
        else:
            state = "busy" if running else "idle"
        return {
            "state": state,
            "model": self.model.name,
            "queue": progress.waiting,
            "running": int(running),
            "connections": len(self._connections),
            "requests": self._requests,
            "failed": self._failed,
            "buffered_seconds": round(self.budget.held_s, 3),
            "listening": self.mic.listeners,
            "microphone_samples": self.mic.samples,
            "microphone_lost": self.mic.lost,
            "uptime_seconds": round(self.clock() - self._begun, 3),
            **self.reload_state,
        }

    # --- session.Service ----------------------------------------------------------------------------------

    @property
    def model(self) -> ModelInfo:
        """The loaded model."""
        return self.scheduler.model

    def check(self, options: Options) -> None:
        """Raise UnknownLanguage or UnknownTask for options that the model cannot serve."""
        self.scheduler.check(options)

    def new_endpointer(self) -> Endpointer:
        """Finds speech with the settings and the network of now."""
        return Endpointer(self._endpoints, self.scheduler.voice)

    @property
    def microphone(self) -> str:
        """ALSA's name of the microphone."""
        return self.mic.device

    def devices(self) -> list[JsonObject]:
        """The capture devices; raises NoMicrophone where ALSA cannot tell."""
        return [dataclasses.asdict(device) for device in devices(self.mic.device)]

    def new_stream(
        self, mode: Mode, vad_sensitivity: str, new_key: Callable[[], int], *, clip: bool
    ) -> LiveStream:
        """A live stream with the settings and the network of now."""
        settings = self._endpoints.with_sensitivity(vad_sensitivity)
        endpointer = Endpointer(settings, self.scheduler.voice)
        longest = None if clip else settings.max_utterance_s
        return LiveStream(endpointer, mode, new_key, longest_s=longest, levels=not clip)

    # --- connection.Host ----------------------------------------------------------------------------------

    def new_session(self) -> Session:
        """A session that shares the daemon's budget."""
        return Session(self, self.limits, self.budget)

    def admit(self, connection: Guest) -> WhisperdError | None:
        """Count a connection in, or say why not."""
        if self._stopping:
            return shutting_down()
        if len(self._connections) >= self.limits.max_connections:
            return TooManyConnections(f"{self.limits.max_connections} connections are open already")
        self._connections.add(connection)
        return None

    def leave(self, connection: Guest) -> None:
        """A connection has ended; one that was not admitted does not count."""
        self._connections.discard(connection)
        if not self._connections:
            self._ended.set()

    def finished(self, report: Report) -> None:
        """Count a request."""
        self._requests += 1
        self._failed += report.outcome not in (TRANSCRIBED, NO_SPEECH)
        for observer in self.observers:
            observer(report)
