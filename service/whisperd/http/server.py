"""The HTTP server: its paths, who may ask, and what is said where something goes wrong."""

from __future__ import annotations

import asyncio
import hmac
import logging
import socket
from collections.abc import Awaitable, Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

from aiohttp import HttpVersion10, HttpVersion11, web

from ..errors import InternalError, WhisperdError
from . import problems
from .gate import Gate, Handler
from .metrics import Metrics
from .openai_routes import OpenAiRoutes
from .problems import Forbidden, Gone, MethodNotAllowed, NotFound, Unauthorized
from .routes import ID_HEADER, Routes, gate_of, id_of
from .stream import Streams
from .uploads import Reader
from .work import DECODERS, Work

if TYPE_CHECKING:
    from ..config import HttpConfig
    from ..server import Server

log = logging.getLogger("whisperd.http")

LINGERING_SECONDS = 5.0
"""How long the rest of a body is read away that was refused: a client that still sends sees the reason."""

LOCAL_NAMES = ("localhost", "127.0.0.1", "::1")
METHODS = ("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS")
_GONE = 499  # nobody reads it

Handle = Callable[[web.Request], Awaitable[web.StreamResponse]]


def _middleware(answer: Callable[[web.Request, Handle], Awaitable[web.StreamResponse]]) -> Any:
    """aiohttp marks a middleware by an attribute, which a bound method cannot have."""

    @web.middleware
    async def around(request: web.Request, handler: Handle) -> web.StreamResponse:
        return await answer(request, handler)

    return around


class HttpServer:
    """Serves HTTP for a daemon's server, whose scheduler, limits and counts it shares.

    Args:
        token: what clients over TCP have to send; None: they need none.
        local_names: names and addresses of the TCP socket, beside localhost.
    """

    def __init__(
        self, host: Server, settings: HttpConfig, *, token: str | None = None, local_names: Iterable[str] = ()
    ) -> None:
        self._host = host
        self._settings = settings
        self._token = token
        self._names = {name.lower() for name in (*LOCAL_NAMES, *settings.hosts, *local_names)}
        self._executor = ThreadPoolExecutor(DECODERS, thread_name_prefix="decode")
        self._metrics = Metrics()
        host.observers.append(self._metrics.note)
        work = Work(host, self._executor, settings.max_audio_seconds)
        reader = Reader(settings)
        app = web.Application(middlewares=[_middleware(self._answered)])
        self._add(
            app, Routes(host, work, reader, self._metrics, settings.max_files), OpenAiRoutes(host, work, reader)
        )
        self._runner = web.AppRunner(app, access_log=None)

    async def start(self, unix: Iterable[socket.socket], tcp: Iterable[socket.socket] = ()) -> None:
        """Begin to accept. The sockets are bound, and owned by the daemon's server from here on."""
        await self._runner.setup()
        await self._host.listen(unix, self.new_gate)
        await self._host.listen(tcp, lambda: self.new_gate(tcp=True))

    async def adopt(self, sockets: Iterable[socket.socket]) -> None:
        """Take over connections that were accepted already."""
        loop = asyncio.get_running_loop()
        for sock in sockets:
            sock.setblocking(False)
            tcp = sock.family != socket.AF_UNIX
            await loop.connect_accepted_socket(lambda tcp=tcp: self.new_gate(tcp=tcp), sock)  # type: ignore[misc]

    async def close(self) -> None:
        """Let go of everything, once the daemon's server has stopped."""
        await self._runner.cleanup()
        self._executor.shutdown(wait=True)

    def new_gate(self, *, tcp: bool = False) -> Gate:
        """The protocol of a new connection."""
        return Gate(self._host, self._settings, self._new_handler, tcp=tcp)

    def _new_handler(self) -> Handler:
        manager = self._runner.server
        assert manager is not None, "start has been called"
        return Handler(
            manager,
            loop=asyncio.get_running_loop(),
            logger=log,
            access_log=None,  # type: ignore[arg-type]
            keepalive_timeout=self._settings.keepalive_seconds + 3600,  # the gate is who watches
            lingering_time=LINGERING_SECONDS,
            auto_decompress=False,
        )

    def _add(self, app: web.Application, own: Routes, openai: OpenAiRoutes) -> None:
        for path, get in (
            ("/", own.greet),
            ("/openapi.json", own.openapi),
            ("/health", own.health),
            ("/status", own.status),
            ("/model/info", own.model_info),
            ("/metrics", own.metrics),
            ("/stream", Streams(self._host).stream),
            ("/v1/models", openai.models),
            ("/v1/models/{model}", openai.model),
        ):
            app.router.add_route("GET", path, get, expect_handler=_expected)
        for path, post in (
            ("/transcribe", own.transcribe),
            ("/transcribe/base64", own.transcribe_base64),
            ("/v1/audio/transcriptions", openai.transcriptions),
            ("/v1/audio/translations", openai.translations),
        ):
            app.router.add_route("POST", path, post, expect_handler=_expected)

    # --- around every request -----------------------------------------------------------------------------------

    async def _answered(self, request: web.Request, handler: Handle) -> web.StreamResponse:
        gate = gate_of(request)
        gate.begin(has_body=request.can_read_body)
        try:
            if request.version not in (HttpVersion10, HttpVersion11):
                raise problems.BadRequest("the request's version is neither HTTP/1.0 nor HTTP/1.1")
            if gate.tcp:
                self._check_origin(request)
                self._check_token(request)
            response = await handler(request)
        except Exception as error:
            response = _refusal(request, error)
        finally:
            gate.end()
        if not response.prepared:
            response.headers[ID_HEADER] = id_of(request)
            if gate.stopping:
                response.force_close()
        method = request.method if request.method in METHODS else "other"
        resource = request.match_info.route.resource
        self._metrics.responded(method, resource.canonical if resource else "", response.status)
        return response

    def _check_origin(self, request: web.Request) -> None:
        """A page of another site, open in a browser on this machine, must not get here.

        By its own name it cannot, since a browser tells its Origin; nor by having its name resolve to this machine
        (DNS rebinding), since then the Host is that name.
        """
        host = request.headers.get("Host", "")
        name = host.rsplit(":", 1)[0] if host.rpartition(":")[2].isdigit() else host
        if name.strip("[]").lower() not in self._names:
            raise Forbidden(f"the host {name[:100]!r} is not this one; http.hosts names further ones", "Host")
        origin = request.headers.get("Origin")
        if origin is not None and origin.lower() not in (f"http://{host.lower()}", f"https://{host.lower()}"):
            raise Forbidden("a page of another origin may not use this server", "Origin")

    def _check_token(self, request: web.Request) -> None:
        if self._token is None:
            return
        scheme, _, given = request.headers.get("Authorization", "").partition(" ")
        told = given.strip().encode("utf-8", "surrogateescape")
        if scheme.lower() != "bearer" or not hmac.compare_digest(told, self._token.encode("ascii")):
            raise Unauthorized("the bearer token is missing or wrong", "Authorization")


def _refusal(request: web.Request, cause: Exception) -> web.Response:
    """The problem of an error, with the member that OpenAI's clients read where they are who asks."""
    if isinstance(cause, (Gone, ConnectionError)):
        return web.Response(status=_GONE)
    error = cause if isinstance(cause, WhisperdError) else _as_ours(request, cause)
    openai = request.path.startswith("/v1/")
    body = problems.openai_problem(error) if openai else problems.problem(error)
    response = web.json_response(
        body,
        status=problems.status_of(error),
        content_type=problems.CONTENT_TYPE,
        headers=problems.headers_of(error),
    )
    response.headers[ID_HEADER] = id_of(request)
    if isinstance(cause, web.HTTPMethodNotAllowed):
        response.headers["Allow"] = cause.headers["Allow"]
    if error.code in ("bad-request", "timed-out", "unauthorized", "forbidden"):
        response.force_close()
    return response


def _as_ours(request: web.Request, cause: Exception) -> WhisperdError:
    """What aiohttp raises, or a defect, as an error of ours."""
    if isinstance(cause, web.HTTPNotFound):
        return NotFound(f"there is no {request.path[:200]}; /openapi.json tells what there is")
    if isinstance(cause, web.HTTPMethodNotAllowed):
        known = cause.headers["Allow"]
        return MethodNotAllowed(f"{request.path[:200]} knows {known}, not {request.method[:20]}")
    if isinstance(cause, web.HTTPException):
        return problems.BadRequest(f"the request is not understood: {cause.text or cause.reason}"[:300])
    log.error("an HTTP request to %r failed", request.path[:200], exc_info=cause)
    return InternalError(f"the request failed: {type(cause).__name__}")


async def _expected(request: web.Request) -> None:
    """Nothing yet: `Expect: 100-continue` is answered where the body is read, once it is known that it is."""
