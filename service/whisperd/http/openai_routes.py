"""OpenAI's audio API: the same work under other names."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from aiohttp import web

from .. import subtitles
from ..audio.pieces import joined_text
from ..errors import UnknownModel, WhisperdError
from . import answers, fields, problems
from .problems import BadField
from .routes import ID_HEADER, gate_of, id_of, report_early

if TYPE_CHECKING:
    from ..server import Server
    from .answers import Answer
    from .fields import OpenAiWanted
    from .uploads import Reader, Upload
    from .work import Work

STREAM_PIECE_S = 30.0
"""With stream=true a recording is transcribed in pieces of this length: what Whisper hears at once."""


class OpenAiRoutes:
    """The handlers."""

    def __init__(self, host: Server, work: Work, reader: Reader) -> None:
        self._host = host
        self._work = work
        self._reader = reader
        self._created = int(time.time())

    async def models(self, request: web.Request) -> web.Response:
        """GET /v1/models"""
        return web.json_response(answers.openai_models(self._host.model, self._created))

    async def model(self, request: web.Request) -> web.Response:
        """GET /v1/models/{model}"""
        name = request.match_info["model"]
        try:
            fields.check_model(name, self._host.model)
        except UnknownModel as error:
            raise UnknownModel(error.text) from None
        return web.json_response(answers.openai_model(name, self._created))

    async def transcriptions(self, request: web.Request) -> web.StreamResponse:
        """POST /v1/audio/transcriptions"""
        return await self._audio(request, "transcribe")

    async def translations(self, request: web.Request) -> web.StreamResponse:
        """POST /v1/audio/translations"""
        return await self._audio(request, "translate")

    async def _audio(self, request: web.Request, task: str) -> web.StreamResponse:
        try:
            form = await self._reader.form(request, gate_of(request), fields.FILE_OPENAI)
            try:
                asked = fields.read_openai(form.texts, self._host.model, task)
                fields.need_files(len(form.files), fields.FILE_OPENAI)
                if len(form.files) > 1:
                    raise BadField(f"{fields.FILE_OPENAI} comes twice", fields.FILE_OPENAI)
                self._host.check(asked.wanted.options)
                if asked.stream:
                    return await self._streamed(request, form.files[0], asked)
                answer = await self._work.transcribe(form.files[0], asked.wanted, gate_of(request), id_of(request))
                return _written(answer, asked)
            finally:
                form.close()
        except WhisperdError as error:
            report_early(self._work, request, error)
            raise

    async def _streamed(self, request: web.Request, upload: Upload, asked: OpenAiWanted) -> web.StreamResponse:
        """Server-sent events. What fails before the first text is an ordinary problem; later, an event."""
        response = web.StreamResponse(
            headers={
                "Content-Type": "text/event-stream; charset=utf-8",
                "Cache-Control": "no-store",
                ID_HEADER: id_of(request),
            }
        )
        told: list[tuple[str, str | None]] = []

        async def tell(text: str, language: str) -> None:
            before = joined_text(told)
            told.append((text, language))
            if not response.prepared:
                await response.prepare(request)
            if new := joined_text(told)[len(before) :]:
                await response.write(answers.server_sent(answers.delta(new)))

        try:
            answer = await self._work.transcribe(
                upload, asked.wanted, gate_of(request), id_of(request), longest_s=STREAM_PIECE_S, tell=tell
            )
            last = answers.done(answer.result.text)
        except WhisperdError as error:
            if not response.prepared:
                raise
            last = {"type": "error", **problems.openai_problem(error)}
            last["type"] = "error"
        await response.write(answers.server_sent(last))
        await response.write_eof()
        return response


def _written(answer: Answer, asked: OpenAiWanted) -> web.Response:
    """The answer in the form that was asked for."""
    written = asked.response_format
    if written == "json":
        return web.json_response(answers.openai_json(answer))
    if written == "verbose_json":
        return web.json_response(answers.openai_verbose(answer, asked))
    if written == "text":
        return web.Response(text=f"{answer.result.text}\n")
    cues = subtitles.cues_of(answer.result.segments)
    if written == "srt":
        return web.Response(text=subtitles.srt(cues), content_type="application/x-subrip")
    return web.Response(text=subtitles.vtt(cues), content_type="text/vtt")
