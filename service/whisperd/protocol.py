"""What the events say: their fields, read with a check and written with a unit. Pure.

`wire` knows how an event is framed, `session` when one may come; this is what stands in it. docs/protocol.md
is the same knowledge for the other end.
"""

from __future__ import annotations

import enum
import math
import re
import reprlib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from . import __version__
from .audio.pcm import PcmFormat
from .errors import BadEvent, BadFormat, UnknownModel, WhisperdError
from .speech import options
from .speech.endpoint import SENSITIVITIES
from .speech.options import Options
from .speech.types import ModelInfo, Segment, Transcription, Word
from .wire import Event, JsonObject

PROTOCOL_VERSION: Final = 1
DEFAULT_SENSITIVITY: Final = "default"
FEATURES: Final = (
    "cancel",
    "devices",
    "listen",
    "live",
    "no-speech",
    "options",
    "partial",
    "queued",
    "segments",
    "status",
    "words",
)
"""What a client may count on after `hello`; a later daemon adds names and takes none away."""

# An id is written to the log beside what the daemon knows to be true: it must not be able to look like it.
_ID: Final = re.compile(r"[A-Za-z0-9._:-]{1,64}")


class Priority(enum.IntEnum):
    """Order of service, the lowest first: who waits for an answer goes before who left a file."""

    FINAL = 0
    PARTIAL = 1
    FILE = 2


class Mode(enum.Enum):
    """Who says where an utterance begins and ends: the voice, or the client."""

    HANDS_FREE = "hands-free"
    PUSH_TO_TALK = "push-to-talk"


_PRIORITIES: Final = {"final": Priority.FINAL, "file": Priority.FILE}


@dataclass(frozen=True)
class Outcome:
    """What became of a job, and how long it took.

    Attributes:
        result: the transcription, or the error that stands for it.
        queue_s: seconds it waited for the worker.
        run_s: seconds the worker spent on it; 0 where it was never begun.
    """

    result: Transcription | WhisperdError
    queue_s: float
    run_s: float


@dataclass(frozen=True)
class Request:
    """What a client wants of its next clip; the default is that of a client that sends no `transcribe`.

    Attributes:
        live: the audio is not one clip but a stream of utterances, and who says where they end.
        vad_sensitivity: how quickly the end of speech is detected, in Wyoming's words.
    """

    id: str | None = None
    options: Options = Options()
    priority: Priority = Priority.FINAL
    live: Mode | None = None
    vad_sensitivity: str = DEFAULT_SENSITIVITY


# --- read -----------------------------------------------------------------------------------------------------


def read_id(event: Event) -> str | None:
    """The `id` that every answer to this event is to carry.

    Raises:
        BadEvent: it is not 1 to 64 of the letters, digits, and . _ : -
    """
    value = event.data.get("id")
    if value is not None and not (isinstance(value, str) and _ID.fullmatch(value)):
        raise BadEvent(f"{event.type}: id must be 1 to 64 of A-Z a-z 0-9 . _ : -, not {reprlib.repr(value)}")
    return value


def read_hello(event: Event) -> None:
    """Check a `hello`. Names of features that this daemon does not know are no error: the client may be newer.

    Raises:
        BadEvent: `protocol` is not a whole number from 1 up, or `features` not a list of texts.
    """
    version = event.data.get("protocol")
    if type(version) is not int or version < 1:
        raise BadEvent(f"hello: protocol must be a whole number from 1 up, not {reprlib.repr(version)}")
    features = event.data.get("features", [])
    if not isinstance(features, list) or not all(isinstance(name, str) for name in features):
        raise BadEvent(f"hello: features must be a list of texts, not {reprlib.repr(features)}")


def read_text(event: Event, name: str) -> str | None:
    """A field that is a text, null or absent; BadEvent otherwise."""
    value = event.data.get(name)
    if value is not None and not isinstance(value, str):
        raise BadEvent(f"{event.type}: {name} must be a text, not {reprlib.repr(value)}")
    return value


def read_transcribe(event: Event, model: ModelInfo, *, extended: bool) -> Request:
    """What a `transcribe` or `listen` asks for. Of an older client, only what Wyoming has counts (not `extended`).

    Raises:
        BadEvent: a field has the wrong type, or `priority` is none of those that there are.
        BadOption: a choice for the clip has a wrong type or value.
        UnknownModel: `name` is not the model's.
    """
    name = read_text(event, "name")
    if name is not None and name != model.name:
        raise UnknownModel(f"{event.type}: model {reprlib.repr(name)} is not loaded; {model.name!r} is")
    sensitivity = _choice(event, "vad_sensitivity", DEFAULT_SENSITIVITY, tuple(SENSITIVITIES))
    if not extended:
        told = {"language": read_text(event, "language"), **_hotwords(event, None)}
        return Request(options=options.read(told, event.type), vad_sensitivity=sensitivity)
    priority = _PRIORITIES[_choice(event, "priority", "final", tuple(_PRIORITIES))]
    live = event.data.get("live", False)
    if not isinstance(live, bool):
        raise BadEvent(f"{event.type}: live must be true or false, not {reprlib.repr(live)}")
    mode = Mode(_choice(event, "mode", Mode.HANDS_FREE.value, tuple(m.value for m in Mode)))
    live = live or event.type == "listen"
    told = {**event.data, **_hotwords(event, event.data.get("hotwords"))}
    chosen = options.read(told, event.type, live=live)
    return Request(read_id(event), chosen, priority, mode if live else None, sensitivity)


def _hotwords(event: Event, own: object) -> dict[str, object]:
    """Wyoming's two lists of words that are likely to come, as our one: names go first.

    Wyoming knows no bounds for them: what is over ours is left out, and costs no clip its text.
    """
    words: list[object] = [] if own is None else list(own) if isinstance(own, list) else [own]
    room = max(0, options.MAX_HOTWORDS - len(words))
    theirs: list[str] = []
    for name in ("transcript_names", "transcript_terms"):
        value = event.data.get(name)
        if value is None:
            continue
        if not isinstance(value, list) or not all(isinstance(word, str) for word in value):
            raise BadEvent(f"{event.type}: {name} must be a list of texts, not {reprlib.repr(value)}")
        theirs += [word for word in value if len(word) <= options.MAX_HOTWORD_CHARS and "\0" not in word]
    return {"hotwords": words + theirs[:room]}


def _choice(event: Event, name: str, default: str, known: tuple[str, ...]) -> str:
    """A field that is one of several texts, or absent."""
    value = read_text(event, name)
    if value is not None and value not in known:
        raise BadEvent(f"{event.type}: {name} must be {' or '.join(known)}, not {reprlib.repr(value)}")
    return default if value is None else value


def read_format(event: Event) -> PcmFormat:
    """The sample format of an `audio-start`.

    Raises:
        BadEvent: a field is missing or not a whole number.
        BadFormat: samples like that cannot be converted.
    """
    fields: dict[str, int] = {}
    for name in ("rate", "width", "channels"):
        value = event.data.get(name)
        if type(value) is not int:
            raise BadEvent(f"{event.type}: {name} must be a whole number, not {reprlib.repr(value)}")
        fields[name] = value
    return PcmFormat(**fields)


def check_chunk(event: Event, fmt: PcmFormat) -> None:
    """Refuse an `audio-chunk` that says of itself to be of another format than its clip."""
    for name, expected in (("rate", fmt.rate), ("width", fmt.width), ("channels", fmt.channels)):
        value = event.data.get(name, expected)
        if value != expected:
            raise BadFormat(f"audio-chunk: {name} is {reprlib.repr(value)}, its audio-start said {expected}")


# --- write ----------------------------------------------------------------------------------------------------


def answer(event_type: str, data: Mapping[str, Any], request_id: str | None = None) -> Event:
    """An event to the client, with the id of what it answers."""
    return Event(event_type, dict(data) if request_id is None else {"id": request_id, **data})


def error(cause: WhisperdError, request_id: str | None = None) -> Event:
    """The `error` event of an error."""
    return answer("error", {"text": cause.text, "code": cause.code, "retry": cause.retry}, request_id)


def info(model: ModelInfo, request_id: str | None = None) -> Event:
    """The answer to `describe`, as Wyoming has it."""
    description = f"Whisper {model.name}, {model.precision}, licence {model.licence}"
    asr_model = {
        "name": model.name,
        "attribution": {"name": "OpenAI Whisper", "url": model.source},
        "installed": True,
        "description": description,
        "version": None,
        # What may be asked for, not what the weights know: a client offers this list to a person.
        "languages": list(model.allowed_languages),
    }
    program = {
        "name": "whisperd",
        "attribution": {"name": "meta-whisper", "url": ""},
        "installed": True,
        "description": "Offline speech recognition with Whisper on ONNX Runtime",
        "version": __version__,
        "models": [asr_model],
        "supports_transcript_streaming": True,
        "requires_external_vad": False,  # voice-stopped tells when the speaker is done
        # The log-mel features are relative to the clip's loudest band, and Whisper was trained on noisy speech:
        # gain changes nothing, and noise reduction takes away more than noise.
        "prefers_auto_gain_enabled": False,
        "prefers_noise_reduction_enabled": False,
    }
    absent: dict[str, list[Any]] = {name: [] for name in ("tts", "handle", "intent", "wake", "mic", "snd")}
    return answer("info", {"asr": [program], **absent}, request_id)


def listening(mode: Mode, device: str | None, request_id: str | None) -> Event:
    """A live stream has begun; `device` is None where the client sends the audio."""
    return answer("listening", {"mode": mode.value, "device": device}, request_id)


def answer_to_clip(
    outcome: Outcome, result: Transcription, request: Request, *, where: Mapping[str, Any] | None = None
) -> Event:
    """The answer to a clip or an utterance of a client that has said hello: `transcript`, or `no-speech`."""
    if result.text:
        event = transcript(outcome, result, request, extended=True)
        return Event(event.type, {**event.data, **(where or {})})
    data = {"reason": result.no_speech, "audio_seconds": rounded(result.audio_s), **(where or {})}
    return answer("no-speech", data, request.id)


def transcript(outcome: Outcome, result: Transcription, request: Request, *, extended: bool) -> Event:
    """The answer to a clip: Wyoming's two fields, and after `hello` everything that is known."""
    data: JsonObject = {"text": result.text, "language": result.language}
    if extended:
        data |= {
            "audio_seconds": rounded(result.audio_s),
            "queue_ms": rounded(outcome.queue_s * 1000),
            "features_ms": rounded(result.timings.features_ms),
            "encode_ms": rounded(result.timings.encode_ms),
            "decode_ms": rounded(result.timings.decode_ms),
            "rtf": rounded(outcome.run_s / result.audio_s) if result.audio_s else None,
            "fallbacks": result.fallbacks,
            "confidence": rounded(result.confidence),
            "segments": [segment_fields(segment, request.options) for segment in result.segments],
        }
        if result.languages:
            data["languages"] = {code: rounded(probability) for code, probability in result.languages}
    return answer("transcript", data, request.id)


def segment_fields(segment: Segment, chosen: Options) -> JsonObject:
    """A segment as JSON has it; its words only where they were asked for."""
    fields: JsonObject = {
        "start": rounded(segment.start_s),
        "end": rounded(segment.end_s),
        "text": segment.text,
        "avg_logprob": rounded(segment.avg_logprob),
        "no_speech_prob": rounded(segment.no_speech_prob),
        "compression_ratio": rounded(segment.compression_ratio),
        "temperature": rounded(segment.temperature),
    }
    if chosen.word_timestamps:
        fields["words"] = [word_fields(word) for word in segment.words]
    return fields


def word_fields(word: Word) -> JsonObject:
    """A word as JSON has it, with its leading space."""
    return {
        "word": word.text,
        "start": rounded(word.start_s),
        "end": rounded(word.end_s),
        "probability": rounded(word.probability),
        "confidence": rounded(word.confidence),
    }


def rounded(number: float) -> float | None:
    """A number as answers have it: three places, and none where it is not finite."""
    # JSON has no NaN; a probability that is none must not cost its clip the text.
    return round(float(number), 3) if math.isfinite(number) else None
