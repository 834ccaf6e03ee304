"""asyncio shell around wire and session. SKELETON: signatures are final, bodies follow.

How `__main__` uses it:

    scheduler = Scheduler(engine, max_queue=config.limits.max_queue, run_options=onnxruntime.RunOptions)
    scheduler.start()
    server = Server(scheduler, config.limits)
    await server.start(sockets)          # listening AF_UNIX stream sockets, already bound; owned from here on
    ... READY=1; wait for SIGTERM ...; watchdog: `not scheduler.stuck_for(seconds)`; STATUS=: server.status()
    await server.stop()                  # refuses, finishes or answers `shutting-down`, stops the scheduler, closes
"""

from __future__ import annotations

import socket
import time
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING

from whisperd.scheduler import Scheduler

if TYPE_CHECKING:
    from whisperd.config import Limits


class Server:
    """Serves any number of listening sockets with one scheduler."""

    def __init__(
        self, scheduler: Scheduler, limits: Limits, *, clock: Callable[[], float] = time.monotonic
    ) -> None: ...

    async def start(self, sockets: Iterable[socket.socket]) -> None:
        """Begin to accept. The sockets are bound (and may listen already, as systemd's do)."""

    async def stop(self) -> bool:
        """Stop gracefully within limits.stop_seconds; True if the worker thread ended too."""
        return True

    def status(self) -> dict[str, object]:
        """state ("idle" | "busy" | "stuck" | "stopping"), model, queue, running, connections, uptime_seconds,
        requests, buffered_seconds: what the `status` event carries."""
        return {}
