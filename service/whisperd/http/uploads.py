"""Bodies of requests: read within their limits and deadlines, recordings straight into a memfd each."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

from aiohttp import web

from ..errors import QueueFull, TimedOut
from ..wire import JsonObject
from .base64_json import Base64Json
from .gate import Gate
from .multipart import Multipart, Part, PartEnd, boundary_of, parameters
from .problems import BadBody, BadContentType, BadField, BodyTooLarge, Gone

if TYPE_CHECKING:
    from ..config import HttpConfig

MAX_TEXT_BYTES: Final = 65536
MAX_TEXTS: Final = 1024
"""Fields of a form that are no files."""


class Pool:
    """Bytes of bodies that all requests together may hold."""

    def __init__(self, size: int) -> None:
        self._free = size

    def take(self, count: int) -> None:
        """Take a share; raises QueueFull where not so much is left."""
        if count > self._free:
            raise QueueFull("the memory for uploads is used up by other requests")
        self._free -= count

    def give(self, count: int) -> None:
        """Give it back."""
        self._free += count


class Upload:
    """One recording in memory.

    Attributes:
        name: what messages call it: its field, and the file's name where it has one.
        filename: as the client told it.
    """

    def __init__(self, pool: Pool, field_name: str, filename: str | None) -> None:
        self.field = field_name
        self.filename = filename
        self.name = f"{field_name} ({_short(filename)})" if filename else field_name
        self.size = 0
        self._pool = pool
        self._descriptor: int | None = os.memfd_create("upload", os.MFD_CLOEXEC)

    def descriptor(self) -> int:
        """Another descriptor of the same memory, for the caller to close."""
        assert self._descriptor is not None, "it is not closed"
        return os.dup(self._descriptor)

    def write(self, data: bytes) -> None:
        """Add bytes; raises QueueFull."""
        assert self._descriptor is not None, "it is open while it is written"
        self._pool.take(len(data))
        self.size += len(data)
        view = memoryview(data)
        while view:
            view = view[os.write(self._descriptor, view) :]

    def close(self) -> None:
        """Give its memory back."""
        if self._descriptor is not None:
            os.close(self._descriptor)
            self._descriptor = None
            self._pool.give(self.size)


@dataclass
class Form:
    """A form that was read. Whoever has it closes it."""

    files: list[Upload] = field(default_factory=list)
    texts: list[tuple[str, str]] = field(default_factory=list)
    members: JsonObject = field(default_factory=dict)

    def close(self) -> None:
        """Give the memory of its files back."""
        for upload in self.files:
            upload.close()


class Reader:
    """Reads bodies."""

    def __init__(self, settings: HttpConfig) -> None:
        self._settings = settings
        self._pool = Pool(settings.max_buffered_bytes)

    async def form(self, request: web.Request, gate: Gate, file_field: str) -> Form:
        """A multipart/form-data body, whose files stand in fields of one name.

        Raises:
            WhisperdError: of one kind or another, naming the field or header that is wrong.
            Gone: the client has.
        """
        form = Form()
        try:
            parser = Multipart(boundary_of(request.headers.get("Content-Type", "")))
            part: Part | None = None
            upload: Upload | None = None
            text = bytearray()
            async for data in self._body(request, gate):
                for found in parser.feed(data):
                    if isinstance(found, Part):
                        part, upload = found, self._upload(form, found, file_field)
                        text.clear()
                    elif isinstance(found, PartEnd):
                        assert part is not None, "a part ends that has begun"
                        if upload is None:
                            _add_text(form, part.name, bytes(text))
                    elif upload is not None:
                        upload.write(found)
                    else:
                        assert part is not None, "bytes are of a part"
                        text += found
                        if len(text) > MAX_TEXT_BYTES:
                            raise BadField(f"{part.name} is longer than {MAX_TEXT_BYTES} bytes", part.name)
            parser.finish()
        except BaseException:
            form.close()
            raise
        return form

    async def json(self, request: web.Request, gate: Gate, audio_member: str) -> Form:
        """A JSON body with a recording in base64; raises as `form`."""
        _need_json(request.headers.get("Content-Type", ""))
        form = Form()
        try:
            upload = Upload(self._pool, audio_member, None)
            form.files.append(upload)
            parser = Base64Json(audio_member)
            async for data in self._body(request, gate):
                upload.write(parser.feed(data))
            form.members = parser.finish()
        except BaseException:
            form.close()
            raise
        return form

    def _upload(self, form: Form, part: Part, file_field: str) -> Upload | None:
        """Where a part's bytes go; None for a plain field."""
        if part.name != file_field:
            if part.filename is not None:
                raise BadField(
                    f"{_short(part.name)} has a filename; the field for files is {file_field}", part.name
                )
            return None
        if len(form.files) >= self._settings.max_files:
            raise BadField(f"{file_field}: more than {self._settings.max_files} files in one request", file_field)
        upload = Upload(self._pool, file_field, part.filename)
        form.files.append(upload)
        return upload

    async def _body(self, request: web.Request, gate: Gate) -> AsyncIterator[bytes]:
        """The bytes of a body as they come."""
        limit, seconds = self._settings.max_upload_bytes, self._settings.upload_seconds
        encoding = request.headers.get("Content-Encoding", "identity")
        if encoding.lower() != "identity":
            raise BadContentType("the body must not be compressed", "Content-Encoding")
        too_large = BodyTooLarge(f"the body is larger than {limit} bytes (http.max_upload_bytes)")
        if (request.content_length or 0) > limit:
            raise too_large
        if expect := request.headers.get("Expect", ""):
            if expect.lower() != "100-continue":
                raise BadField("the header Expect must be 100-continue", "Expect")
            await request.writer.write(b"HTTP/1.1 100 Continue\r\n\r\n")
            request.writer.output_size = 0  # it is no part of the answer
        loop = asyncio.get_running_loop()
        until, total = loop.time() + seconds, 0
        while True:
            try:
                data = await asyncio.wait_for(request.content.readany(), until - loop.time())
            except asyncio.TimeoutError:
                raise TimedOut(f"the body was not whole after {seconds:g} s") from None
            except Exception as error:  # aiohttp's have no common base in all of its versions
                if gate.gone.is_set():
                    raise Gone from None
                raise BadBody(f"the body is not well-formed: {type(error).__name__}") from None
            if not data:
                gate.body_done()
                return
            total += len(data)
            if total > limit:
                raise too_large
            yield data


def _add_text(form: Form, name: str, text: bytes) -> None:
    if len(form.texts) >= MAX_TEXTS:
        raise BadBody(f"the form has more than {MAX_TEXTS} fields")
    try:
        form.texts.append((name, text.decode("utf-8")))
    except UnicodeDecodeError:
        raise BadField(f"{name} is not UTF-8", name) from None


def _need_json(content_type: str) -> None:
    try:
        kind, _ = parameters(content_type)
    except ValueError:
        raise BadContentType("the header Content-Type is not well-formed", "Content-Type") from None
    if kind != "application/json":
        raise BadContentType(f"the body must be application/json, not {kind[:100] or 'nothing'}", "Content-Type")


def _short(text: str) -> str:
    return "".join(c if c.isprintable() else "?" for c in text)[:100]
