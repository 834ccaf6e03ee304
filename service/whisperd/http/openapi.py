"""The OpenAPI 3.0 document, made of the same declarations that the server reads requests with. Pure."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, Final

from .. import __version__
from ..speech.choice import Choice
from ..speech.options import CHOICES
from ..speech.types import TASKS, ModelInfo
from . import fields, problems, schemas
from .schemas import ref

Json = dict[str, Any]

#: How a form says true and false, and "" for the default.
TRUTHS: Final = ("true", "false", "1", "0", "yes", "no")

NOTHING: Final[Mapping[str, Json]] = {}
_MULTIPART: Final = "multipart/form-data"
_AUDIO: Final = "a recording: WAV, FLAC, OGG, MP3 and what else libsndfile reads"

#: What each kind of request may be refused with, beside what any may.
_ANY: Final = (400, 401, 403, 404, 405, 408, 503)
_UPLOAD: Final = (*_ANY, 413, 415, 422, 500)


def document(model: ModelInfo, max_files: int) -> Json:
    """The whole document; what may be asked for is what the model can, and the configuration allows."""
    codes = ("auto", *model.allowed_languages)
    # Written in any case, and with a region behind, which does not matter.
    languages = "|".join("".join(f"[{c.upper()}{c}]" for c in code) for code in codes)
    known: Json = {
        "language": {"pattern": rf"^({languages})([-_][^\x00]*)?$"},
        "task": {"enum": list(TASKS if model.multilingual else TASKS[:1])},
        "model": {"pattern": "^(|" + re.escape(model.name) + f"|{fields.ALIAS})$"},
    }
    return {
        "openapi": "3.0.3",
        "info": {
            "title": "whisperd",
            "version": __version__,
            "description": "Offline speech recognition with Whisper. docs/http.md is its manual."
            " /stream is a WebSocket for live speech, which OpenAPI cannot describe.",
            "license": {"name": "MIT"},
        },
        "servers": [{"url": "/", "description": "a Unix socket, or an address of this machine"}],
        "paths": {
            "/": _get("Name and version", "Greeting"),
            "/openapi.json": {"get": _operation("This document", {"200": _json({"type": "object"})})},
            "/health": {"get": _health()},
            "/status": _get("What the daemon does, and how much of it", "Status"),
            "/model/info": _get("The loaded model", "Model"),
            "/metrics": {"get": _operation("For Prometheus", {"200": _text("text/plain")})},
            "/transcribe": {"post": _transcribe(known, max_files)},
            "/transcribe/base64": {"post": _base64(known)},
            "/v1/models": _get("The models that OpenAI's clients may name", "OpenAiModels"),
            "/v1/models/{model}": {"get": _openai_model()},
            "/v1/audio/transcriptions": {"post": _openai("Transcribe, as OpenAI's API does", known)},
            "/v1/audio/translations": {"post": _openai("Translate into English, as OpenAI's API does", known)},
        },
        "components": {
            "schemas": schemas.SCHEMAS,
            "securitySchemes": {"token": {"type": "http", "scheme": "bearer"}},
        },
        # The Unix socket needs none, nor does TCP where no token is configured.
        "security": [{}, {"token": []}],
    }


# --- operations -----------------------------------------------------------------------------------------------


def _get(summary: str, schema: str) -> Json:
    return {"get": _operation(summary, {"200": _json(ref(schema))})}


def _health() -> Json:
    answers = {"200": _json(ref("Health")), "503": _json(ref("Health"))}
    answers["503"]["content"].update(_problem(503)["content"])
    return _operation("503 while the model is loaded, or the worker is stuck", answers)


def _transcribe(known: Json, max_files: int) -> Json:
    files: Json = {"type": "array", "items": {"type": "string", "format": "binary"}}
    files |= {"minItems": 1, "maxItems": max_files}
    properties = {
        fields.FILE: {**files, "description": f"{_AUDIO}; several are answered one by one"},
        **_form(fields.EXTRAS),
        **_form(CHOICES, known),
    }
    answers = {"200": _json({"oneOf": [ref("Transcription"), ref("Batch")]})}
    return _with_body(
        _operation("Transcribe recordings", answers, _UPLOAD), _MULTIPART, properties, (fields.FILE,)
    )


def _base64(known: Json) -> Json:
    properties = {
        fields.FILE_BASE64: {"type": "string", "format": "byte", "minLength": 4, "description": _AUDIO},
        **_members(fields.EXTRAS),
        **_members(CHOICES, known),
    }
    described = _operation("Transcribe a recording in JSON", {"200": _json(ref("Transcription"))}, _UPLOAD)
    return _with_body(described, "application/json", properties, (fields.FILE_BASE64,))


def _openai_model() -> Json:
    described = _operation("One of them", {"200": _json(ref("OpenAiModel"))}, problem="OpenAiProblem")
    described["parameters"] = [{"name": "model", "in": "path", "required": True, "schema": {"type": "string"}}]
    return described


def _openai(summary: str, known: Json) -> Json:
    many = {"type": "array", "items": {"type": "string", "enum": list(fields.GRANULARITIES)}}
    properties = {
        fields.FILE_OPENAI: {"type": "string", "format": "binary", "description": _AUDIO},
        **_form(fields.OPENAI, known),
        fields.OPENAI_MANY: {**many, "description": "of verbose_json: what has times"},
        **_form(fields.OPENAI_CHOICES),
    }
    answer = _json({"oneOf": [ref("OpenAiVerbose"), ref("OpenAiText")]})
    for kind in ("text/plain", "application/x-subrip", "text/vtt"):
        answer["content"].update(_text(kind)["content"])
    answer["content"]["text/event-stream"] = {"schema": ref("ServerSentEvent")}
    described = _operation(summary, {"200": answer}, _UPLOAD, problem="OpenAiProblem")
    return _with_body(described, _MULTIPART, properties, (fields.FILE_OPENAI,))


# --- parts ----------------------------------------------------------------------------------------------------


def _operation(
    summary: str, answers: Mapping[str, Json], refusals: tuple[int, ...] = _ANY, *, problem: str = "Problem"
) -> Json:
    refused = {str(status): _problem(status, problem) for status in sorted(set(refusals))}
    return {"summary": summary, "responses": {**refused, **answers}}


def _with_body(operation: Json, kind: str, properties: Json, required: tuple[str, ...]) -> Json:
    schema = {
        "type": "object",
        "properties": properties,
        "required": list(required),
        "additionalProperties": False,
    }
    content: Json = {"schema": schema}
    if kind == _MULTIPART:
        content["encoding"] = {
            name: {"style": "form", "explode": name == fields.OPENAI_MANY}
            for name, property_ in properties.items()
            if property_.get("type") == "array" and name != fields.FILE
        }
    return {**operation, "requestBody": {"required": True, "content": {kind: content}}}


def _members(choices: Mapping[str, Choice], known: Mapping[str, Json] = NOTHING) -> Json:
    """As JSON has them; `known` is what the loaded model adds."""
    made = {name: {**_member(choice), **known.get(name, {})} for name, choice in choices.items()}
    for name, schema in made.items():
        if schema["type"] == "array":  # one item stands for a list of it
            about = {key: schema.pop(key) for key in ("description", "default")}
            made[name] = {"anyOf": [{**schema, "nullable": True}, schema["items"]], **about}
    for schema in made.values():  # null is the default, if it is no value of its own
        schema["nullable"] = True
        if "enum" in schema:
            schema["enum"] = [*schema["enum"], None]
    return made


def _member(choice: Choice) -> Json:
    schema = choice.schema()
    if choice.kind is str and "enum" not in schema:
        (schema["items"] if choice.many else schema)["pattern"] = r"^[^\x00]*$"
    if choice.many and choice.default and not choice.nullable:
        schema["minItems"] = 1
    return schema


def _form(choices: Mapping[str, Choice], known: Mapping[str, Json] = NOTHING) -> Json:
    """As a form has them: as texts, and lists with commas between."""
    made = {name: {**_field(choice), **known.get(name, {})} for name, choice in choices.items()}
    if "pattern" in known.get("language", {}) and "language" in made:
        made["language"]["pattern"] = f"^$|{known['language']['pattern']}"  # "" is none, as in an empty input
    return made


def _field(choice: Choice) -> Json:
    schema = _member(choice)
    schema.pop("nullable", None)
    if choice.kind is bool:
        told = "" if choice.default is None else str(choice.default).lower()
        return {"type": "string", "enum": [*TRUTHS, ""], "description": choice.doc, "default": told}
    if not choice.many:
        return schema
    # OpenAPI 3.0 has no list with commas in a multipart form: a text, and what is in it in words.
    items = schema.pop("items")
    count = f"up to {choice.many}, with commas between"
    described = f"{choice.doc}; {count}; each: {', '.join(f'{k} {v}' for k, v in items.items())}"
    default = "" if choice.default is None else ",".join(str(item) for item in choice.default)
    text: Json = {"type": "string", "description": described, "default": default}
    if choice.kind in (int, float):
        number = r"(-1|[0-9]{1,5})" if choice.kind is int else _up_to(choice.high or 0.0)
        text["pattern"] = rf"^{number}(,{number}){{0,{choice.many - 1}}}$"
    else:
        text["maxLength"] = choice.longest
        text["pattern"] = items["pattern"]
    return text


def _up_to(high: float) -> str:
    """A pattern of the numbers from 0 up to a whole one of few digits, or of up to six digits."""
    if high >= 10:
        return r"[0-9]{1,6}(\.[0-9]{1,6})?"
    below = "".join(map(str, range(int(high))))
    return rf"([{below}](\.[0-9]{{1,6}})?|{int(high)}(\.0{{1,6}})?)"


def _json(schema: Json) -> Json:
    return {"description": "done", "content": {"application/json": {"schema": schema}}}


def _text(kind: str) -> Json:
    return {"description": "done", "content": {kind: {"schema": {"type": "string"}}}}


def _problem(status: int, schema: str = "Problem") -> Json:
    codes = sorted(code for code, known in problems.STATUSES.items() if known == status) or ["internal"]
    return {
        "description": f"refused: {', '.join(codes)}",
        "content": {problems.CONTENT_TYPE: {"schema": ref(schema)}},
    }
