"""A small synchronous client of the daemon: what `whisperctl` and the tests talk through.

    with Client("/run/whisperd/whisperd.sock") as client:
        print(client.transcribe(pcm).text)
        with client.listen() as live:
            for event in live:
                print(event)

One thread uses a client at a time. Every wait has a time-out, and what the daemon sends is bounded.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from whisperd.client_connection import ACCEPT_SECONDS, Connection
from whisperd.client_errors import (
    ClientError,
    ConnectionLost,
    DaemonNotRunning,
    PermissionDenied,
    ServerError,
    Unreachable,
    ends_connection,
    server_error,
)
from whisperd.live_client import Live
from whisperd.wire import Event, JsonObject, encode

if TYPE_CHECKING:
    from whisperd.audio.pcm import PcmFormat
    from whisperd.speech.types import Int16Samples

__all__ = [
    "Client",
    "ClientError",
    "ConnectionLost",
    "DaemonNotRunning",
    "PermissionDenied",
    "ServerError",
    "Transcript",
    "Unreachable",
]

SAMPLE_RATE = 16_000

#: What a request says of itself; no option has such a name.
RESERVED = frozenset(("id", "live", "mode", "name", "priority", "vad_sensitivity"))

RESULT_SECONDS = 3600.0
"""For transcripts: a long file behind a queue of long files. A daemon that dies is noticed at once."""


@dataclass(frozen=True)
class Transcript:
    """The daemon's answer to a clip.

    Attributes:
        text: empty where nothing is said.
        data: the whole answer, as docs/protocol.md describes it: segments, timings. Where nothing is said,
            `no_speech` of it tells why.
    """

    text: str
    language: str | None
    audio_seconds: float
    data: JsonObject = field(repr=False)


class Client(Connection):
    """A client of the daemon.

    Args:
        path: the daemon's Unix socket.
        timeout: seconds for connecting, and for each answer that needs no inference.
        result_timeout: seconds for a transcript.

    Attributes:
        limits: what the daemon said it accepts; max_clip_seconds of it: the longest clip.
    """

    def __init__(
        self,
        path: str | os.PathLike[str],
        timeout: float = ACCEPT_SECONDS,
        result_timeout: float = RESULT_SECONDS,
    ) -> None:
        super().__init__(path, timeout)
        self._result_timeout = result_timeout

    # --- questions ----------------------------------------------------------------------------------------

    def describe(self) -> JsonObject:
        """Wyoming's `info`: program, version, models and their languages."""
        return self._ask("describe", {}, answer="info")

    def status(self) -> JsonObject:
        """State, queue and counters of the daemon."""
        return self._ask("status", {})

    def devices(self) -> list[JsonObject]:
        """The daemon's capture devices: `name`, `description`, and `default`, whether it is the one it opens.

        Raises:
            ServerError: no-microphone, where ALSA cannot tell.
        """
        found = self._field(self._ask("devices", {}), "devices", list)
        for device in found:
            if not isinstance(device, dict):
                raise self._not_whisperd("a device", device)
            self._field(device, "name", str)
            self._field(device, "description", str)
            self._field(device, "default", bool)
        return found

    # --- clips --------------------------------------------------------------------------------------------

    def transcribe(
        self,
        pcm: Int16Samples,
        *,
        language: str | None = None,
        task: str | None = None,
        priority: str | None = None,
        options: Mapping[str, object] | None = None,
        on_queued: Callable[[int], None] | None = None,
    ) -> Transcript:
        """Send a clip and wait for its text.

        Args:
            pcm: int16[n] at 16 kHz mono.
            language: code, "auto", or None for the daemon's default.
            task: "transcribe" or "translate"; None is "transcribe".
            priority: "final" (None is the same), or "file", which waits behind all that are not.
            options: more of docs/protocol.md by name, such as {"beam_size": 5}; a None is sent, as null.
            on_queued: called with the number of requests that are served before.

        Raises:
            ServerError: the daemon's answer is an error.
            Unreachable: there is no answer.
            ClientError: the options are more than the daemon reads at once.
        """
        request = self.submit(pcm, language=language, task=task, priority=priority, options=options)
        return self.result(request, on_queued=on_queued)

    def submit(
        self,
        pcm: Int16Samples,
        *,
        language: str | None = None,
        task: str | None = None,
        priority: str | None = None,
        options: Mapping[str, object] | None = None,
    ) -> str:
        """Send a clip and do not wait; returns its request's id. Arguments and errors as `transcribe`."""
        if pcm.dtype.kind != "i" or pcm.dtype.itemsize != 2 or pcm.ndim != 1:
            raise ValueError(f"expected int16[n], got {pcm.dtype}{list(pcm.shape)}")
        request = self._new_id()
        form = {"rate": SAMPLE_RATE, "width": 2, "channels": 1}
        wish = {"language": language, "task": task, "priority": priority}
        self._send(self._wish("transcribe", options, id=request, **wish))
        self._send(Event("audio-start", form))
        samples = pcm.astype("<i2", copy=False).tobytes()
        for start in range(0, len(samples), self._chunk_bytes):
            self._send(Event("audio-chunk", form, samples[start : start + self._chunk_bytes]))
        self._send(Event("audio-stop"))
        return request

    def result(self, request: str, *, on_queued: Callable[[int], None] | None = None) -> Transcript:
        """Wait for the text of a clip that was submitted. Errors as `transcribe`."""
        until = time.monotonic() + self._result_timeout
        while True:
            event = self._next(lambda e: e.data.get("id") == request or ends_connection(e), until)
            if event.type == "transcript":
                return self._transcript(event.data)
            if event.type == "no-speech":
                reason = self._field(event.data, "reason", str)
                told = {key: value for key, value in event.data.items() if key != "reason"}
                return self._transcript({"text": "", "language": None, **told, "no_speech": reason})
            if event.type == "error":
                raise server_error(event)
            if event.type == "queued" and on_queued is not None:
                on_queued(self._field(event.data, "position", int))

    def cancel(self, request: str | None = None, *, timeout: float | None = None) -> int:
        """Cancel a request, or all of this connection; returns how many were still to be answered.

        A cancelled request gets no answer any more: do not wait for its `result`; a live stream is over. Where
        sending was interrupted, the connection is closed instead, which cancels everything.
        """
        if self._sending:
            self.close()
            count, request = 1, None
        else:
            data = {} if request is None else {"id": request}
            count = self._field(self._ask("cancel", data, answer="cancelled", timeout=timeout), "count", int)
        for name, taker in list(self._takers.items()):
            if request in (None, name):
                taker.cancelled()
        return count

    # --- live speech --------------------------------------------------------------------------------------

    def listen(
        self,
        *,
        mode: str | None = None,
        language: str | None = None,
        task: str | None = None,
        vad_sensitivity: str | None = None,
        options: Mapping[str, object] | None = None,
    ) -> Live:
        """Listen to the daemon's microphone; returns when it is open.

        Args:
            mode: "hands-free" (None is the same): the voice says where utterances begin and end; "push-to-talk":
                all up to `Live.stop` is one.
            language, task, options: as of `transcribe`; not all options are for live speech.
            vad_sensitivity: "relaxed", "default" (None is the same) or "aggressive": how soon the end of speech is
                detected.

        Raises:
            ServerError: no-microphone, unexpected-event where this client listens already …
            Unreachable: there is no answer.
        """
        request = self._new_id()
        wish = {"mode": mode, "language": language, "task": task, "vad_sensitivity": vad_sensitivity}
        return self._begin_live(request, [self._wish("listen", options, id=request, **wish)], None)

    def stream(
        self,
        form: PcmFormat | None = None,
        *,
        mode: str | None = None,
        language: str | None = None,
        task: str | None = None,
        vad_sensitivity: str | None = None,
        options: Mapping[str, object] | None = None,
    ) -> Live:
        """The same for audio that is sent from here, with `Live.send`.

        Args:
            form: of the samples; None is int16 at 16 kHz mono.
        """
        request = self._new_id()
        wish = {"mode": mode, "language": language, "task": task, "vad_sensitivity": vad_sensitivity}
        rate, width, channels = (SAMPLE_RATE, 2, 1) if form is None else (form.rate, form.width, form.channels)
        told = {"rate": rate, "width": width, "channels": channels}
        begin = [self._wish("transcribe", options, id=request, live=True, **wish), Event("audio-start", told)]
        return self._begin_live(request, begin, told)

    def _begin_live(self, request: str, begin: list[Event], form: JsonObject | None) -> Live:
        live = Live(self, request, form)
        self._takers[request] = live
        try:
            for event in begin:
                self._send(event)
            live.begin()
        except BaseException:
            self._takers.pop(request, None)
            if self._sending:
                self.close()
            raise
        return live

    def _wish(self, event_type: str, options: Mapping[str, object] | None, **fields: str | bool | None) -> Event:
        """An event with the fields that are wished for, and the options."""
        chosen = dict(options or {})
        if wrong := RESERVED & chosen.keys():
            raise ValueError(f"{', '.join(sorted(wrong))}: no option of a clip")
        chosen |= {name: value for name, value in fields.items() if value is not None}
        event = Event(event_type, chosen)
        size, most = len(encode(event).partition(b"\n")[2]), self._field(self.limits, "data_bytes", int)
        if size > most:
            raise ClientError(
                f"the options are {size} bytes, whisperd takes {most} at once: a shorter prompt or fewer words, or"
                " [limits] data_bytes in its configuration"
            )
        return event

    def _transcript(self, data: JsonObject) -> Transcript:
        return Transcript(
            text=self._field(data, "text", str),
            language=None if data.get("language") is None else self._field(data, "language", str),
            audio_seconds=float(self._field(data, "audio_seconds", (int, float))),
            data=data,
        )
