"""What a session asks to be done: plain values, in the order in which they are to be done. Pure."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Final

from .protocol import Outcome, Priority
from .speech.options import Options
from .speech.types import Int16Samples
from .wire import Event

TRANSCRIBED: Final = "transcribed"
"""Outcome of a request that was answered with its transcript."""

NO_SPEECH: Final = "no-speech"
"""Outcome of a request in which nothing was said."""

DISCONNECTED: Final = "disconnected"
"""Outcome of a request whose connection ended before its answer."""


@dataclass(frozen=True)
class Send:
    """Write an event to the client.

    Attributes:
        lossy: left out where the client does not keep up.
        newest: of several that the client is not ready for, only the last is of use.
    """

    event: Event
    lossy: bool = False
    newest: bool = False


@dataclass(frozen=True, eq=False)
class Submit:
    """Queue a job, then tell the session: `job_queued` and later `job_done`, or `job_refused`.

    Attributes:
        key: names the job in those calls; unique within the session.
        pcm: int16[n], 16 kHz mono.
    """

    key: int
    pcm: Int16Samples
    options: Options
    priority: Priority


@dataclass(frozen=True)
class Cancel:
    """Cancel a job that was queued. Its `job_done` still comes."""

    key: int


@dataclass(frozen=True)
class Report:
    """Note the end of a request, for the log.

    Attributes:
        request_id: as the client gave it.
        outcome: TRANSCRIBED, DISCONNECTED, or the code of an error.
        audio_s: seconds of its audio.
        job: what the worker said of it, if it got so far. Not in the repr: it holds the transcript.
    """

    request_id: str | None
    outcome: str
    audio_s: float
    job: Outcome | None = field(default=None, repr=False)


@dataclass(frozen=True)
class Listen:
    """Let the session hear the microphone: call `microphone_opened` or `microphone_failed`, then `heard` …"""


@dataclass(frozen=True)
class Unlisten:
    """Let it hear no more, from now on."""


@dataclass(frozen=True)
class Warn:
    """Write a warning to the log."""

    text: str


@dataclass(frozen=True)
class Close:
    """Write what is still to be written, then close. `reason` is an error's code, or "" for a plain end."""

    reason: str


Action = Send | Submit | Cancel | Report | Listen | Unlisten | Warn | Close
