"""What can go wrong between a client and the daemon, each with a sentence for a person."""

from __future__ import annotations

import errno
import grp
import os

from whisperd.wire import Event


class ClientError(Exception):
    """Something between this program and the daemon went wrong; `text` says what, and what can be done."""

    def __init__(self, text: str) -> None:
        super().__init__(text)
        self.text = text


class Unreachable(ClientError):
    """There is no talking to the daemon."""


class DaemonNotRunning(Unreachable):
    """Nobody listens on the socket."""


class PermissionDenied(Unreachable):
    """The socket is there and is not this user's to open."""


class ConnectionLost(Unreachable):
    """The daemon closed the connection, does not answer in time, or says what no whisperd says."""


class ServerError(ClientError):
    """The daemon's answer is an error.

    Attributes:
        code: stable, as in docs/protocol.md.
        retry: whether the same request can succeed later.
    """

    def __init__(self, code: str, text: str, retry: bool) -> None:
        super().__init__(text)
        self.code = code
        self.retry = retry


def ends_connection(event: Event) -> bool:
    """An error that answers no request is about the connection."""
    return event.type == "error" and "id" not in event.data


def server_error(event: Event) -> ServerError:
    """The error that an `error` event tells."""
    data = event.data
    return ServerError(str(data.get("code", "internal")), str(data.get("text", "")), data.get("retry") is True)


def unreachable(path: str, error: OSError) -> Unreachable:
    """Why the socket cannot be connected to, and what to do."""
    if error.errno == errno.EACCES:
        group = _group_of(path)
        return PermissionDenied(
            f"you may not open {path}: you are not in the group {group}. Join it with"
            f" `sudo usermod -aG {group} $USER`, then log in again"
        )
    if isinstance(error, TimeoutError) or error.errno == errno.EAGAIN:
        return ConnectionLost(f"whisperd does not accept connections on {path}; `systemctl status whisperd`")
    if error.errno in (errno.ENOENT, errno.ECONNREFUSED, errno.ENOTDIR):
        return DaemonNotRunning(
            f"whisperd is not running: nobody listens on {path}. Start it with `sudo systemctl start"
            " whisperd`, or from a clone with `scripts/run --serve`; --socket names another socket"
        )
    return Unreachable(f"cannot connect to {path}: {error.strerror or error}")


def _group_of(path: str) -> str:
    try:
        return grp.getgrgid(os.stat(path).st_gid).gr_name
    except (OSError, KeyError):
        return "whisper"
