"""How requests come in: the state machine of `transcribe` and the audio events, up to a whole clip. Pure.

    IDLE -- transcribe --> READY -- audio-start --> RECEIVING -- audio-stop --> IDLE, and there is a clip

A request that cannot be served is refused at once. Its audio, which is on its way already, is dropped up to its
audio-stop: REFUSED is that state before the audio-start, DROPPING after it. All of it stands in `_TABLE`.
"""

from __future__ import annotations

import enum
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from typing import Final, Protocol

from . import protocol
from .clip import Budget, Clip
from .errors import BadEvent, UnexpectedEvent, WhisperdError
from .protocol import Request
from .speech.types import Int16Samples, ModelInfo, Options
from .wire import Event


class Model(Protocol):
    """What must be known of the model to accept a request."""

    @property
    def model(self) -> ModelInfo:
        """The loaded model."""

    def check(self, options: Options) -> None:
        """Raise UnknownLanguage or UnknownTask for options that the model cannot serve."""


@dataclass(frozen=True, eq=False)
class Whole:
    """A request and its whole clip, int16[n] at 16 kHz mono, whose share of the budget goes with it."""

    request: Request
    audio_s: float
    pcm: Int16Samples


@dataclass(frozen=True)
class Refused:
    """A request that ends here, and why; `audio_s` seconds of it had come."""

    request_id: str | None
    audio_s: float
    error: WhisperdError


class Phase(enum.Enum):
    """What the audio that comes next belongs to."""

    IDLE = "between two requests"
    READY = "after a transcribe"
    RECEIVING = "in a clip"
    REFUSED = "after a transcribe that was refused"
    DROPPING = "in a clip that is dropped"


class Intake:
    """The requests of one connection, as they come in.

    Attributes:
        extended: the client has said hello: the fields beyond Wyoming's count.
        stopping: with this error every further request is refused.
    """

    def __init__(self, model: Model, budget: Budget, max_clip_seconds: float) -> None:
        self.extended = False
        self.stopping: WhisperdError | None = None
        self._model = model
        self._budget = budget
        self._max_clip_seconds = max_clip_seconds
        self._phase = Phase.IDLE
        self._request = Request()  # what the next clip is for, or the clip that is coming
        self._clip: Clip | None = None
        self._ids_in_use: Collection[str | None] = ()
        self._ended: list[Whole | Refused] = []

    @property
    def request(self) -> Request | None:
        """The request that is coming in, or None."""
        return self._request if self._phase in (Phase.READY, Phase.RECEIVING) else None

    def handle(self, event: Event, ids_in_use: Collection[str | None]) -> list[Whole | Refused]:
        """Take one event, and say which requests ended by it. Events that are no part of requests are ignored.

        Args:
            ids_in_use: those of the requests that came in before and have not been answered.
        """
        step = _TABLE[self._phase].get(event.type)
        if step is None:
            return []
        self._ids_in_use = ids_in_use
        try:
            step(self, event)
        except WhisperdError as error:
            self._refuse(error, _AFTER_ERROR[event.type])
        ended, self._ended = self._ended, []
        return ended

    def drop(self) -> float:
        """Give up the request that is coming in, and drop the rest of it; returns the seconds that had come."""
        if self._phase is Phase.READY:
            self._phase = Phase.REFUSED
        elif self._phase is Phase.RECEIVING:
            self._phase = Phase.DROPPING
        self._request = Request()
        clip, self._clip = self._clip, None
        if clip is None:
            return 0.0
        clip.drop()
        return clip.seconds

    def _refuse(self, error: WhisperdError, phase: Phase) -> None:
        request_id = self._request.id
        self._ended.append(Refused(request_id, self.drop(), error))
        self._phase = phase

    # --- the steps of the table ------------------------------------------------------------------------------

    def _begin(self, event: Event) -> None:
        """transcribe. One that no audio has followed is replaced."""
        self._request = Request()  # whose error it is, until its id is known
        if self.extended:
            self._request = Request(id=protocol.read_id(event))
        if self.stopping is not None:
            raise self.stopping
        if self._request.id is not None and self._request.id in self._ids_in_use:
            raise BadEvent(f"transcribe: id {self._request.id} is still in use")
        request = protocol.read_transcribe(event, self._model.model, extended=self.extended)
        self._model.check(request.options)
        self._request = request
        self._phase = Phase.READY

    def _begin_anew(self, event: Event) -> None:
        """transcribe within a clip: that clip has no end, and must not become part of the next."""
        self._interrupt(event)
        self._begin(event)

    def _start(self, event: Event) -> None:
        """audio-start."""
        if self.stopping is not None:
            raise self.stopping
        self._clip = Clip(protocol.read_format(event), self._budget, self._max_clip_seconds)
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
        clip = self._receiving()
        protocol.check_chunk(event, clip.format)
        clip.append(event.payload)

    def _finish(self, event: Event) -> None:
        """audio-stop."""
        clip = self._receiving()
        self._ended.append(Whole(self._request, clip.seconds, clip.finish()))
        self._clip = None
        self._request = Request()
        self._phase = Phase.IDLE

    def _unexpected(self, event: Event) -> None:
        raise UnexpectedEvent(f"{event.type} {self._phase.value}")

    def _skip(self, event: Event) -> None:
        """Audio of a request that has been answered."""

    def _skip_start(self, event: Event) -> None:
        self._phase = Phase.DROPPING

    def _skip_stop(self, event: Event) -> None:
        self._phase = Phase.IDLE

    def _interrupt(self, event: Event) -> None:
        error = UnexpectedEvent(f"{event.type} {self._phase.value}: its audio-stop is missing")
        self._refuse(error, Phase.IDLE)

    def _receiving(self) -> Clip:
        assert self._clip is not None, "RECEIVING has a clip"
        return self._clip


_AFTER_ERROR: Final = {
    "transcribe": Phase.REFUSED,
    "audio-start": Phase.DROPPING,
    "audio-chunk": Phase.DROPPING,
    "audio-stop": Phase.IDLE,
}
"""Where the rest is dropped of a request that this event was wrong for."""

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
    # A client that has read the error may begin anew without sending the rest.
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
