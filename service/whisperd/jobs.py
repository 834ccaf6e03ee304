"""What a connection owes its client: requests that were handed over, and live streams. Pure."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, Protocol

from . import protocol
from .actions import (
    DISCONNECTED,
    NO_SPEECH,
    TRANSCRIBED,
    Action,
    Cancel,
    Close,
    Report,
    Send,
    Submit,
    Unlisten,
)
from .clip import Budget
from .errors import AudioTooLong, QueueFull, WhisperdError
from .listening import SHARE, Listening
from .live import LiveStream
from .protocol import Mode, Outcome, Request
from .speech.options import Options
from .speech.types import Int16Samples, ModelInfo, Transcription
from .wire import Event, JsonObject

if TYPE_CHECKING:
    from collections.abc import Callable

    from .config import Limits

_LIMITS: Final = (AudioTooLong, QueueFull)
"""What ends the connection. Its audio is on its way, and dropping it to its end has no bound of its own."""


class Service(Protocol):
    """What a session may ask about the daemon it speaks for."""

    @property
    def model(self) -> ModelInfo:
        """The loaded model."""

    @property
    def microphone(self) -> str:
        """ALSA's name of the microphone."""

    def check(self, options: Options) -> None:
        """Raise UnknownLanguage or UnknownTask for options that the model cannot serve."""

    def status(self) -> JsonObject:
        """What `status` answers."""

    def devices(self) -> list[JsonObject]:
        """What `devices` answers; raises NoMicrophone where nobody can tell."""

    def new_stream(
        self, mode: Mode, vad_sensitivity: str, new_key: Callable[[], int], *, clip: bool
    ) -> LiveStream:
        """A live stream; `clip` if it follows a clip, which may be of any length and wants no levels."""


@dataclass
class Job:
    """A request that was handed over. Its share of the budget is held until the worker lets go of the clip."""

    request: Request
    audio_s: float
    samples: int
    answered: bool = False


class Jobs:
    """Jobs and live streams of one connection, and the actions that come of them."""

    def __init__(self, service: Service, limits: Limits, budget: Budget) -> None:
        self._service = service
        self._limits = limits
        self._budget = budget
        self._extended = False  # the client has said hello
        self._jobs: dict[int, Job] = {}
        self._streams: list[Listening] = []
        self._stream_jobs: dict[int, Listening] = {}
        self._microphone: Listening | None = None  # the stream that hears it
        self._next_key = 0
        self._draining = False  # closes when its jobs are answered
        self._goodbye: WhisperdError | None = None  # said then
        self._closed = False
        self._actions: list[Action] = []

    @property
    def closed(self) -> bool:
        """Whether Close has been asked for."""
        return self._closed

    @property
    def busy(self) -> bool:
        """Whether an answer is owed, or the microphone is listened to: then a silent client is no idle one."""
        return bool(self._owed() or self._answering())

    # --- what the daemon tells --------------------------------------------------------------------------------

    def job_queued(self, key: int, ahead: int) -> list[Action]:
        """The job was queued, with so many before it."""
        if self._extended and key in self._jobs:
            self._send(protocol.answer("queued", {"position": ahead}, self._jobs[key].request.id))
        return self._taken()

    def job_refused(self, key: int, error: WhisperdError) -> list[Action]:
        """The job was not queued; no `job_done` follows."""
        stream = self._stream_jobs.pop(key, None)
        if stream is not None:
            self._follow(stream, stream.job_refused(key, error))
        elif key in self._jobs:
            job = self._jobs.pop(key)
            self._budget.give(job.samples)
            self._refuse(error, job.request.id, job.audio_s)
        self._close_if_drained()
        return self._taken()

    def job_done(self, key: int, outcome: Outcome) -> list[Action]:
        """The worker is done with the job."""
        stream = self._stream_jobs.pop(key, None)
        if stream is not None:
            self._follow(stream, stream.job_done(key, outcome))
        elif key in self._jobs:
            job = self._jobs.pop(key)
            self._budget.give(job.samples)
            if not job.answered:
                self._answer(job, outcome)
        self._close_if_drained()
        return self._taken()

    # --- jobs -------------------------------------------------------------------------------------------------

    def _new_key(self) -> int:
        self._next_key += 1
        return self._next_key - 1

    def _submit(self, pcm: Int16Samples, request: Request, audio_s: float) -> None:
        key = self._new_key()
        self._jobs[key] = Job(request, audio_s, len(pcm))
        self._actions.append(Submit(key, pcm, request.options, request.priority))

    def _answer(self, job: Job, outcome: Outcome) -> None:
        result, request = outcome.result, job.request
        if not isinstance(result, Transcription):
            self._send(protocol.error(result, request.id))
            self._actions.append(Report(request.id, result.code, job.audio_s, outcome))
            return
        if self._extended:
            self._send(protocol.answer_to_clip(outcome, result, request))
        else:
            self._send(protocol.transcript(outcome, result, request, extended=False))
        ended = TRANSCRIBED if result.text else NO_SPEECH
        self._actions.append(Report(request.id, ended, job.audio_s, outcome))

    def _owed(self) -> list[tuple[int, Job]]:
        """The jobs that are to be answered, by key."""
        return [(key, job) for key, job in self._jobs.items() if not job.answered]

    def _give_up(self, key: int, job: Job, outcome: str) -> None:
        job.answered = True
        self._actions.append(Cancel(key))
        self._actions.append(Report(job.request.id, outcome, job.audio_s))

    def _refuse(self, error: WhisperdError, request_id: str | None, audio_s: float) -> None:
        self._send(protocol.error(error, request_id))
        self._actions.append(Report(request_id, error.code, audio_s))
        if isinstance(error, _LIMITS):
            self._close(error.code)

    # --- live streams -----------------------------------------------------------------------------------------

    def _answering(self) -> list[Listening]:
        """The streams that do not wait for audio of the client."""
        return self._streams

    def _new_stream(self, request: Request, mode: Mode, *, clip: bool) -> Listening:
        """Begin to follow a stream; raises QueueFull where its share of the memory is not to be had, or there are
        too many already.
        """
        if len(self._streams) >= self._limits.max_jobs_per_connection:
            raise QueueFull(f"{self._limits.max_jobs_per_connection} streams of this connection are not over yet")
        self._budget.take(SHARE)
        made = self._service.new_stream(mode, request.vad_sensitivity, self._new_key, clip=clip)
        stream = Listening(made, request, extended=self._extended, clip=clip)
        self._streams.append(stream)
        return stream

    def _follow(self, stream: Listening, actions: Iterable[Action]) -> None:
        """Do what came of a stream, and let go of one that is over."""
        for action in actions:
            if isinstance(action, Submit):
                self._stream_jobs[action.key] = stream
            self._actions.append(action)
        if stream.over and stream in self._streams:
            self._streams.remove(stream)
            self._budget.give(SHARE)
            self._silence(stream)

    def _silence(self, stream: Listening) -> None:
        """Let it hear the microphone no more, if it does."""
        if self._microphone is stream:
            self._microphone = None
            self._actions.append(Unlisten())

    def _abandon(self, stream: Listening, outcome: str) -> None:
        seconds = stream.seconds
        self._follow(stream, stream.abandon())
        self._actions.append(Report(stream.request.id, outcome, seconds))

    # --- helpers ----------------------------------------------------------------------------------------------

    def _close_if_drained(self) -> None:
        if self._draining and not self.busy and not self.closed:
            if self._goodbye is not None:
                self._send(protocol.error(self._goodbye))
            self._close("" if self._goodbye is None else self._goodbye.code)

    def _close(self, reason: str) -> None:
        """Let go of everything; what is still owed an answer is cancelled."""
        for key, job in self._owed():
            self._give_up(key, job, DISCONNECTED)
        for stream in list(self._streams):
            self._abandon(stream, DISCONNECTED)
        self._closed = True
        self._actions.append(Close(reason))

    def _send(self, event: Event) -> None:
        self._actions.append(Send(event))

    def _taken(self) -> list[Action]:
        actions, self._actions = self._actions, []
        return actions
