"""Errors that leave the daemon: each has a stable code, a sentence, and says whether trying again can help.

An error is raised where the fact is known and turned into a wire event, an exit code or a log line at the
edge. Codes are part of the protocol (docs/protocol.md): they are never renamed.
"""

from __future__ import annotations

from typing import ClassVar


class WhisperdError(Exception):
    """Base of every error with a stable code.

    Attributes:
        code: kebab-case identifier, stable across versions.
        retry: whether the same request can succeed later without being changed.
        text: one sentence for a person, naming what is wrong and where.
    """

    code: ClassVar[str] = "internal"
    retry: ClassVar[bool] = False

    def __init__(self, text: str) -> None:
        super().__init__(text)
        self.text = text


# --- what a peer sent -------------------------------------------------------------------------------------


class BadHeader(WhisperdError):
    """The header line is not UTF-8, not JSON, not an object, or has no usable `type`."""

    code = "bad-header"


class BadData(WhisperdError):
    """The data block after a header is not UTF-8, not JSON, or not an object."""

    code = "bad-data"


class HeaderTooLong(WhisperdError):
    """The header line exceeds its limit."""

    code = "header-too-long"


class PayloadTooLong(WhisperdError):
    """`data_length` or `payload_length` exceeds its limit."""

    code = "payload-too-long"


class BadEvent(WhisperdError):
    """A known event has a missing or wrong field."""

    code = "bad-event"


class BadOption(WhisperdError):
    """A choice for a clip has a wrong type or value.

    Attributes:
        name: of the choice.
    """

    code = "bad-option"

    def __init__(self, text: str, name: str) -> None:
        super().__init__(text)
        self.name = name


class UnexpectedEvent(WhisperdError):
    """An event came in a state in which it means nothing, such as audio-chunk before audio-start."""

    code = "unexpected-event"


class BadFormat(WhisperdError):
    """A rate, width or channel count that cannot be converted."""

    code = "bad-format"


class BadPayload(WhisperdError):
    """A payload that is not a whole number of audio frames."""

    code = "bad-payload"


class BadAudio(WhisperdError):
    """Audio that cannot be decoded, is empty, or holds values that are not numbers."""

    code = "bad-audio"


class AudioTooLong(WhisperdError):
    """A clip longer than the limit."""

    code = "audio-too-long"


class UnknownLanguage(WhisperdError):
    """A language that the model does not know or the configuration does not allow."""

    code = "unknown-language"


class UnknownTask(WhisperdError):
    """A task that the model cannot do."""

    code = "unknown-task"


class UnknownModel(WhisperdError):
    """A model that is not loaded."""

    code = "unknown-model"


# --- what the daemon cannot do now ------------------------------------------------------------------------


class TooManyConnections(WhisperdError):
    """Every connection slot is taken."""

    code = "too-many-connections"
    retry = True


class QueueFull(WhisperdError):
    """The queue of waiting jobs, or the memory for waiting audio, is full."""

    code = "queue-full"
    retry = True


class TimedOut(WhisperdError):
    """A peer was silent, or did not read, for longer than its limit."""

    code = "timed-out"
    retry = True


class ShuttingDown(WhisperdError):
    """The daemon is stopping."""

    code = "shutting-down"
    retry = True


class NoMicrophone(WhisperdError):
    """The microphone cannot be opened, or gives no samples."""

    code = "no-microphone"
    retry = True


class Cancelled(WhisperdError):
    """The request was cancelled by its client."""

    code = "cancelled"


class InternalError(WhisperdError):
    """A defect of the daemon or a failure of the model run-time."""

    code = "internal"


# --- what an operator has to mend -------------------------------------------------------------------------


class ConfigError(WhisperdError):
    """A configuration file, environment variable or flag with an unknown name or a bad value."""

    code = "bad-config"


class NoRoom(WhisperdError):
    """A second model does not fit into memory beside the one that serves."""

    code = "no-room"
    retry = True


class BundleError(WhisperdError):
    """A model bundle that is missing, incomplete, changed, or of an unknown format version."""

    code = "bad-bundle"
