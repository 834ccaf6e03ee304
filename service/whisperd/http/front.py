"""What the start of the daemon does where HTTP is wanted: sockets, the token, and the wait for the model."""

from __future__ import annotations

import os
import socket
import stat
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Final

from .. import listen
from ..config import Config, SocketConfig, split_address
from ..errors import ConfigError
from .waiting import WaitingRoom

if TYPE_CHECKING:
    from ..server import Server
    from .server import HttpServer

MIN_TOKEN, MAX_TOKEN = 16, 1024
_PATH: Final = "http.socket"


class Front:
    """The sockets of the HTTP server, from before the model is there.

    Args:
        handed_over: by systemd, in place of http.socket.

    Raises:
        ConfigError: aiohttp is missing, the token is none, or a socket cannot be had.
    """

    def __init__(self, settings: Config, handed_over: Sequence[socket.socket]) -> None:
        self._settings = settings
        self._token = check(settings)
        self._own: listen.OwnSocket | None = None
        if not handed_over and settings.http.socket is not None:
            self._own = listen.bind(_place(settings), _PATH)
        self._unix = [self._own.socket] if self._own else list(handed_over)
        try:
            self._tcp = [_bind(settings.http.tcp)] if settings.http.tcp else []
        except BaseException:
            self.remove()
            raise
        self._room = WaitingRoom(self.sockets, settings.limits.max_connections)
        self._room.start()

    @property
    def sockets(self) -> list[socket.socket]:
        """All that are listened to."""
        return [*self._unix, *self._tcp]

    async def serve(self, server: Server) -> HttpServer:
        """The model is there: serve, first of all those who wait."""
        from .server import HttpServer

        names = [sock.getsockname()[0] for sock in self._tcp]
        http = HttpServer(server, self._settings.http, token=self._token, local_names=names)
        waiting = self._room.stop()
        await http.start(self._unix, self._tcp)
        await http.adopt(waiting)
        return http

    def remove(self) -> None:
        """Remove the file of the socket, if it is ours."""
        if self._own:
            self._own.remove()


def check(settings: Config) -> str | None:
    """Find out early what would fail late; returns the token, or None where none is configured.

    Raises:
        ConfigError: naming what is wrong and what to do.
    """
    try:
        import aiohttp  # noqa: F401
    except ImportError as error:
        raise ConfigError(
            f"HTTP is configured, and its package is missing ({error}): install aiohttp"
            " (pip install 'whisperd[http]'; on an image, python3-aiohttp)"
        ) from None
    return _token(settings.http.token_file) if settings.http.token_file else None


def _place(settings: Config) -> SocketConfig:
    assert settings.http.socket is not None, "it is configured"
    return SocketConfig(settings.http.socket, settings.socket.mode, settings.socket.group)


def _token(file: Path) -> str:
    where = f"http.token_file: {file}"
    try:
        with file.open("rb") as stream:
            if os.fstat(stream.fileno()).st_mode & (stat.S_IROTH | stat.S_IWOTH):
                raise ConfigError(f"{where} can be read or written by everybody: chmod 640")
            raw = stream.read(MAX_TOKEN + 2)
    except OSError as error:
        raise ConfigError(f"{where} cannot be read: {error.strerror}") from None
    token = raw.decode("latin-1").strip("\r\n")
    if not token.isascii() or not token.isprintable() or " " in token:
        raise ConfigError(f"{where} holds something else than one line of letters, digits and signs")
    if not MIN_TOKEN <= len(token) <= MAX_TOKEN:
        raise ConfigError(f"{where} has {len(token)} characters; a token has {MIN_TOKEN} to {MAX_TOKEN}")
    return token


def _bind(address: str) -> socket.socket:
    host, port = split_address(address)
    host = "127.0.0.1" if host == "localhost" else host
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        return socket.create_server((host, port), family=family, backlog=listen.BACKLOG)
    except OSError as error:
        raise ConfigError(f"http.tcp: cannot listen on {address}: {error.strerror}") from None
