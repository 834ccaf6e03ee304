"""The daemon's own socket, where systemd hands none over: bound without a race, and cleaned up after.

A path belongs to whoever listens on it. A socket file that nobody listens on is left over from a daemon that
was killed, and is replaced; everything else at the path is left alone, and the daemon does not start.
"""

from __future__ import annotations

import contextlib
import fcntl
import grp
import os
import socket
import stat
import time
from collections.abc import Iterator
from pathlib import Path

from whisperd.config import MAX_SOCKET_PATH_BYTES, SocketConfig
from whisperd.errors import ConfigError

BACKLOG = 512
"""Connections that wait to be accepted. Far over the server's own limit: who is accepted can be refused with a
reason, while a full backlog is a bare error of the kernel's. (Which bounds it too: net.core.somaxconn.)"""

PROBE_SECONDS = 2.0
"""A daemon that is alive accepts into its backlog at once."""

LOCK_SECONDS = 2.0
"""Checking and binding takes milliseconds; who holds the folder for longer is not another whisperd."""


class OwnSocket:
    """A listening socket at a path, and the memory of which file it made there."""

    def __init__(self, listening: socket.socket, path: Path) -> None:
        self.socket = listening
        self.path = path
        self._identity = _identity(path)

    def remove(self) -> None:
        """Remove the file if it is still the one that was made: another daemon may have taken the path."""
        with contextlib.suppress(OSError):
            if _identity(self.path) == self._identity:
                self.path.unlink()


def bind(config: SocketConfig, key: str = "socket.path") -> OwnSocket:
    """Listen at the configured path, with the configured group and mode from the first connection on.

    Args:
        key: the option that names the path, for messages.

    Raises:
        ConfigError: the path is too long, its folder is missing, it is not ours to use, or the group is not
            ours to give.
    """
    path = config.path
    check(config, key)
    with _only_one_at_a_time(path, key):
        if _is_stale(path, key):
            path.unlink()
        listening = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        try:
            # Nobody but the owner can connect until the group is right. The umask is the process's, but no
            # other thread makes files at start-up.
            umask = os.umask(0o177)
            try:
                listening.bind(os.fspath(path))
            finally:
                os.umask(umask)
            own = OwnSocket(listening, path)
        except OSError as error:
            listening.close()
            raise ConfigError(f"cannot listen on {path}: {error.strerror}") from None
        try:
            _open_to_clients(own, config)
        except BaseException:
            own.remove()
            listening.close()
            raise
        return own


def check(config: SocketConfig, key: str = "socket.path") -> None:
    """Find out early what `bind` would find out late, after the model is loaded.

    Raises:
        ConfigError: as `bind`.
    """
    group_id(config.group)
    _is_stale(config.path, key)


def name_of(listening: socket.socket) -> str:
    """What the log calls a socket: its path, or the URL of one over TCP."""
    name = listening.getsockname()
    if isinstance(name, tuple):
        return f"http://[{name[0]}]:{name[1]}" if ":" in name[0] else f"http://{name[0]}:{name[1]}"
    return name if isinstance(name, str) else "@" + os.fsdecode(name[1:])  # abstract, written as systemd does


def group_id(group: str | None) -> int | None:
    """Number of a group given by name or number; None for None.

    Raises:
        ConfigError: there is no such group.
    """
    if group is None:
        return None
    try:
        return grp.getgrgid(int(group)).gr_gid if group.isdigit() else grp.getgrnam(group).gr_gid
    except (KeyError, OverflowError):
        raise ConfigError(
            f'socket.group: there is no group {group!r}: make it (groupadd --system {group}), or set ""'
            " (WHISPERD_SOCKET_GROUP=) to leave the socket to your own group"
        ) from None


def _open_to_clients(own: OwnSocket, config: SocketConfig) -> None:
    try:
        gid = group_id(config.group)
        if gid is not None:
            os.chown(own.path, -1, gid)
        own.path.chmod(config.mode)
        own.socket.listen(BACKLOG)
    except PermissionError:
        raise ConfigError(
            f"socket.group: this user may not give the socket to the group {config.group!r}: be a member of it,"
            ' or set "" (WHISPERD_SOCKET_GROUP=)'
        ) from None
    except OSError as error:
        raise ConfigError(f"cannot listen on {own.path}: {error.strerror}") from None


def _is_stale(path: Path, key: str) -> bool:
    """True for a socket file that nobody listens on, False for nothing there; anything else raises."""
    if len(os.fsencode(path)) > MAX_SOCKET_PATH_BYTES:
        raise ConfigError(f"{key}: longer than {MAX_SOCKET_PATH_BYTES} bytes: {path}")
    try:
        if not path.parent.is_dir():
            raise ConfigError(f"{key}: there is no folder {path.parent}: make it, or choose another path")
        mode = path.lstat().st_mode
    except FileNotFoundError:
        return False
    except OSError as error:
        raise ConfigError(f"{key}: cannot look at {path}: {error.strerror}") from None
    if not stat.S_ISSOCK(mode):
        raise ConfigError(f"{key}: {path} exists and is not a socket; it is left as it is")
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
        probe.settimeout(PROBE_SECONDS)
        try:
            probe.connect(os.fspath(path))
        except ConnectionRefusedError:
            return True
        except FileNotFoundError:
            return False
        except PermissionError:
            raise ConfigError(f"{key}: {path} belongs to another user") from None
        except OSError:
            pass  # a full backlog or a time-out: there is somebody
    raise ConfigError(f"{key}: another daemon listens on {path} already")


@contextlib.contextmanager
def _only_one_at_a_time(path: Path, key: str) -> Iterator[None]:
    """Lock the folder: of two daemons that find one stale file, the later must see the other's socket."""
    try:
        folder = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    except OSError as error:
        raise ConfigError(f"{key}: cannot open the folder {path.parent}: {error.strerror}") from None
    try:
        give_up = time.monotonic() + LOCK_SECONDS
        while True:
            try:
                fcntl.flock(folder, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                if time.monotonic() > give_up:
                    raise ConfigError(f"{key}: another program holds a lock on {path.parent}") from None
                time.sleep(0.05)
        yield
    finally:
        os.close(folder)


def _identity(path: Path) -> tuple[int, int]:
    found = path.lstat()
    return found.st_dev, found.st_ino
