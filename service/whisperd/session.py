"""One connection as a sans-I/O state machine: bytes in, actions out. No socket, no clock, no thread.

Whoever runs a session gives it bytes (`receive_data`), pulls what they mean one event at a time
(`next_actions`), does it, and tells it what happened meanwhile (`job_queued`, `job_done`, `receive_eof` …).
Every method returns the actions to do, in order.

A connection carries one request after another (`intake` has how each comes in), and answers may come after the
next has begun; commands such as `ping` and `cancel` are answered at any time. A request that cannot be served
costs that request; lost framing, an exceeded limit or a missed deadline ends the connection.

Live speech adds `listen` to `_COMMANDS`, and methods beside `job_done` for what it tells the client meanwhile.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, Protocol

from . import __version__, protocol
from .actions import DISCONNECTED, TRANSCRIBED, Action, Cancel, Close, Report, Send, Submit
from .clip import Budget
from .errors import (
    AudioTooLong,
    Cancelled,
    QueueFull,
    ShuttingDown,
    UnexpectedEvent,
    WhisperdError,
)
from .intake import Intake, Model, Refused, Whole
from .protocol import Outcome, Request
from .speech.types import Transcription
from .wire import Decoder, Event, JsonObject

if TYPE_CHECKING:
    from .config import Limits

_LIMITS: Final = (AudioTooLong, QueueFull)
"""Errors of a request that end the connection: what is too much is still coming in."""

_TOLD_LIMITS: Final = (
    "header_bytes",
    "data_bytes",
    "payload_bytes",
    "max_clip_seconds",
    "max_jobs_per_connection",
    "idle_seconds",
)
"""Limits that `hello` tells, since a client can keep to them."""


class Service(Model, Protocol):
    """What a session may ask about the daemon it speaks for."""

    def status(self) -> JsonObject:
        """What `status` answers."""


@dataclass
class _Job:
    """A request that was handed over. Its share of the budget is held until the worker lets go of the clip."""

    request: Request
    audio_s: float
    samples: int
    answered: bool = False


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
        self._intake = Intake(service, budget, limits.max_clip_seconds)
        self._extended = False  # the client has said hello
        self._jobs: dict[int, _Job] = {}
        self._next_key = 0
        self._draining = False  # it closes when its jobs are answered, and says this first:
        self._goodbye: WhisperdError | None = None
        self._closed = False
        self._actions: list[Action] = []

    @property
    def busy(self) -> bool:
        """Whether an answer is owed."""
        return bool(self._owed())

    @property
    def closed(self) -> bool:
        """Whether Close has been asked for."""
        return self._closed

    @property
    def events(self) -> int:
        """How many events have come."""
        return self._decoder.events

    @property
    def mid_event(self) -> bool:
        """Whether an event has begun and not ended, once `next_actions` has returned None."""
        return not self._closed and self._decoder.mid_event

    # --- from the socket -------------------------------------------------------------------------------------

    def receive_data(self, data: bytes | bytearray | memoryview) -> None:
        """Store bytes; `next_actions` is to be called until it returns None before more are stored."""
        if not self._closed:
            self._decoder.receive_data(data)

    def next_actions(self) -> list[Action] | None:
        """What the next event asks for; None if it is not whole yet, or the session is closed."""
        if self._closed:
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
        if self._closed:
            return []
        request = self._intake.request
        if request is not None or self._decoder.mid_event:
            where = "an event" if self._decoder.mid_event else "a request"
            error = UnexpectedEvent(f"the input ended in the middle of {where}")
            self._refuse(error, request.id if request is not None else None, self._intake.drop())
        self._drain()
        return self._taken()

    def connection_lost(self) -> list[Action]:
        """The connection is gone, and with it whoever waited for an answer."""
        if not self._closed:
            self._close(DISCONNECTED)
        # Nobody is left to write to.
        return [action for action in self._taken() if isinstance(action, (Cancel, Report))]

    # --- from the daemon -------------------------------------------------------------------------------------

    def fail(self, error: WhisperdError) -> list[Action]:
        """End the connection with an error, which stands for every answer that is still owed."""
        if not self._closed:
            self._send(protocol.error(error))
            self._close(error.code)
        return self._taken()

    def shutdown(self) -> list[Action]:
        """The daemon stops: what is coming in is refused, what was handed over is waited for."""
        if self._closed:
            return []
        self._goodbye = self._intake.stopping = ShuttingDown("the daemon is stopping")
        request = self._intake.request
        if request is not None:
            self._refuse(self._goodbye, request.id, self._intake.drop())
        self._drain()
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
        request, result = job.request, outcome.result
        if isinstance(result, Transcription):
            self._send(protocol.transcript(outcome, result, request, extended=self._extended))
            self._actions.append(Report(request.id, TRANSCRIBED, job.audio_s, outcome))
        else:
            self._send(protocol.error(result, request.id))
            self._actions.append(Report(request.id, result.code, job.audio_s, outcome))
        self._close_if_drained()
        return self._taken()

    # --- events ----------------------------------------------------------------------------------------------

    def _handle(self, event: Event) -> None:
        command = _COMMANDS.get(event.type)
        if command is None:
            # Which ignores what it does not know, as Wyoming expects of servers.
            for ended in self._intake.handle(event, {job.request.id for _, job in self._owed()}):
                if isinstance(ended, Whole):
                    self._submit(ended)
                else:
                    self._refuse(ended.error, ended.request_id, ended.audio_s)
            return
        request_id = None
        try:
            # Wyoming has no ids: without hello the field is somebody else's, and is ignored.
            request_id = protocol.read_id(event) if self._extended else None
            command(self, event, request_id)
        except WhisperdError as error:
            self._send(protocol.error(error, request_id))

    def _describe(self, event: Event, request_id: str | None) -> None:
        self._send(protocol.info(self._service.model, request_id))

    def _ping(self, event: Event, request_id: str | None) -> None:
        self._send(protocol.answer("pong", {"text": protocol.read_text(event, "text")}, request_id))

    def _hello(self, event: Event, request_id: str | None) -> None:
        protocol.read_hello(event)
        request_id = protocol.read_id(event)
        self._extended = self._intake.extended = True
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
        """Cancel the request of this id; without an id, all of this connection."""
        self._need_hello(event)
        count = 0
        for key, job in self._owed():
            if request_id in (None, job.request.id):
                self._give_up(key, job, Cancelled.code)
                count += 1
        coming = self._intake.request
        if coming is not None and request_id in (None, coming.id):
            self._actions.append(Report(coming.id, Cancelled.code, self._intake.drop()))
            count += 1
        # One answer in any case: where the transcript crossed the cancel, the client must not wait for another.
        self._send(protocol.answer("cancelled", {"count": count}, request_id))
        self._close_if_drained()

    def _need_hello(self, event: Event) -> None:
        if not self._extended:
            raise UnexpectedEvent(f"{event.type}: say hello first")

    # --- helpers ---------------------------------------------------------------------------------------------

    def _owed(self) -> list[tuple[int, _Job]]:
        """The jobs that are to be answered, by key."""
        return [(key, job) for key, job in self._jobs.items() if not job.answered]

    def _submit(self, whole: Whole) -> None:
        if len(self._owed()) >= self._limits.max_jobs_per_connection:
            self._budget.give(len(whole.pcm))
            limit = self._limits.max_jobs_per_connection
            error = QueueFull(f"{limit} requests of this connection are waiting already")
            self._refuse(error, whole.request.id, whole.audio_s)
            return
        key = self._next_key
        self._next_key += 1
        self._jobs[key] = _Job(whole.request, whole.audio_s, len(whole.pcm))
        self._actions.append(Submit(key, whole.pcm, whole.request.options, whole.request.priority))

    def _refuse(self, error: WhisperdError, request_id: str | None, audio_s: float) -> None:
        self._send(protocol.error(error, request_id))
        self._actions.append(Report(request_id, error.code, audio_s))
        if isinstance(error, _LIMITS):
            self._close(error.code)

    def _give_up(self, key: int, job: _Job, outcome: str) -> None:
        job.answered = True
        self._actions.append(Cancel(key))
        self._actions.append(Report(job.request.id, outcome, job.audio_s))

    def _drain(self) -> None:
        self._draining = True
        self._close_if_drained()

    def _close_if_drained(self) -> None:
        if self._draining and not self.busy and not self._closed:
            if self._goodbye is not None:
                self._send(protocol.error(self._goodbye))
            self._close("" if self._goodbye is None else self._goodbye.code)

    def _close(self, reason: str) -> None:
        """Let go of everything; what is still owed an answer is cancelled."""
        coming = self._intake.request
        if coming is not None:
            self._actions.append(Report(coming.id, reason, self._intake.drop()))
        for key, job in self._owed():
            self._give_up(key, job, reason)
        self._closed = True
        self._actions.append(Close(reason))

    def _send(self, event: Event) -> None:
        self._actions.append(Send(event))

    def _taken(self) -> list[Action]:
        actions, self._actions = self._actions, []
        return actions


_COMMANDS: Final[Mapping[str, Callable[[Session, Event, "str | None"], None]]] = {
    "describe": Session._describe,
    "ping": Session._ping,
    "hello": Session._hello,
    "status": Session._status,
    "cancel": Session._cancel,
}
