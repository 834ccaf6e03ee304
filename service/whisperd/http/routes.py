"""The REST endpoints: what each does with a request, and where it stands."""

from __future__ import annotations

import re
import secrets
import time
from typing import TYPE_CHECKING

from aiohttp import web

from ..actions import Report
from ..errors import WhisperdError
from ..memory import resident_bytes
from ..wire import JsonObject
from . import answers, fields, metrics, openapi, problems
from .gate import Gate, Handler

if TYPE_CHECKING:
    from ..server import Server
    from .metrics import Metrics
    from .uploads import Form, Reader, Upload
    from .work import Work

_ID = re.compile(r"[A-Za-z0-9._:-]{1,64}")
ID_HEADER = "X-Request-Id"


def gate_of(request: web.Request) -> Gate:
    """The connection on which a request came."""
    handler = request.protocol
    assert isinstance(handler, Handler), "this server makes no others"
    return handler.gate


def id_of(request: web.Request) -> str:
    """What the log calls a request: its X-Request-Id where that is one, or one of ours."""
    gate = gate_of(request)
    if not gate.request_id:
        told = request.headers.get(ID_HEADER, "")
        gate.request_id = told if _ID.fullmatch(told) else f"http-{secrets.token_hex(6)}"
    return gate.request_id


def report_early(work: Work, request: web.Request, error: WhisperdError) -> None:
    """Count a request for a transcription that failed before there was a recording."""
    gate = gate_of(request)
    if not gate.reported:
        work.report(gate, Report(id_of(request), error.code, 0.0))


class Routes:
    """The handlers of the endpoints that are our own."""

    def __init__(self, host: Server, work: Work, reader: Reader, counts: Metrics, max_files: int) -> None:
        self._host = host
        self._max_files = max_files
        self._work = work
        self._reader = reader
        self._metrics = counts

    async def greet(self, request: web.Request) -> web.Response:
        """GET /"""
        return web.json_response(answers.greeting())

    async def openapi(self, request: web.Request) -> web.Response:
        """GET /openapi.json"""
        return web.json_response(openapi.document(self._host.model, self._max_files))

    async def health(self, request: web.Request) -> web.Response:
        """GET /health"""
        status, body = answers.health(self._host.status())
        return web.json_response(body, status=status)

    async def status(self, request: web.Request) -> web.Response:
        """GET /status"""
        return web.json_response(self._host.status())

    async def model_info(self, request: web.Request) -> web.Response:
        """GET /model/info"""
        return web.json_response(answers.model_info(self._host.model, self._host.limits))

    async def metrics(self, request: web.Request) -> web.Response:
        """GET /metrics"""
        text = self._metrics.text(
            self._host.status(),
            self._host.scheduler.progress(),
            self._host.model,
            now=self._host.clock(),
            resident_bytes=resident_bytes(),
        )
        return web.Response(body=text.encode(), headers={"Content-Type": metrics.CONTENT_TYPE})

    async def transcribe(self, request: web.Request) -> web.Response:
        """POST /transcribe"""
        gate = gate_of(request)
        try:
            form = await self._reader.form(request, gate, fields.FILE)
            try:
                fields.need_files(len(form.files), fields.FILE)
                return await self._answer(request, form, fields.read_form(form.texts))
            finally:
                form.close()
        except WhisperdError as error:
            report_early(self._work, request, error)
            raise

    async def transcribe_base64(self, request: web.Request) -> web.Response:
        """POST /transcribe/base64"""
        try:
            form = await self._reader.json(request, gate_of(request), fields.FILE_BASE64)
            try:
                return await self._answer(request, form, fields.read_json(form.members))
            finally:
                form.close()
        except WhisperdError as error:
            report_early(self._work, request, error)
            raise

    async def _answer(self, request: web.Request, form: Form, wanted: fields.Wanted) -> web.Response:
        """One file's answer, or a list of them: then one that fails has its problem, and the others their text."""
        self._host.check(wanted.options)
        if len(form.files) == 1:
            return web.json_response(await self._one(request, form.files[0], wanted))
        begun = self._host.clock()
        results: list[JsonObject] = []
        for upload in form.files:
            try:
                result = await self._one(request, upload, wanted)
            except WhisperdError as error:
                result = {"problem": problems.problem(error)}
            results.append({"filename": upload.filename, **result})
        return web.json_response(
            {
                "results": results,
                "total_time": round(self._host.clock() - begun, 3),
                "timestamp": answers.timestamp(time.time()),
            }
        )

    async def _one(self, request: web.Request, upload: Upload, wanted: fields.Wanted) -> JsonObject:
        answer = await self._work.transcribe(upload, wanted, gate_of(request), id_of(request))
        return answers.transcribed(answer, wanted.options, time.time())
