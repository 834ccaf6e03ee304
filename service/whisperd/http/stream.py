"""WS /stream: a WebSocket in front of a native connection, which is in this process.

The native connection has the live pipeline, its deadlines and what a slow client costs; here frames become its
events and its events become frames. The two talk over a pair of sockets, so that who waits for whom is the
kernel's business.
"""

from __future__ import annotations

import asyncio
import json
import socket
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

import numpy as np
from aiohttp import WSCloseCode, WSMsgType, web

from ..audio.pcm import PcmFormat
from ..connection import Connection
from ..errors import BadAudio, BadPayload, WhisperdError
from ..protocol import Mode
from ..speech.choice import Choice
from ..speech.endpoint import SENSITIVITIES
from ..speech.options import CHOICES
from ..wire import Decoder, Event, JsonObject, encode
from .problems import BadBody, BadField, UnknownField, field_of
from .routes import gate_of, id_of

if TYPE_CHECKING:
    from ..config import Limits
    from ..server import Server

MAX_MESSAGE_BYTES: Final = 1 << 20
HEARTBEAT_SECONDS: Final = 30.0
_BUFFER_BYTES: Final = 16384
"""Of the pair of sockets: what waits there is not seen by who leaves levels out for a slow client."""

_S16, _F32 = "s16", "f32"

FORM: Final = {
    choice.name: choice
    for choice in (
        Choice(
            "format", _F32, "samples: 16-bit integers or 32-bit floats, little-endian", str, values=(_S16, _F32)
        ),
        Choice("rate", 16_000, "frames a second", int, low=4_000, high=384_000, unit="Hz"),
        Choice("channels", 1, "samples of a frame", int, low=1, high=8),
        Choice(
            "mode",
            Mode.HANDS_FREE.value,
            "who says where an utterance ends: the voice, or the client",
            str,
            values=tuple(mode.value for mode in Mode),
        ),
        Choice(
            "vad_sensitivity",
            "default",
            "how quickly the end of speech is detected",
            str,
            values=tuple(SENSITIVITIES),
        ),
    )
}
"""Of the first message, beside the choices for live speech."""

LIVE: Final = {name: choice for name, choice in CHOICES.items() if choice.live}
_RENAMED: Final = {"transcript": "final"}
_KEPT: Final = ("queued", "hello")


@dataclass(frozen=True)
class Form:
    """What the first message declares."""

    pcm: PcmFormat
    floats: bool
    transcribe: JsonObject


def read_start(values: JsonObject, request_id: str) -> Form:
    """The first message; {} for the defaults.

    Raises:
        UnknownField, BadOption: naming the field.
        BadFormat: of a rate or number of channels.
    """
    for name in values:
        if name not in FORM and name not in LIVE and name != "type":
            known = ", ".join([*FORM, *LIVE])
            raise UnknownField(f"unknown field {name[:100]!r}; known are {known}", name[:100])
    found = {name: choice.read(values.get(name), "") for name, choice in FORM.items()}
    floats = found["format"] == _F32
    pcm = PcmFormat(found["rate"], 4 if floats else 2, found["channels"])
    chosen = {name: values[name] for name in LIVE if name in values}
    live = {"id": request_id, "live": True, "mode": found["mode"], "vad_sensitivity": found["vad_sensitivity"]}
    return Form(pcm, floats, {**chosen, **live})


def read_text(text: str) -> JsonObject:
    """A text message.

    Raises:
        BadBody: it is no JSON object.
    """
    try:
        values = json.loads(text)
        json.dumps(values, ensure_ascii=False).encode()
    except (ValueError, RecursionError):
        raise BadBody("a text message must be JSON") from None
    if not isinstance(values, dict):
        raise BadBody("a text message must be a JSON object")
    return values


def samples_of(data: bytes, form: Form) -> bytes:
    """A binary message as the native socket has it: floats, which it does not know, become 32-bit integers.

    Raises:
        BadPayload: it is not a whole number of frames.
        BadAudio: a sample is not a number.
    """
    if len(data) % form.pcm.frame_bytes:
        raise BadPayload(
            f"a message of {len(data)} bytes is not a whole number of {form.pcm.frame_bytes}-byte frames"
        )
    if not form.floats:
        return data
    floats = np.frombuffer(data, "<f4")
    finite = np.isfinite(floats)
    if not finite.all():
        raise BadAudio(f"sample {int(np.argmin(finite))} of a message is not a finite number")
    scaled = np.rint(floats.astype(np.float64) * 2**31)  # float32 has not all integers of this range
    return np.clip(scaled, -(2**31), 2**31 - 1).astype("<i4").tobytes()


def frame_of(event: Event) -> JsonObject | None:
    """An event of the native socket as a client of the WebSocket sees it; None for what is no business of its."""
    if event.type in _KEPT:
        return None
    data = {name: value for name, value in event.data.items() if name != "id"}
    return {"type": _RENAMED.get(event.type, event.type), **data}


class Streams:
    """The handler."""

    def __init__(self, host: Server) -> None:
        self._host = host

    async def stream(self, request: web.Request) -> web.StreamResponse:
        """WS /stream"""
        if request.headers.get("Upgrade", "").lower() != "websocket":
            raise BadField("/stream is a WebSocket: the header Upgrade must be websocket", "Upgrade")
        ws = web.WebSocketResponse(max_msg_size=MAX_MESSAGE_BYTES, heartbeat=HEARTBEAT_SECONDS, compress=False)
        await ws.prepare(request)
        gate = gate_of(request)
        gate.hand_over()
        loop = asyncio.get_running_loop()
        theirs, ours = socket.socketpair()
        for sock in (theirs, ours):
            sock.setblocking(False)
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, _BUFFER_BYTES)
        await loop.connect_accepted_socket(lambda: Connection(self._host, loop, gate.peer), theirs)
        reader, writer = await asyncio.open_unix_connection(sock=ours)
        hearing = asyncio.ensure_future(self._hear(ws, writer, id_of(request)))
        telling = asyncio.ensure_future(_tell(ws, reader))
        try:
            await asyncio.wait({hearing, telling}, return_when=asyncio.FIRST_COMPLETED)
            # Of both, what the native connection said last; the close of the other follows from it.
            code = telling.result() if telling.done() else hearing.result()
        except WhisperdError as error:
            code = await _fail(ws, error)
        except ConnectionError:
            code = WSCloseCode.GOING_AWAY  # nobody is there to read it
        finally:
            hearing.cancel()
            telling.cancel()
            writer.close()
            await asyncio.gather(hearing, telling, return_exceptions=True)
        await ws.close(code=code)
        return ws

    async def _hear(self, ws: web.WebSocketResponse, writer: asyncio.StreamWriter, request_id: str) -> WSCloseCode:
        """Pass on what the client says, until it goes."""
        form: Form | None = None
        stopped = False
        async for message in ws:
            if stopped:
                continue  # it is still read, so that pings are answered
            if message.type is WSMsgType.TEXT:
                values = read_text(message.data)
                if form is None:
                    form = self._begin(writer, values, request_id)
                elif values.get("type") == "stop":
                    writer.write(encode(Event("audio-stop")))
                    writer.write_eof()
                    stopped = True
                else:
                    raise BadField('after the first message, a text message must be {"type": "stop"}', "type")
            elif message.type is WSMsgType.BINARY:
                if form is None:
                    form = self._begin(writer, {}, request_id)
                for piece in _pieces(samples_of(message.data, form), form.pcm, self._host.limits):
                    writer.write(encode(Event("audio-chunk", {}, piece)))
                    await writer.drain()
        return WSCloseCode.GOING_AWAY

    def _begin(self, writer: asyncio.StreamWriter, values: JsonObject, request_id: str) -> Form:
        form = read_start(values, request_id)
        writer.write(encode(Event("hello", {"protocol": 1})))
        writer.write(encode(Event("transcribe", form.transcribe)))
        start = {"rate": form.pcm.rate, "width": form.pcm.width, "channels": form.pcm.channels}
        writer.write(encode(Event("audio-start", start)))
        return form


async def _tell(ws: web.WebSocketResponse, reader: asyncio.StreamReader) -> WSCloseCode:
    """Pass on what the native connection says, until it ends, or an error has ended the stream."""
    decoder = Decoder()
    while data := await reader.read(65536):
        decoder.receive_data(data)
        while (event := decoder.next_event()) is not None:
            frame = frame_of(event)
            if frame is not None:
                await ws.send_str(json.dumps(frame))
            if event.type == "error" and "utterance" not in event.data:
                return _code(retry=bool(event.data.get("retry")))
    return WSCloseCode.OK


async def _fail(ws: web.WebSocketResponse, error: WhisperdError) -> WSCloseCode:
    """Say why the stream ends."""
    body: dict[str, Any] = {"type": "error", "text": error.text, "code": error.code, "retry": error.retry}
    if name := field_of(error):
        body["field"] = name
    if not ws.closed:
        await ws.send_str(json.dumps(body))
    return _code(retry=error.retry)


def _code(*, retry: bool) -> WSCloseCode:
    return WSCloseCode.TRY_AGAIN_LATER if retry else WSCloseCode.POLICY_VIOLATION


def _pieces(data: bytes, pcm: PcmFormat, limits: Limits) -> list[bytes]:
    size = limits.payload_bytes - limits.payload_bytes % pcm.frame_bytes
    return [data[start : start + size] for start in range(0, len(data), size)]
