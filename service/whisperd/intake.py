"""What the audio that comes over a connection belongs to: a clip, a live stream, or nothing. Pure.

    IDLE -- transcribe --> READY -- audio-start --> RECEIVING -- audio-stop --> IDLE, and a job is submitted

A request that cannot be served is answered at once; its audio, which is on its way already, is dropped up to
its audio-stop (REFUSED before its audio-start, DROPPING after). All of this stands in the table at the end.

A clip that comes at the pace of speech is followed while it comes (`_ride`): its client sees texts early, and has
most of the final one made when it sends audio-stop. One that comes faster is a file, and is left alone.
"""

from __future__ import annotations

import enum
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Final

from . import protocol
from .actions import DISCONNECTED, Report
from .audio.pcm import PcmConverter, PcmFormat
from .clip import Budget, Clip
from .errors import BadEvent, QueueFull, UnexpectedEvent, WhisperdError
from .jobs import Jobs, Service
from .listening import Listening
from .protocol import Mode, Priority, Request
from .speech.options import not_live
from .speech.types import Int16Samples
from .wire import Event

if TYPE_CHECKING:
    from .config import Limits

PACE_SECONDS: Final = 0.3
"""After so long it is looked whether a clip comes at the pace of speech: a file is there by then."""

AHEAD_SECONDS: Final = 2.0
"""A clip that is so far ahead of the clock is a file. A network, or a client that gathers, may make bursts."""


class Phase(enum.Enum):
    """What the audio that comes next belongs to."""

    IDLE = "between two requests"
    READY = "after a transcribe"
    RECEIVING = "in a clip"
    STREAMING = "in a live stream"
    REFUSED = "after a transcribe that was refused"
    DROPPING = "in a clip that is dropped"


REQUESTING: Final = (Phase.READY, Phase.RECEIVING, Phase.STREAMING)

DROPPED: Final = {
    Phase.IDLE: Phase.IDLE,
    Phase.READY: Phase.REFUSED,
    Phase.RECEIVING: Phase.DROPPING,
    Phase.STREAMING: Phase.DROPPING,
}
"""Where the rest of a request is dropped that is given up in this phase."""


class Intake(Jobs):
    """The part of a session that takes audio in."""

    def __init__(self, service: Service, limits: Limits, budget: Budget) -> None:
        super().__init__(service, limits, budget)
        self._phase = Phase.IDLE
        self._request = Request()  # what the next clip is for
        self._clip: Clip | None = None
        self._ride: Listening | None = None  # follows the clip that comes
        self._rides = True  # whether it may be followed
        self._stream: Listening | None = None  # takes the audio that comes
        self._converter: PcmConverter | None = None  # for either of the two
        self._form = PcmFormat(16_000, 2, 1)
        self._begun = 0.0  # when the clip began
        self._now = 0.0

    def _take(self, event: Event) -> bool:
        """Do what an event asks for in this phase; False if it asks for nothing."""
        step = _TABLE[self._phase].get(event.type)
        if step is None:
            return False
        try:
            step(self, event)
        except WhisperdError as error:
            self._drop_request(error, _AFTER_ERROR[event.type])
        return True

    # --- the steps of the table -------------------------------------------------------------------------------

    def _begin(self, event: Event) -> None:
        """transcribe. One that was followed by no audio is replaced."""
        self._request = Request()  # whose error it is, until its id is known
        self._request = Request(id=self._echo(event))
        self._refuse_if_stopping()
        self._refuse_id_in_use(event, self._request.id)
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
        self._form = protocol.read_format(event)
        self._begun = self._now
        if self._request.live is not None:
            self._refuse_while_listening(event)
            self._stream = self._new_stream(self._request, self._request.live, clip=False)
            self._converter = PcmConverter(self._form)
            self._phase = Phase.STREAMING
            self._send(protocol.listening(self._request.live, None, self._request.id))
            return
        self._clip = Clip(self._form, self._budget, self._limits.max_clip_seconds)
        self._rides = self._request.priority is Priority.FINAL and not not_live(self._request.options)
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
        """audio-chunk of a clip."""
        clip = self._the_clip()
        protocol.check_chunk(event, clip.format)
        clip.append(event.payload)
        if self._rides:
            self._follow_clip(clip)

    def _finish(self, event: Event) -> None:
        """audio-stop: hand the clip over, unless it was followed to its end."""
        clip, request, ride = self._the_clip(), self._request, self._ride
        pcm = clip.finish()
        if ride is not None and self._keeps_pace(clip):
            self._feed(ride, clip.new_samples())
        if ride is not None and ride.heard_all:
            self._ride = None
            clip.drop()
            self._follow(ride, ride.stop())
        else:
            if len(self._owed()) >= self._limits.max_jobs_per_connection:
                raise QueueFull(f"{self._limits.max_jobs_per_connection} requests of this connection are waiting")
            self._leave_clip()
            self._submit(pcm, request, clip.seconds)
        self._clip = None
        self._request = Request()
        self._phase = Phase.IDLE

    def _push(self, event: Event) -> None:
        """audio-chunk of a live stream."""
        stream, converter = self._stream, self._converter
        assert stream is not None and converter is not None, "STREAMING has both"
        protocol.check_chunk(event, self._form)
        self._form.frames_of(event.payload)
        self._feed(stream, converter.push(event.payload))

    def _end(self, event: Event) -> None:
        """audio-stop of a live stream."""
        stream, converter = self._stream, self._converter
        assert stream is not None and converter is not None, "STREAMING has both"
        self._feed(stream, converter.flush())
        self._stream = self._converter = None
        self._request = Request()
        self._phase = Phase.IDLE
        self._follow(stream, stream.stop())

    def _unexpected(self, event: Event) -> None:
        raise UnexpectedEvent(f"{event.type} {self._phase.value}")

    def _skip(self, event: Event) -> None:
        """Audio of a request that was answered with an error."""

    def _skip_start(self, event: Event) -> None:
        self._phase = Phase.DROPPING

    def _skip_stop(self, event: Event) -> None:
        self._phase = Phase.IDLE

    # --- a clip at the pace of speech -------------------------------------------------------------------------

    def _keeps_pace(self, clip: Clip) -> bool:
        return clip.seconds <= self._now - self._begun + AHEAD_SECONDS

    def _follow_clip(self, clip: Clip) -> None:
        """Have a clip followed from `PACE_SECONDS` on, and no more once it comes too fast."""
        if not self._keeps_pace(clip):
            self._leave_clip()
        elif self._ride is not None:
            self._feed(self._ride, clip.new_samples())
        elif self._now - self._begun >= PACE_SECONDS:
            try:
                self._ride = self._new_stream(self._request, Mode.PUSH_TO_TALK, clip=True)
            except QueueFull:  # then it is transcribed when it is there
                self._rides = False
            else:
                self._feed(self._ride, clip.new_samples())

    def _feed(self, stream: Listening, pcm: Int16Samples) -> None:
        self._follow(stream, stream.heard(pcm))

    def _leave_clip(self) -> None:
        """Do not follow this clip any more."""
        ride, self._ride, self._rides = self._ride, None, False
        if ride is not None:
            self._follow(ride, ride.abandon())

    def _answering(self) -> list[Listening]:
        return [stream for stream in self._streams if stream is not self._ride and stream is not self._stream]

    # --- helpers ----------------------------------------------------------------------------------------------

    def _the_clip(self) -> Clip:
        assert self._clip is not None, "RECEIVING has a clip"
        return self._clip

    def _echo(self, event: Event) -> str | None:
        # Wyoming has no ids: without hello the field is somebody else's, and is ignored.
        return protocol.read_id(event) if self._extended else None

    def _refuse_if_stopping(self) -> None:
        if self._goodbye is not None:
            raise self._goodbye

    def _refuse_while_listening(self, event: Event) -> None:
        if self._microphone is not None or self._stream is not None:
            raise UnexpectedEvent(f"{event.type}: this connection is being listened to already")

    def _refuse_id_in_use(self, event: Event, request_id: str | None) -> None:
        taken = [job.request.id for _, job in self._owed()] + [stream.request.id for stream in self._streams]
        if request_id is not None and request_id in taken:
            raise BadEvent(f"{event.type}: id {request_id} is still in use")

    def _drop_clip(self) -> float:
        """Let go of the audio that is being received, if there is some; returns its seconds."""
        clip, self._clip = self._clip, None
        stream, self._stream = self._stream, None
        self._leave_clip()
        if stream is not None:
            self._follow(stream, stream.abandon())
            return stream.seconds
        if clip is None:
            return 0.0
        clip.drop()
        return clip.seconds

    def _interrupt(self, event: Event) -> None:
        error = UnexpectedEvent(f"{event.type} in a clip: its audio-stop is missing")
        self._drop_request(error, Phase.IDLE)

    def _drop_request(self, error: WhisperdError, phase: Phase) -> None:
        """Answer the request that is being received with an error, and go on in another phase."""
        request_id, audio_s = self._request.id, self._drop_clip()
        self._request = Request()
        self._phase = phase
        self._refuse(error, request_id, audio_s)

    def _close(self, reason: str) -> None:
        if self._phase in REQUESTING:
            self._actions.append(Report(self._request.id, DISCONNECTED, self._drop_clip()))
        self._phase = Phase.IDLE
        super()._close(reason)


# --- the table ------------------------------------------------------------------------------------------------

_AFTER_ERROR: Final = {
    "transcribe": Phase.REFUSED,
    "audio-start": Phase.DROPPING,
    "audio-chunk": Phase.DROPPING,
    "audio-stop": Phase.IDLE,
}
"""Where the rest of a request is dropped that this event was wrong for."""

_Step = Callable[[Intake, Event], None]

_TABLE: Final[Mapping[Phase, Mapping[str, _Step]]] = {
    Phase.IDLE: {
        "transcribe": Intake._begin,
        "audio-start": Intake._start_default,
        "audio-chunk": Intake._unexpected,
        "audio-stop": Intake._unexpected,
    },
    Phase.READY: {
        "transcribe": Intake._begin,
        "audio-start": Intake._start,
        "audio-chunk": Intake._unexpected,
        "audio-stop": Intake._unexpected,
    },
    Phase.RECEIVING: {
        "transcribe": Intake._begin_anew,
        "audio-start": Intake._start_anew,
        "audio-chunk": Intake._append,
        "audio-stop": Intake._finish,
    },
    Phase.STREAMING: {
        "transcribe": Intake._begin_anew,
        "audio-start": Intake._start_anew,
        "audio-chunk": Intake._push,
        "audio-stop": Intake._end,
    },
    # A client that read the error may begin anew without having sent the rest.
    Phase.REFUSED: {
        "transcribe": Intake._begin,
        "audio-start": Intake._skip_start,
        "audio-chunk": Intake._skip,
        "audio-stop": Intake._skip_stop,
    },
    Phase.DROPPING: {
        "transcribe": Intake._begin,
        "audio-start": Intake._start_default,
        "audio-chunk": Intake._skip,
        "audio-stop": Intake._skip_stop,
    },
}
