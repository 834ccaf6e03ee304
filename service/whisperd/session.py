"""One connection as a sans-I/O state machine: bytes in, actions out. No socket, no clock, no thread.

Whoever runs a session gives it bytes (`receive_data`), pulls what they mean one event at a time
(`next_actions`), does it, and tells it what happened meanwhile (`job_queued`, `job_done`, `receive_eof` …).
Every method returns the actions to do, in order.

A connection carries one clip after another, and an answer may come after the next clip has begun:

    IDLE -- transcribe --> READY -- audio-start --> RECEIVING -- audio-stop --> IDLE, and a job is submitted

A request that cannot be served is answered at once; its audio, which is on its way already, is dropped up to
its audio-stop (REFUSED before its audio-start, DROPPING after). Lost framing and exceeded limits end the
connection. All of this stands in the tables at the end: live speech adds `listen` to the commands, a phase to
the table, and calls such as `job_done` for what it tells the client meanwhile.
"""

from __future__ import annotations

import enum
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, Protocol

from . import __version__, protocol
from .actions import DISCONNECTED, TRANSCRIBED, Action, Cancel, Close, Report, Send, Submit
from .clip import Budget, Clip
from .errors import (
    AudioTooLong,
    BadEvent,
    Cancelled,
    QueueFull,
    ShuttingDown,
    UnexpectedEvent,
    WhisperdError,
)
from .protocol import Outcome, Request
from .speech.types import ModelInfo, Options, Transcription
from .wire import Decoder, Event, JsonObject

if TYPE_CHECKING:
    from .config import Limits


class Service(Protocol):
    """What a session may ask about the daemon it speaks for."""

    @property
    def model(self) -> ModelInfo:
        """The loaded model."""

    def check(self, options: Options) -> None:
        """Raise UnknownLanguage or UnknownTask for options that the model cannot serve."""

    def status(self) -> JsonObject:
        """What `status` answers."""


@dataclass
class _Job:
    """A request that was handed over. Its share of the budget is held until the worker lets go of the clip."""

    request: Request
    audio_s: float
    samples: int
    answered: bool = False


class Phase(enum.Enum):
    """What the audio that comes next belongs to."""

    IDLE = "between two requests"
    READY = "after a transcribe"
    RECEIVING = "in a clip"
    REFUSED = "after a transcribe that was refused"
    DROPPING = "in a clip that is dropped"
    CLOSED = "closed"


class Session:
    """The state of one connection."""

    def __init__(self, service: Service, limits: Limits, budget: Budget) -> None:
        self._service = service
        self._limits = limits
        self._budget = budget
        self._decoder = Decoder(
            header_bytes=limits.header_bytes,
            data_bytes=limits.data_bytes,
            payload_bytes=limits.payload_bytes,
        )
        self._phase = Phase.IDLE
        self._extended = False  # the client has said hello
        self._request = Request()  # what the next clip is for
        self._clip: Clip | None = None
        self._jobs: dict[int, _Job] = {}
        self._next_key = 0
        self._draining = False  # closes when its jobs are answered
        self._goodbye: WhisperdError | None = None  # said then
        self._actions: list[Action] = []

    @property
    def busy(self) -> bool:
        """Whether an answer is owed."""
        return bool(self._owed())

    @property
    def closed(self) -> bool:
        """Whether Close has been asked for."""
        return self._phase is Phase.CLOSED

    @property
    def events(self) -> int:
        """How many events have come."""
        return self._decoder.events

    @property
    def mid_event(self) -> bool:
        """Whether an event has begun and not ended, once `next_actions` has returned None."""
        return not self.closed and self._decoder.mid_event

    # --- from the socket -------------------------------------------------------------------------------------

    def receive_data(self, data: bytes | bytearray | memoryview) -> None:
        """Store bytes; `next_actions` is to be called until it returns None before more are stored."""
        if not self.closed:
            self._decoder.receive_data(data)

    def next_actions(self) -> list[Action] | None:
        """What the next event asks for; None if it is not whole yet, or the session is closed."""
        if self.closed:
            return None
        try:
            event = self._decoder.next_event()
        except WhisperdError as error:
            return self.fail(error)
        if event is None:
            return None
        self._handle(event)
        return self._taken()

    def receive_eof(self) -> list[Action]:
        """The client has ended its side, and may still be waiting for answers."""
        if self.closed:
            return []
        if self._phase in _REQUESTING or self._decoder.mid_event:
            where = "an event" if self._decoder.mid_event else "a request"
            self._drop_request(UnexpectedEvent(f"the input ended in the middle of {where}"), Phase.IDLE)
        self._draining = True
        self._close_if_drained()
        return self._taken()

    def connection_lost(self) -> list[Action]:
        """The connection is gone, and with it whoever waited for an answer."""
        if not self.closed:
            self._close(DISCONNECTED)
        # Nobody is left to write to.
        return [action for action in self._taken() if isinstance(action, (Cancel, Report))]

    # --- from the daemon -------------------------------------------------------------------------------------

    def fail(self, error: WhisperdError) -> list[Action]:
        """End the connection with an error: a limit, a deadline, or lost framing."""
        if not self.closed:
            self._send(protocol.error(error))
            self._close(error.code)
        return self._taken()

    def shutdown(self) -> list[Action]:
        """The daemon stops: what is being received is refused, what was handed over is waited for."""
        if self.closed:
            return []
        self._goodbye = ShuttingDown("the daemon is stopping")
        if self._phase in _REQUESTING:
            self._drop_request(self._goodbye, _DROPPED[self._phase])
        self._draining = True
        self._close_if_drained()
        return self._taken()

    def job_queued(self, key: int, ahead: int) -> list[Action]:
        """The job was queued, with so many before it."""
        if self._extended:
            self._send(protocol.answer("queued", {"position": ahead}, self._jobs[key].request.id))
        return self._taken()

    def job_refused(self, key: int, error: WhisperdError) -> list[Action]:
        """The job was not queued; no `job_done` follows."""
        job = self._jobs.pop(key)
        self._budget.give(job.samples)
        self._refuse(error, job.request.id, job.audio_s)
        self._close_if_drained()
        return self._taken()

    def job_done(self, key: int, outcome: Outcome) -> list[Action]:
        """The worker is done with the job."""
        job = self._jobs.pop(key)
        self._budget.give(job.samples)
        if job.answered:
            return []
        result = outcome.result
        if isinstance(result, Transcription):
            self._send(protocol.transcript(outcome, result, job.request, extended=self._extended))
            self._actions.append(Report(job.request.id, TRANSCRIBED, job.audio_s, outcome))
        else:
            self._send(protocol.error(result, job.request.id))
            self._actions.append(Report(job.request.id, result.code, job.audio_s, outcome))
        self._close_if_drained()
        return self._taken()

    # --- events ----------------------------------------------------------------------------------------------

    def _handle(self, event: Event) -> None:
        command = _COMMANDS.get(event.type)
        if command is not None:
            self._obey(command, event)
            return
        step = _TABLE[self._phase].get(event.type)
        if step is None:
            return  # an event that this daemon does not know: ignored, as Wyoming expects of servers
        try:
            step(self, event)
        except WhisperdError as error:
            self._drop_request(error, _AFTER_ERROR[event.type])

    def _obey(self, command: _Command, event: Event) -> None:
        request_id = None
        try:
            request_id = self._echo(event)
            command(self, event, request_id)
        except WhisperdError as error:
            self._send(protocol.error(error, request_id))

    def _echo(self, event: Event) -> str | None:
        # Wyoming has no ids: without hello the field is somebody else's, and is ignored.
        return protocol.read_id(event) if self._extended else None

    # --- commands: the same in every phase -------------------------------------------------------------------

    def _describe(self, event: Event, request_id: str | None) -> None:
        self._send(protocol.info(self._service.model, request_id))

    def _ping(self, event: Event, request_id: str | None) -> None:
        self._send(protocol.answer("pong", {"text": protocol.read_text(event, "text")}, request_id))

    def _hello(self, event: Event, request_id: str | None) -> None:
        protocol.read_hello(event)
        request_id = protocol.read_id(event)
        self._extended = True
        data = {
            "protocol": protocol.PROTOCOL_VERSION,
            "server": "whisperd",
            "version": __version__,
            "features": list(protocol.FEATURES),
            "limits": {name: getattr(self._limits, name) for name in _TOLD_LIMITS},
        }
        self._send(protocol.answer("hello", data, request_id))

    def _status(self, event: Event, request_id: str | None) -> None:
        self._need_hello(event)
        self._send(protocol.answer("status", self._service.status(), request_id))

    def _cancel(self, event: Event, request_id: str | None) -> None:
        """Cancel the request of this id, or all of this connection if the event has none."""
        self._need_hello(event)
        count = 0
        for key, job in self._owed():
            if request_id in (None, job.request.id):
                self._give_up(key, job, Cancelled.code)
                count += 1
        if self._phase in _REQUESTING and request_id in (None, self._request.id):
            self._actions.append(Report(self._request.id, Cancelled.code, self._drop_clip()))
            self._request = Request()
            self._phase = _DROPPED[self._phase]
            count += 1
        # One answer in any case: where the transcript crossed the cancel, the client must not wait for another.
        self._send(protocol.answer("cancelled", {"count": count}, request_id))
        self._close_if_drained()

    def _need_hello(self, event: Event) -> None:
        if not self._extended:
            raise UnexpectedEvent(f"{event.type}: say hello first")

    # --- requests: the steps of the table --------------------------------------------------------------------

    def _begin(self, event: Event) -> None:
        """transcribe. One that was followed by no audio is replaced."""
        self._request = Request()  # whose error it is, until its id is known
        self._request = Request(id=self._echo(event))
        self._refuse_if_stopping()
        if self._request.id is not None and any(job.request.id == self._request.id for _, job in self._owed()):
            raise BadEvent(f"transcribe: id {self._request.id} is still in use")
        request = protocol.read_transcribe(event, self._service.model, extended=self._extended)
        self._service.check(request.options)
        self._request = request
        self._phase = Phase.READY

    def _begin_anew(self, event: Event) -> None:
        """transcribe within a clip: that clip has no end, and must not become part of the next."""
        self._interrupt(event)
        self._begin(event)

    def _start(self, event: Event) -> None:
        """audio-start."""
        self._refuse_if_stopping()
        fmt = protocol.read_format(event)
        self._clip = Clip(fmt, self._budget, self._limits.max_clip_seconds)
        self._phase = Phase.RECEIVING

    def _start_default(self, event: Event) -> None:
        """audio-start without transcribe: the default options, as Wyoming's clients may have it."""
        self._request = Request()
        self._start(event)

    def _start_anew(self, event: Event) -> None:
        """audio-start within a clip."""
        self._interrupt(event)
        self._start_default(event)

    def _append(self, event: Event) -> None:
        """audio-chunk."""
        clip = self._the_clip()
        protocol.check_chunk(event, clip.format)
        clip.append(event.payload)

    def _finish(self, event: Event) -> None:
        """audio-stop: hand the clip over."""
        clip = self._the_clip()
        pcm = clip.finish()
        if len(self._owed()) >= self._limits.max_jobs_per_connection:
            raise QueueFull(f"{self._limits.max_jobs_per_connection} requests of this connection are waiting")
        key, request = self._next_key, self._request
        self._next_key += 1
        self._jobs[key] = _Job(request, clip.seconds, len(pcm))
        self._actions.append(Submit(key, pcm, request.options, request.priority))
        self._clip = None
        self._request = Request()
        self._phase = Phase.IDLE

    def _unexpected(self, event: Event) -> None:
        raise UnexpectedEvent(f"{event.type} {self._phase.value}")

    def _skip(self, event: Event) -> None:
        """Audio of a request that was answered with an error."""

    def _skip_start(self, event: Event) -> None:
        self._phase = Phase.DROPPING

    def _skip_stop(self, event: Event) -> None:
        self._phase = Phase.IDLE

    # --- helpers ---------------------------------------------------------------------------------------------

    def _the_clip(self) -> Clip:
        assert self._clip is not None, "RECEIVING has a clip"
        return self._clip

    def _owed(self) -> list[tuple[int, _Job]]:
        """The jobs that are to be answered, by key."""
        return [(key, job) for key, job in self._jobs.items() if not job.answered]

    def _give_up(self, key: int, job: _Job, outcome: str) -> None:
        job.answered = True
        self._actions.append(Cancel(key))
        self._actions.append(Report(job.request.id, outcome, job.audio_s))

    def _drop_clip(self) -> float:
        """Let go of the clip that is being received, if there is one; returns its seconds."""
        clip, self._clip = self._clip, None
        if clip is None:
            return 0.0
        clip.drop()
        return clip.seconds

    def _interrupt(self, event: Event) -> None:
        error = UnexpectedEvent(f"{event.type} in a clip: its audio-stop is missing")
        self._drop_request(error, Phase.IDLE)

    def _refuse_if_stopping(self) -> None:
        if self._goodbye is not None:
            raise self._goodbye

    def _drop_request(self, error: WhisperdError, phase: Phase) -> None:
        """Answer the request that is being received with an error, and go on in another phase."""
        request_id, audio_s = self._request.id, self._drop_clip()
        self._request = Request()
        self._phase = phase
        self._refuse(error, request_id, audio_s)

    def _refuse(self, error: WhisperdError, request_id: str | None, audio_s: float) -> None:
        self._send(protocol.error(error, request_id))
        self._actions.append(Report(request_id, error.code, audio_s))
        if isinstance(error, _LIMITS):
            self._close(error.code)

    def _close_if_drained(self) -> None:
        if self._draining and not self.busy and not self.closed:
            if self._goodbye is not None:
                self._send(protocol.error(self._goodbye))
            self._close("" if self._goodbye is None else self._goodbye.code)

    def _close(self, reason: str) -> None:
        """Let go of everything; what is still owed an answer is cancelled."""
        if self._phase in _REQUESTING:
            self._actions.append(Report(self._request.id, DISCONNECTED, self._drop_clip()))
        for key, job in self._owed():
            self._give_up(key, job, DISCONNECTED)
        self._phase = Phase.CLOSED
        self._actions.append(Close(reason))

    def _send(self, event: Event) -> None:
        self._actions.append(Send(event))

    def _taken(self) -> list[Action]:
        actions, self._actions = self._actions, []
        return actions


# --- the tables -----------------------------------------------------------------------------------------------

_LIMITS: Final = (AudioTooLong, QueueFull)
"""What ends the connection. Its audio is on its way, and dropping it to its end has no bound of its own."""

_TOLD_LIMITS: Final = (
    "header_bytes",
    "data_bytes",
    "payload_bytes",
    "max_clip_seconds",
    "max_jobs_per_connection",
    "idle_seconds",
)
"""What a client can keep to if `hello` tells it."""

_REQUESTING: Final = (Phase.READY, Phase.RECEIVING)

_DROPPED: Final = {
    Phase.IDLE: Phase.IDLE,
    Phase.READY: Phase.REFUSED,
    Phase.RECEIVING: Phase.DROPPING,
}
"""Where the rest of a request is dropped that is given up in this phase."""

_AFTER_ERROR: Final = {
    "transcribe": Phase.REFUSED,
    "audio-start": Phase.DROPPING,
    "audio-chunk": Phase.DROPPING,
    "audio-stop": Phase.IDLE,
}
"""Where the rest of a request is dropped that this event was wrong for."""

_Command = Callable[[Session, Event, "str | None"], None]
_Step = Callable[[Session, Event], None]

_COMMANDS: Final[Mapping[str, _Command]] = {
    "describe": Session._describe,
    "ping": Session._ping,
    "hello": Session._hello,
    "status": Session._status,
    "cancel": Session._cancel,
}

_TABLE: Final[Mapping[Phase, Mapping[str, _Step]]] = {
    Phase.IDLE: {
        "transcribe": Session._begin,
        "audio-start": Session._start_default,
        "audio-chunk": Session._unexpected,
        "audio-stop": Session._unexpected,
    },
    Phase.READY: {
        "transcribe": Session._begin,
        "audio-start": Session._start,
        "audio-chunk": Session._unexpected,
        "audio-stop": Session._unexpected,
    },
    Phase.RECEIVING: {
        "transcribe": Session._begin_anew,
        "audio-start": Session._start_anew,
        "audio-chunk": Session._append,
        "audio-stop": Session._finish,
    },
    # A client that read the error may begin anew without having sent the rest.
    Phase.REFUSED: {
        "transcribe": Session._begin,
        "audio-start": Session._skip_start,
        "audio-chunk": Session._skip,
        "audio-stop": Session._skip_stop,
    },
    Phase.DROPPING: {
        "transcribe": Session._begin,
        "audio-start": Session._start_default,
        "audio-chunk": Session._skip,
        "audio-stop": Session._skip_stop,
    },
}
