"""What passes between the daemon and systemd: notifications, the watchdog, and sockets handed over.

Outside of systemd (no NOTIFY_SOCKET, LISTEN_FDS, WATCHDOG_USEC) everything here does nothing. References:
sd_notify(3), sd_listen_fds(3), sd_watchdog_enabled(3).
"""

from __future__ import annotations

import os
import socket
import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

import sdnotify

from whisperd.errors import ConfigError

if TYPE_CHECKING:
    from whisperd.scheduler import Progress

FIRST_FD = 3
"""SD_LISTEN_FDS_START."""

MAX_FDS = 16
"""A socket unit of this daemon has one or two; a larger count is garbage in the environment."""

MAX_STATUS = 200
"""Characters of STATUS: what `systemctl status` shows on one line."""


class Notifier:
    """Tells systemd how the service is, through the socket that NOTIFY_SOCKET names.

    Without the variable, or with nobody there, telling does nothing: the daemon serves without systemd too.
    """

    def __init__(self) -> None:
        self._notifier = sdnotify.SystemdNotifier() if os.environ.get("NOTIFY_SOCKET") else None

    def close(self) -> None:
        """Say no more."""
        if self._notifier is not None and self._notifier.socket is not None:
            self._notifier.socket.close()
        self._notifier = None

    def ready(self, status: str) -> None:
        """The service answers."""
        self._send("READY=1", _status(status))

    def status(self, status: str) -> None:
        """One line for `systemctl status`."""
        self._send(_status(status))

    def reloading(self, status: str) -> None:
        """The service takes over a changed configuration; `ready` ends it. Type=notify-reload wants the time as
        well, and other types do not mind it."""
        now = time.clock_gettime_ns(time.CLOCK_MONOTONIC) // 1000
        self._send("RELOADING=1", f"MONOTONIC_USEC={now}", _status(status))

    def stopping(self, status: str) -> None:
        """The service is on its way down."""
        self._send("STOPPING=1", _status(status))

    def watchdog(self) -> None:
        """The service is well."""
        self._send("WATCHDOG=1")

    def _send(self, *assignments: str) -> None:
        if self._notifier is not None:
            self._notifier.notify("\n".join(assignments))


def _status(text: str) -> str:
    """STATUS of one ASCII line: sdnotify drops what latin-1 does not have, and what follows a line break would
    be another assignment."""
    line = "".join(c if c.isprintable() else " " for c in text)
    return "STATUS=" + line.encode("ascii", "replace").decode("ascii")[:MAX_STATUS]


@dataclass(frozen=True)
class Listener:
    """A listening socket handed over by systemd, and the name its unit gave it (FileDescriptorName=)."""

    name: str
    socket: socket.socket


def listeners(environ: Mapping[str, str], pid: int) -> tuple[Listener, ...]:
    """Take over the sockets that systemd passed to process `pid`; none outside of socket activation.

    Raises:
        ConfigError: the variables are garbage, or a descriptor is no listening Unix stream socket.
    """
    if environ.get("LISTEN_PID") != str(pid):
        return ()  # meant for another process, most often a parent
    count = _number(environ, "LISTEN_FDS", MAX_FDS)
    names = environ.get("LISTEN_FDNAMES", ":".join(["unknown"] * count)).split(":")
    if count and len(names) != count:
        raise ConfigError(f"LISTEN_FDNAMES has {len(names)} names for {count} sockets (LISTEN_FDS)")
    return tuple(Listener(name, _adopt(FIRST_FD + i, name)) for i, name in enumerate(names[:count]))


def _adopt(fd: int, name: str) -> socket.socket:
    what = f"file descriptor {fd} ({name}) from systemd"
    try:
        adopted = socket.socket(fileno=fd)
    except OSError as error:
        raise ConfigError(f"{what} is not a socket: {error.strerror}") from None
    is_stream = adopted.family == socket.AF_UNIX and adopted.type == socket.SOCK_STREAM
    if not is_stream or not adopted.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN):
        adopted.detach()  # not ours to close
        raise ConfigError(f"{what} is not a listening Unix stream socket: use ListenStream=/PATH, Accept=no")
    os.set_inheritable(fd, False)
    return adopted


def watchdog_interval(environ: Mapping[str, str], pid: int) -> float | None:
    """Seconds within which systemd wants a sign of life (WatchdogSec=), or None where it wants none.

    Raises:
        ConfigError: WATCHDOG_USEC is not a number.
    """
    if "WATCHDOG_USEC" not in environ or environ.get("WATCHDOG_PID", str(pid)) != str(pid):
        return None
    return _number(environ, "WATCHDOG_USEC", 2**63) / 1e6 or None


class Watchdog:
    """Whether the inference worker is well, which is what the watchdog is to know.

    The event loop answers pings and status requests even while the worker hangs in the model's run-time; a
    watchdog that is fed by the loop's own life would never bite. A long file must not make it bite: each
    decoder step is a sign of life.
    """

    def __init__(self, patience: float) -> None:
        """Args: patience: seconds that one step of the worker (an encoder run, at the longest) may take."""
        self._patience = patience
        self._count: int | None = None

    def well(self, progress: Progress, now: float) -> bool:
        """Whether to send a ping now; `now` is of the scheduler's clock, in seconds."""
        idle = progress.busy_since is None and progress.waiting == 0
        moved = progress.count != self._count
        self._count = progress.count
        return idle or moved or now - progress.last_sign < self._patience


def _number(environ: Mapping[str, str], name: str, most: int) -> int:
    text = environ.get(name, "0")
    if not (text.isascii() and text.isdigit() and len(text) <= len(str(most)) and int(text) <= most):
        raise ConfigError(f"{name} is {text!r}, expected a number from 0 to {most}")
    return int(text)
