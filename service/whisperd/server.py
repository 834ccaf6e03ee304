"""The server: listening sockets, the connections they bring, and what all of those share.

    scheduler = Scheduler(engine, max_queue=limits.max_queue, run_options=onnxruntime.RunOptions)
    scheduler.start()
    server = Server(scheduler, limits)
    await server.start(sockets)
    ...
    await server.stop()
"""

from __future__ import annotations

import asyncio
import logging
import socket
from collections import Counter
from collections.abc import Iterable
from typing import TYPE_CHECKING, Final

from . import __version__
from .actions import TRANSCRIBED, Report
from .clip import Budget
from .connection import Connection, Peer
from .errors import Cancelled, TooManyConnections, WhisperdError
from .scheduler import Scheduler
from .session import Session
from .speech.types import ModelInfo, Options, Transcription
from .wire import JsonObject

if TYPE_CHECKING:
    from .config import Limits

log = logging.getLogger(__name__)

BACKLOG: Final = 512
"""Connections that the kernel holds until they are accepted; the kernel's own bound is net.core.somaxconn."""

READ_BYTES: Final = 64 * 1024
"""One read: the largest payload in two, and no more than a client can make the daemon handle in one go."""

MAX_REFUSED: Final = 256
"""Connections over the limit that are told so at a time; more than these are closed without a word."""

STUCK_SECONDS: Final = 30.0
"""`status` calls a worker stuck that shows no sign of life for this long. The longest step, an encoder run over
30 s of audio, takes a tenth of it on the target."""


class Server:
    """Serves any number of listening sockets with one scheduler, which it stops when it stops."""

    def __init__(self, scheduler: Scheduler, limits: Limits) -> None:
        self.scheduler = scheduler
        self.limits = limits
        self.read_buffer = memoryview(bytearray(READ_BYTES))
        self._budget = Budget(limits.max_buffered_seconds)
        self._servers: list[asyncio.AbstractServer] = []
        self._connections: set[Connection] = set()
        self._refused: set[Connection] = set()
        self._outcomes: Counter[str] = Counter()
        self._stopping = False
        self._started_at = 0.0

    async def start(self, sockets: Iterable[socket.socket]) -> None:
        """Accept connections on bound AF_UNIX stream sockets, which the server closes when it stops."""
        loop = asyncio.get_running_loop()
        self._loop = loop
        self._started_at = loop.time()
        for sock in sockets:
            # Not create_unix_server, which from Python 3.13 on removes the socket's path: it is systemd's, or
            # belongs to whoever bound it.
            self._servers.append(
                await loop.create_server(lambda: Connection(self), sock=sock, backlog=BACKLOG)
            )

    async def stop(self) -> bool:
        """Stop within limits.stop_seconds: no more requests, the running one finished or refused, all closed.

        Returns:
            Whether the worker's thread has ended.
        """
        self._stopping = True
        give_up = self._loop.time() + self.limits.stop_seconds
        for server in self._servers:
            server.close()
        for connection in list(self._connections):
            connection.shutdown()
        # The last part of the time is for a worker that has to be aborted, and for answers on their way out.
        rest = min(1.0, self.limits.stop_seconds / 5)
        ended = await asyncio.to_thread(self.scheduler.stop, self.limits.stop_seconds - rest, rest)
        while (self._connections or self._refused) and self._loop.time() < give_up:
            await asyncio.sleep(0.01)
        for connection in (*self._connections, *self._refused):
            connection.abort()
        await asyncio.sleep(0)  # in which their connection_lost is called
        return ended

    # --- what sessions ask (session.Service) -----------------------------------------------------------------

    @property
    def model(self) -> ModelInfo:
        """The loaded model."""
        return self.scheduler.model

    def check(self, options: Options) -> None:
        """Raise UnknownLanguage or UnknownTask for options that the model cannot serve."""
        self.scheduler.check(options)

    def status(self) -> JsonObject:
        """What the `status` event carries; docs/protocol.md has the fields."""
        progress = self.scheduler.progress()
        running = progress.busy_since is not None
        if self._stopping:
            state = "stopping"
        elif self.scheduler.stuck_for(STUCK_SECONDS):
            state = "stuck"
        else:
            state = "busy" if running or progress.waiting else "idle"
        return {
            "state": state,
            "model": self.model.name,
            "version": __version__,
            "queue": progress.waiting,
            "running": int(running),
            "connections": len(self._connections),
            "buffered_seconds": round(self._budget.held_s, 3),
            "uptime_seconds": round(self._loop.time() - self._started_at, 3),
            "requests": {
                "transcribed": self._outcomes[TRANSCRIBED],
                "cancelled": self._outcomes[Cancelled.code],
                "failed": self._outcomes.total() if hasattr(self._outcomes, "total") else 0,
            },
        }

    # --- what connections ask (connection.Host) --------------------------------------------------------------

    def open_session(self) -> Session:
        """Make the session of a new connection."""
        return Session(self, self.limits, self._budget)

    def admit(self, connection: Connection) -> WhisperdError | None:
        """Take a connection in; returns why it is to be closed again, or None."""
        if len(self._connections) < self.limits.max_connections:
            self._connections.add(connection)
            return None
        self._refused.add(connection)
        return TooManyConnections(f"{self.limits.max_connections} connections are open already")

    def forget(self, connection: Connection) -> None:
        """A connection is gone."""
        self._connections.discard(connection)
        self._refused.discard(connection)

    def report(self, peer: Peer, report: Report) -> None:
        """Count a request that ended, and write its line to the log: figures, and never a word of what was said."""
        self._outcomes[report.outcome] += 1
        fields = [str(peer), f"id={report.request_id or '-'}", f"outcome={report.outcome}"]
        fields.append(f"audio={report.audio_s:.2f}s")
        if report.job is not None:
            fields += [f"queue={report.job.queue_s * 1000:.1f}ms", f"run={report.job.run_s * 1000:.1f}ms"]
            result = report.job.result
            if isinstance(result, Transcription):
                timings = result.timings
                fields += [
                    f"features={timings.features_ms:.1f}ms",
                    f"encode={timings.encode_ms:.1f}ms",
                    f"decode={timings.decode_ms:.1f}ms",
                    f"rtf={report.job.run_s / max(report.audio_s, 1e-3):.3f}",
                    f"language={result.language}",
                    f"fallbacks={result.fallbacks}",
                ]
        log.info("request %s", " ".join(fields))
