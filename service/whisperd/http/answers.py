"""What comes out: transcriptions as the REST endpoints, and as OpenAI's API, write them. Pure."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timezone
from typing import Any, Final

from .. import __version__, protocol
from ..config import Limits
from ..speech.options import Options
from ..speech.types import ModelInfo, Transcription
from ..wire import JsonObject
from .fields import ALIAS, OpenAiWanted

STATES_WELL: Final = ("idle", "busy")


@dataclass(frozen=True)
class Answer:
    """One file's transcription.

    Attributes:
        result: times are those of the file, whatever was cut from it.
        run_s: seconds that the worker spent on it.
        total_s: seconds from the file's arrival to this answer, waiting included.
        audio_s: length of the file in seconds.
    """

    result: Transcription
    run_s: float
    total_s: float
    audio_s: float


def transcribed(answer: Answer, options: Options, now: float) -> JsonObject:
    """The body of POST /transcribe for one file; `now` is the time of day, in seconds since 1970."""
    result = answer.result
    body: JsonObject = {
        "text": result.text,
        "language": result.language,
        "duration": protocol.rounded(answer.audio_s),
        "inference_time": protocol.rounded(answer.run_s),
        "total_time": protocol.rounded(answer.total_s),
        "rtf": protocol.rounded(answer.run_s / answer.audio_s) if answer.audio_s else None,
        "timestamp": timestamp(now),
        "confidence": protocol.rounded(result.confidence),
        "no_speech": result.no_speech or None,
        "segments": [protocol.segment_fields(segment, options) for segment in result.segments],
    }
    if result.languages:
        body["languages"] = {code: protocol.rounded(probability) for code, probability in result.languages}
    return body


def timestamp(now: float) -> str:
    """ISO 8601, UTC, to the millisecond."""
    return datetime.fromtimestamp(now, timezone.utc).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def greeting() -> JsonObject:
    """GET /."""
    return {"name": "whisperd", "version": __version__, "openapi": "/openapi.json"}


def health(status: Mapping[str, Any]) -> tuple[int, JsonObject]:
    """GET /health: the HTTP status and the body, after what the daemon's status says."""
    state = status["state"]
    well = state in STATES_WELL
    return (200 if well else 503), {"status": "ok" if well else state, "state": state, "model": status["model"]}


def model_info(model: ModelInfo, limits: Limits) -> JsonObject:
    """GET /model/info."""
    return {
        "name": model.name,
        "precision": model.precision,
        "multilingual": model.multilingual,
        "languages": list(model.languages),
        "allowed_languages": list(model.allowed_languages),
        "default_language": model.default_language,
        "licence": model.licence,
        "source": model.source,
        "max_clip_seconds": limits.max_clip_seconds,
    }


# --- OpenAI ---------------------------------------------------------------------------------------------------


def openai_model(name: str, created: int) -> JsonObject:
    """One model as GET /v1/models/{model} has it."""
    return {"id": name, "object": "model", "created": created, "owned_by": "whisperd"}


def openai_models(model: ModelInfo, created: int) -> JsonObject:
    """GET /v1/models: the loaded model, and the name that every client knows."""
    return {"object": "list", "data": [openai_model(name, created) for name in (model.name, ALIAS)]}


def openai_json(answer: Answer) -> JsonObject:
    """response_format=json."""
    return {"text": answer.result.text, "usage": _usage(answer)}


def openai_verbose(answer: Answer, asked: OpenAiWanted) -> JsonObject:
    """response_format=verbose_json; segments unless only words were asked for."""
    result = answer.result
    body: JsonObject = {
        "task": asked.wanted.options.task,
        "language": result.language,
        "duration": protocol.rounded(answer.audio_s),
        "text": result.text,
        "usage": _usage(answer),
    }
    if "segment" in asked.granularities or not asked.granularities:
        body["segments"] = [
            {
                "id": number,
                "seek": 0,
                "start": protocol.rounded(segment.start_s),
                "end": protocol.rounded(segment.end_s),
                "text": segment.text,
                "tokens": list(segment.tokens),
                "temperature": protocol.rounded(segment.temperature),
                "avg_logprob": protocol.rounded(segment.avg_logprob),
                "compression_ratio": protocol.rounded(segment.compression_ratio),
                "no_speech_prob": protocol.rounded(segment.no_speech_prob),
            }
            for number, segment in enumerate(result.segments)
        ]
    if "word" in asked.granularities:
        body["words"] = [
            {
                "word": word.text.strip(),
                "start": protocol.rounded(word.start_s),
                "end": protocol.rounded(word.end_s),
            }
            for segment in result.segments
            for word in segment.words
        ]
    return body


def _usage(answer: Answer) -> JsonObject:
    return {"type": "duration", "seconds": math.ceil(answer.audio_s)}


def delta(text: str) -> JsonObject:
    """A piece of the text, of stream=true."""
    return {"type": "transcript.text.delta", "delta": text}


def done(text: str) -> JsonObject:
    """The whole text, of stream=true."""
    return {"type": "transcript.text.done", "text": text}


def server_sent(event: JsonObject) -> bytes:
    """An event of the kind that browsers call EventSource (WHATWG HTML, 9.2)."""
    return f"event: {event.get('type', 'error')}\ndata: {json.dumps(event)}\n\n".encode()
