"""One connection as a sans-I/O state machine: bytes in, actions out. No socket, no clock, no thread.

Whoever runs a session gives it bytes (`receive_data`), pulls what they mean one event at a time
(`next_actions`), does it, and tells it what happened meanwhile (`job_queued`, `job_done`, `heard`,
`receive_eof` …). Every method returns the actions to do, in order.

A connection carries one clip after another, and an answer may come after the next clip has begun. Beside that it
may listen to the microphone. What audio belongs to is decided in `intake`, what is owed stands in `jobs`; here are
the commands, which are the same in every phase, and the connection's end. Lost framing and exceeded limits end it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Final

from . import __version__, protocol
from .actions import DISCONNECTED, Action, Cancel, Listen, Report, Unlisten
from .clip import Budget
from .errors import Cancelled, ShuttingDown, UnexpectedEvent, WhisperdError
from .intake import DROPPED, REQUESTING, Intake, Phase
from .jobs import Service
from .protocol import Request
from .speech.types import Int16Samples
from .wire import Decoder, Event

if TYPE_CHECKING:
    from .config import Limits

__all__ = ["Service", "Session"]


class Session(Intake):
    """The state of one connection."""

    def __init__(self, service: Service, limits: Limits, budget: Budget) -> None:
        super().__init__(service, limits, budget)
        self._decoder = Decoder(
            header_bytes=limits.header_bytes,
            data_bytes=limits.data_bytes,
            payload_bytes=limits.payload_bytes,
        )

    @property
    def events(self) -> int:
        """How many events have come."""
        return self._decoder.events

    @property
    def mid_event(self) -> bool:
        """Whether an event has begun and not ended, once `next_actions` has returned None."""
        return not self.closed and self._decoder.mid_event

    # --- from the socket --------------------------------------------------------------------------------------

    def receive_data(self, data: bytes | bytearray | memoryview, now: float = 0.0) -> None:
        """Store bytes; `next_actions` is to be called until it returns None before more are stored.

        `now` is the time at which they came, in monotonic seconds: it tells speech from a file.
        """
        self._now = now
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
        command = _COMMANDS.get(event.type)
        if command is not None:
            self._obey(command, event)
        else:
            self._take(event)  # one that this daemon does not know is ignored, as Wyoming expects of servers
        return self._taken()

    def receive_eof(self) -> list[Action]:
        """The client has ended its side, and may still be waiting for answers."""
        if self.closed:
            return []
        if self._phase in REQUESTING or self._decoder.mid_event:
            where = "an event" if self._decoder.mid_event else "a request"
            self._drop_request(UnexpectedEvent(f"the input ended in the middle of {where}"), Phase.IDLE)
        self._stop_listening()
        self._draining = True
        self._close_if_drained()
        return self._taken()

    def connection_lost(self) -> list[Action]:
        """The connection is gone, and with it whoever waited for an answer."""
        if not self.closed:
            self._close(DISCONNECTED)
        # Nobody is left to write to.
        return [action for action in self._taken() if isinstance(action, (Cancel, Report, Unlisten))]

    # --- from the daemon --------------------------------------------------------------------------------------

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
        if self._phase in REQUESTING:
            self._drop_request(self._goodbye, DROPPED[self._phase])
        self._stop_listening()
        self._draining = True
        self._close_if_drained()
        return self._taken()

    # --- from the microphone ----------------------------------------------------------------------------------

    def microphone_opened(self) -> list[Action]:
        """It is open: samples follow."""
        if (stream := self._microphone) is not None and stream.request.live is not None:
            self._send(protocol.listening(stream.request.live, self._service.microphone, stream.request.id))
        return self._taken()

    def microphone_failed(self, error: WhisperdError) -> list[Action]:
        """It cannot be opened."""
        if (stream := self._microphone) is not None:
            self._microphone = None  # there is nothing to leave
            self._send(protocol.error(error, stream.request.id))
            self._abandon(stream, error.code)
        self._close_if_drained()
        return self._taken()

    def heard(self, pcm: Int16Samples, lost: int) -> list[Action]:
        """It gave int16[n] at 16 kHz; so many samples before them were lost."""
        if (stream := self._microphone) is not None:
            self._follow(stream, stream.heard(pcm, lost))
        return self._taken()

    def microphone_lost(self, text: str, retry_seconds: float) -> list[Action]:
        """It has vanished, and is looked for."""
        if (stream := self._microphone) is not None:
            data = {"text": text, "retry_seconds": retry_seconds}
            self._send(protocol.answer("mic-lost", data, stream.request.id))
        return self._taken()

    def microphone_restored(self) -> list[Action]:
        """It is back."""
        if (stream := self._microphone) is not None:
            self._send(protocol.answer("mic-restored", {}, stream.request.id))
        return self._taken()

    # --- commands: the same in every phase --------------------------------------------------------------------

    def _obey(self, command: _Command, event: Event) -> None:
        request_id = None
        try:
            request_id = self._echo(event)
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

    def _devices(self, event: Event, request_id: str | None) -> None:
        self._need_hello(event)
        self._send(protocol.answer("devices", {"devices": self._service.devices()}, request_id))

    def _listen(self, event: Event, request_id: str | None) -> None:
        self._need_hello(event)
        self._refuse_if_stopping()
        if self._phase in REQUESTING:
            raise UnexpectedEvent(f"listen {self._phase.value}")
        self._refuse_while_listening(event)
        self._refuse_id_in_use(event, request_id)
        request = protocol.read_transcribe(event, self._service.model, extended=True)
        self._service.check(request.options)
        assert request.live is not None, "listen is live"
        self._microphone = self._new_stream(request, request.live, clip=False)
        self._actions.append(Listen())

    def _listen_stop(self, event: Event, request_id: str | None) -> None:
        """End listening to the microphone; what is being said is finished."""
        self._need_hello(event)
        if self._microphone is None or request_id not in (None, self._microphone.request.id):
            raise UnexpectedEvent("listen-stop: nobody is listened to")
        self._stop_listening()

    def _cancel(self, event: Event, request_id: str | None) -> None:
        """Cancel the request of this id, or all of this connection if the event has none."""
        self._need_hello(event)
        count = 0
        for key, job in self._owed():
            if request_id in (None, job.request.id):
                self._give_up(key, job, Cancelled.code)
                count += 1
        if self._phase in REQUESTING and request_id in (None, self._request.id):
            self._actions.append(Report(self._request.id, Cancelled.code, self._drop_clip()))
            self._request = Request()
            self._phase = DROPPED[self._phase]
            count += 1
        for stream in self._answering():
            if request_id in (None, stream.request.id):
                self._abandon(stream, Cancelled.code)
                count += 1
        # One answer in any case: where the transcript crossed the cancel, the client must not wait for another.
        self._send(protocol.answer("cancelled", {"count": count}, request_id))
        self._close_if_drained()

    # --- helpers ----------------------------------------------------------------------------------------------

    def _need_hello(self, event: Event) -> None:
        if not self._extended:
            raise UnexpectedEvent(f"{event.type}: say hello first")

    def _stop_listening(self) -> None:
        if (stream := self._microphone) is not None:
            self._silence(stream)
            self._follow(stream, stream.stop())


_TOLD_LIMITS: Final = (
    "header_bytes",
    "data_bytes",
    "payload_bytes",
    "max_clip_seconds",
    "max_jobs_per_connection",
    "idle_seconds",
)
"""What a client can keep to if `hello` tells it."""

_Command = Callable[[Session, Event, "str | None"], None]

_COMMANDS: Final[Mapping[str, _Command]] = {
    "describe": Session._describe,
    "ping": Session._ping,
    "hello": Session._hello,
    "status": Session._status,
    "devices": Session._devices,
    "listen": Session._listen,
    "listen-stop": Session._listen_stop,
    "cancel": Session._cancel,
}
