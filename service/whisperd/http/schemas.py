"""JSON schemas of what the server answers. Pure."""

from __future__ import annotations

from typing import Any, Final

Json = dict[str, Any]


def ref(name: str) -> Json:
    """A reference to one of them."""
    return {"$ref": f"#/components/schemas/{name}"}


def _object(properties: Json, *optional: str) -> Json:
    required = [name for name in properties if name not in optional]
    return {"type": "object", "properties": properties, "required": required, "additionalProperties": False}


def _list(items: Json) -> Json:
    return {"type": "array", "items": items}


_TEXT: Final[Json] = {"type": "string"}
_NUMBER: Final[Json] = {"type": "number"}
_COUNT: Final[Json] = {"type": "integer", "minimum": 0}
_FLAG: Final[Json] = {"type": "boolean"}
_SECONDS: Final[Json] = {"type": "number", "minimum": 0, "description": "seconds"}
_MAYBE_NUMBER: Final[Json] = {"type": "number", "nullable": True}

_PROBLEM: Final[Json] = {
    "type": _TEXT,
    "title": _TEXT,
    "status": {"type": "integer", "minimum": 400, "maximum": 599},
    "detail": {**_TEXT, "description": "one sentence for a person"},
    "code": {**_TEXT, "description": "stable; docs/http.md has them all"},
    "retry": {**_FLAG, "description": "whether the same request can succeed later"},
    "field": {**_TEXT, "description": "the field, header or parameter that is wrong"},
}

_SEGMENT_NUMBERS: Final = ("avg_logprob", "no_speech_prob", "compression_ratio", "temperature")

_TRANSCRIPTION: Final[Json] = {
    "text": _TEXT,
    "language": _TEXT,
    "duration": {**_SECONDS, "description": "of the recording, in seconds"},
    "inference_time": {**_SECONDS, "description": "seconds that the worker spent on it"},
    "total_time": {**_SECONDS, "description": "seconds from the upload to this answer"},
    "rtf": {**_MAYBE_NUMBER, "description": "inference_time for a second of audio"},
    "timestamp": {"type": "string", "format": "date-time", "description": "of the answer"},
    "confidence": {"type": "number", "minimum": 0, "maximum": 1},
    "no_speech": {"type": "string", "nullable": True, "description": "why there is no text"},
    "segments": _list(ref("Segment")),
    "languages": {"type": "object", "additionalProperties": _NUMBER},
}

SCHEMAS: Final[Json] = {
    "Problem": _object(_PROBLEM, "field"),
    "OpenAiProblem": _object({**_PROBLEM, "error": ref("OpenAiError")}, "field"),
    "OpenAiError": _object(
        {
            "message": _TEXT,
            "type": _TEXT,
            "param": {"type": "string", "nullable": True},
            "code": {"type": "string", "nullable": True},
        }
    ),
    "Greeting": _object({"name": _TEXT, "version": _TEXT, "openapi": _TEXT}),
    "Health": _object({"status": _TEXT, "state": _TEXT, "model": _TEXT}, "model"),
    "Status": {
        **_object(
            {
                "state": {"type": "string", "enum": ["idle", "busy", "stuck", "stopping"]},
                "model": _TEXT,
                "queue": _COUNT,
                "running": _COUNT,
                "connections": _COUNT,
                "requests": _COUNT,
                "failed": _COUNT,
                "buffered_seconds": _NUMBER,
                "listening": _COUNT,
                "microphone_samples": _COUNT,
                "microphone_lost": _COUNT,
                "uptime_seconds": _NUMBER,
                "reloading": _FLAG,
                "reload_error": _TEXT,
            }
        ),
        "additionalProperties": True,
    },
    "Model": _object(
        {
            "name": _TEXT,
            "precision": _TEXT,
            "multilingual": _FLAG,
            "languages": _list(_TEXT),
            "allowed_languages": _list(_TEXT),
            "default_language": _TEXT,
            "licence": _TEXT,
            "source": _TEXT,
            "max_clip_seconds": _NUMBER,
        }
    ),
    "Word": _object(
        {
            "word": _TEXT,
            "start": _NUMBER,
            "end": _NUMBER,
            "probability": _MAYBE_NUMBER,
            "confidence": _MAYBE_NUMBER,
        }
    ),
    "Segment": _object(
        {
            "start": _NUMBER,
            "end": _NUMBER,
            "text": _TEXT,
            **dict.fromkeys(_SEGMENT_NUMBERS, _MAYBE_NUMBER),
            "words": {**_list(ref("Word")), "description": "with word_timestamps"},
        },
        "words",
    ),
    "Transcription": _object(_TRANSCRIPTION, "languages"),
    "BatchResult": {
        **_object({"filename": {"type": "string", "nullable": True}, "problem": ref("Problem"), **_TRANSCRIPTION}),
        "required": ["filename"],
        "description": "as Transcription, or with the problem of this file alone",
    },
    "Batch": _object(
        {
            "results": _list(ref("BatchResult")),
            "total_time": _SECONDS,
            "timestamp": {"type": "string", "format": "date-time"},
        }
    ),
    "OpenAiModel": _object(
        {"id": _TEXT, "object": {"type": "string", "enum": ["model"]}, "created": _COUNT, "owned_by": _TEXT}
    ),
    "OpenAiModels": _object({"object": {"type": "string", "enum": ["list"]}, "data": _list(ref("OpenAiModel"))}),
    "OpenAiUsage": _object({"type": {"type": "string", "enum": ["duration"]}, "seconds": _COUNT}),
    "OpenAiText": _object({"text": _TEXT, "usage": ref("OpenAiUsage")}),
    "OpenAiSegment": _object(
        {
            "id": _COUNT,
            "seek": _COUNT,
            "start": _NUMBER,
            "end": _NUMBER,
            "text": _TEXT,
            "tokens": _list(_COUNT),
            **dict.fromkeys(_SEGMENT_NUMBERS, _MAYBE_NUMBER),
        }
    ),
    "ServerSentEvent": _object(
        {
            "event": _TEXT,
            "data": {**_TEXT, "description": "JSON: transcript.text.delta, transcript.text.done or error"},
        }
    ),
    "OpenAiWord": _object({"word": _TEXT, "start": _NUMBER, "end": _NUMBER}),
    "OpenAiVerbose": _object(
        {
            "task": {"type": "string", "enum": ["transcribe", "translate"]},
            "language": _TEXT,
            "duration": _SECONDS,
            "text": _TEXT,
            "usage": ref("OpenAiUsage"),
            "segments": _list(ref("OpenAiSegment")),
            "words": _list(ref("OpenAiWord")),
        },
        "segments",
        "words",
    ),
}
