"""One HTTP connection as the daemon sees it: counted, watched by the clock, and told when it is to end.

aiohttp parses and writes; around its handler stands this, which knows who waits for what. aiohttp has no deadline
for the head of a request, and in the image's version (3.8) no bound for requests that are sent ahead.
"""

from __future__ import annotations

import asyncio
import json
import logging
from http import HTTPStatus
from typing import TYPE_CHECKING, Any, Protocol, cast

from aiohttp import web

from ..connection import Guest, peer_of
from ..errors import TimedOut, WhisperdError
from . import problems

if TYPE_CHECKING:
    import socket
    from collections.abc import Callable

    from ..config import HttpConfig, Limits

log = logging.getLogger("whisperd.http")

MAX_TICK_SECONDS = 5.0
MAX_AHEAD_BYTES = 65536
"""What a client may send behind the request that is being answered."""

REFUSED_SECONDS = 1.0
"""A client that is refused gets so long to take the reason."""


class Host(Protocol):
    """What a gate needs of the server."""

    @property
    def limits(self) -> Limits:
        """Bounds."""

    def clock(self) -> float:
        """Monotonic seconds."""

    def admit(self, connection: Guest) -> WhisperdError | None:
        """Count a new connection in, or say why not."""

    def leave(self, connection: Guest) -> None:
        """A connection has ended."""


class Handler(web.RequestHandler):
    """aiohttp's side of a connection, which answers with a problem where the request is no HTTP."""

    gate: Gate

    def handle_error(
        self, request: Any, status: int = 500, exc: BaseException | None = None, message: str | None = None
    ) -> web.StreamResponse:
        """The answer to a request that cannot be parsed, or whose handler was interrupted."""
        error: WhisperdError
        if status < HTTPStatus.INTERNAL_SERVER_ERROR:
            error = problems.BadRequest(f"the request is not well-formed HTTP: {_one_line(message or str(exc))}")
        else:
            log.error("an HTTP request failed: %r", exc)
            error = WhisperdError("the request failed")
        response = web.json_response(
            problems.problem(error), status=problems.status_of(error), content_type=problems.CONTENT_TYPE
        )
        response.force_close()
        return response


class Gate(asyncio.Protocol):
    """One connection.

    Args:
        make: makes aiohttp's handler.
        tcp: whether it came over TCP, where anybody may knock.

    Attributes:
        gone: set when the client has gone.
        stopping: the connection is to be closed behind the answer that is being made.
        peer: who is at the other end, for the log.
        reported: the running request has been counted.
        request_id: what the log calls it.
    """

    def __init__(self, host: Host, settings: HttpConfig, make: Callable[[], Handler], *, tcp: bool) -> None:
        self.tcp = tcp
        self.gone = asyncio.Event()
        self.stopping = False
        self.peer = "?"
        self.reported = False
        self.request_id = ""
        self._host = host
        self._settings = settings
        self._make = make
        self._inner: Handler | None = None  # None: refused
        self._busy = False
        self._body_done = False
        self._handed_over = False  # to a WebSocket
        self._ahead = 0
        self._head_began: float | None = host.clock()
        self._idle_since = host.clock()
        self._stalled_since: float | None = None
        self._timer: asyncio.TimerHandle | None = None

    # --- asyncio's calls ----------------------------------------------------------------------------------------

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Count in, or refuse with a problem that says why."""
        self.transport = cast(asyncio.Transport, transport)
        self.transport.set_write_buffer_limits(high=self._host.limits.write_buffer_bytes)
        self.peer = _peer(self.transport.get_extra_info("socket"), self.transport, self.tcp)
        loop = asyncio.get_running_loop()
        refusal = self._host.admit(self)
        if refusal is not None:
            log.warning("HTTP connection from %s refused: %s", self.peer, refusal.code)
            self.transport.write(raw(refusal))
            self._timer = loop.call_later(REFUSED_SECONDS, self.transport.abort)
            self.transport.write_eof()
            return
        self._inner = self._make()
        self._inner.gate = self
        self._inner.connection_made(transport)
        self._watch()

    def data_received(self, data: bytes) -> None:
        """Let aiohttp have the bytes."""
        if self._inner is None or self.transport.is_closing():
            return
        if not self._busy:
            if self._head_began is None:
                self._head_began = self._host.clock()
        elif self._body_done and not self._handed_over:
            self._ahead += len(data)
            if self._ahead > MAX_AHEAD_BYTES:
                log.warning(
                    "HTTP connection from %s dropped: it sends requests and waits for no answer", self.peer
                )
                self.transport.abort()
                return
        self._inner.data_received(data)

    def eof_received(self) -> bool:
        """The client has closed; nobody who speaks HTTP closes one half."""
        return False

    def connection_lost(self, cause: Exception | None) -> None:
        """Gone, by whoever's wish."""
        if self._timer is not None:
            self._timer.cancel()
        self.gone.set()
        if self._inner is not None:
            self._inner.connection_lost(cause)
            if not self._handed_over:
                self._host.leave(self)

    def pause_writing(self) -> None:
        """The client does not take its answer."""
        self._stalled_since = self._host.clock()
        if self._inner is not None:
            self._inner.pause_writing()

    def resume_writing(self) -> None:
        """It does again."""
        self._stalled_since = None
        if self._inner is not None:
            self._inner.resume_writing()

    # --- the server's calls -------------------------------------------------------------------------------------

    def shutdown(self) -> None:
        """Answer what is being answered, then close."""
        self.stopping = True
        if not self._busy:
            self.transport.close()

    def abort(self) -> None:
        """Close at once."""
        self.transport.abort()

    # --- the handlers' calls ------------------------------------------------------------------------------------

    def begin(self, *, has_body: bool) -> None:
        """The head of a request is whole."""
        self._busy, self._head_began = True, None
        self.reported, self.request_id = False, ""
        self._body_done, self._ahead = not has_body, 0

    def body_done(self) -> None:
        """Its body, too."""
        self._body_done = True

    def end(self) -> None:
        """Its answer is made."""
        self._busy = False
        self._idle_since = self._host.clock()
        self._head_began = self._idle_since if self._ahead else None

    def hand_over(self) -> None:
        """A WebSocket begins: a native connection counts in its place, and has its deadlines."""
        if not self._handed_over:
            self._handed_over = True
            self._host.leave(self)

    # --- deadlines ----------------------------------------------------------------------------------------------

    def _watch(self) -> None:
        shortest = min(
            self._settings.head_seconds, self._settings.keepalive_seconds, self._host.limits.write_seconds
        )
        pause = min(shortest / 4, MAX_TICK_SECONDS)
        self._timer = asyncio.get_running_loop().call_later(pause, self._on_tick)

    def _on_tick(self) -> None:
        now, settings = self._host.clock(), self._settings
        if self._stalled_since is not None:
            if now - self._stalled_since >= self._host.limits.write_seconds:
                log.warning("HTTP connection from %s dropped: it does not take its answer", self.peer)
                self.transport.abort()
                return
        elif self._busy:
            pass  # a body has a deadline where it is read, and an answer takes as long as it takes
        elif self._head_began is not None:
            if now - self._head_began >= settings.head_seconds:
                error = TimedOut(f"the head of the request was not whole after {settings.head_seconds:g} s")
                self.transport.write(raw(error))
                self.transport.close()
        elif now - self._idle_since >= settings.keepalive_seconds:
            self.transport.close()
        self._watch()


def raw(error: WhisperdError) -> bytes:
    """A whole answer, for where there is no request that aiohttp could answer."""
    body = json.dumps(problems.problem(error)).encode()
    status = HTTPStatus(problems.status_of(error))
    lines = [
        f"HTTP/1.1 {status.value} {status.phrase}",
        f"Content-Type: {problems.CONTENT_TYPE}",
        f"Content-Length: {len(body)}",
        *(f"{name}: {value}" for name, value in problems.headers_of(error).items()),
        "Connection: close",
    ]
    return "\r\n".join(lines).encode("ascii") + b"\r\n\r\n" + body


def _peer(sock: socket.socket, transport: asyncio.Transport, tcp: bool) -> str:
    if not tcp:
        return peer_of(sock)
    name = transport.get_extra_info("peername") or ("?", 0)
    return f"address={name[0]}:{name[1]}"


def _one_line(text: str) -> str:
    return "".join(c if c.isprintable() else " " for c in text)[:200]
