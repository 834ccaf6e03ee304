"""Errors as HTTP says them: a status for each code, and a body after RFC 9457. Pure.

Everything that can go wrong is a WhisperdError, as on the native socket; what only HTTP can get wrong is declared
here. Which status a code has stands in one table.
"""

from __future__ import annotations

from http import HTTPStatus
from typing import Any, Final

from ..errors import BadOption, UnknownLanguage, UnknownModel, UnknownTask, WhisperdError
from ..wire import JsonObject

CONTENT_TYPE: Final = "application/problem+json"
RETRY_SECONDS: Final = 2
"""What Retry-After says: a clip that stood in the way is done by then."""


class HttpError(WhisperdError):
    """An error that names the field, header or parameter that is wrong, where it is one."""

    def __init__(self, text: str, field: str = "") -> None:
        super().__init__(text)
        self.field = field


class BadBody(HttpError):
    """A body that is not what its content type says: broken multipart, broken JSON, cut short."""

    code = "bad-body"


class BadField(HttpError):
    """A field has a wrong type or value, or comes twice."""

    code = "bad-field"


class MissingField(HttpError):
    """A field that has to be there is not."""

    code = "missing-field"


class UnknownField(HttpError):
    """A field that nobody here knows."""

    code = "unknown-field"


class BadContentType(HttpError):
    """A body of another type than what is understood here."""

    code = "bad-content-type"


class BodyTooLarge(HttpError):
    """A body over http.max_upload_bytes."""

    code = "body-too-large"


class Unauthorized(HttpError):
    """The bearer token is missing or wrong."""

    code = "unauthorized"


class Forbidden(HttpError):
    """A request of another web page, or to another host."""

    code = "forbidden"


class NotFound(HttpError):
    """No such path."""

    code = "not-found"


class MethodNotAllowed(HttpError):
    """The path is known, the method is not."""

    code = "method-not-allowed"


class BadRequest(HttpError):
    """No HTTP, or not well-formed."""

    code = "bad-request"


class Loading(WhisperdError):
    """The model is not there yet."""

    code = "loading"
    retry = True


class Gone(Exception):
    """The client has gone: nobody is there to be answered."""


STATUSES: Final[dict[str, HTTPStatus]] = {
    "bad-request": HTTPStatus.BAD_REQUEST,
    "bad-body": HTTPStatus.BAD_REQUEST,
    "bad-field": HTTPStatus.BAD_REQUEST,
    "missing-field": HTTPStatus.BAD_REQUEST,
    "unknown-field": HTTPStatus.BAD_REQUEST,
    "bad-option": HTTPStatus.BAD_REQUEST,
    "unknown-language": HTTPStatus.BAD_REQUEST,
    "unknown-task": HTTPStatus.BAD_REQUEST,
    "unauthorized": HTTPStatus.UNAUTHORIZED,
    "forbidden": HTTPStatus.FORBIDDEN,
    "not-found": HTTPStatus.NOT_FOUND,
    "unknown-model": HTTPStatus.NOT_FOUND,
    "method-not-allowed": HTTPStatus.METHOD_NOT_ALLOWED,
    "timed-out": HTTPStatus.REQUEST_TIMEOUT,
    "body-too-large": HTTPStatus.REQUEST_ENTITY_TOO_LARGE,
    "audio-too-long": HTTPStatus.REQUEST_ENTITY_TOO_LARGE,
    "bad-content-type": HTTPStatus.UNSUPPORTED_MEDIA_TYPE,
    "bad-audio": HTTPStatus.UNPROCESSABLE_ENTITY,
    "bad-format": HTTPStatus.UNPROCESSABLE_ENTITY,
    "queue-full": HTTPStatus.SERVICE_UNAVAILABLE,
    "too-many-connections": HTTPStatus.SERVICE_UNAVAILABLE,
    "cancelled": HTTPStatus.SERVICE_UNAVAILABLE,
    "shutting-down": HTTPStatus.SERVICE_UNAVAILABLE,
    "loading": HTTPStatus.SERVICE_UNAVAILABLE,
}
"""By code; what is not here is 500."""

TITLES: Final[dict[str, str]] = {code: code.replace("-", " ").capitalize() for code in (*STATUSES, "internal")}


def status_of(error: WhisperdError) -> int:
    """The HTTP status of an error."""
    return int(STATUSES.get(error.code, HTTPStatus.INTERNAL_SERVER_ERROR))


def field_of(error: WhisperdError) -> str:
    """The field that an error is about, or ""."""
    if isinstance(error, HttpError):
        return error.field
    if isinstance(error, BadOption):
        return error.name
    for kind, name in ((UnknownLanguage, "language"), (UnknownTask, "task"), (UnknownModel, "model")):
        if isinstance(error, kind):
            return name
    return ""


def problem(error: WhisperdError) -> JsonObject:
    """The body: RFC 9457's members, and the code, whether to retry, and the field where there is one."""
    body: JsonObject = {
        "type": f"urn:whisperd:problem:{error.code}",
        "title": TITLES.get(error.code, "Internal"),
        "status": status_of(error),
        "detail": error.text,
        "code": error.code,
        "retry": error.retry,
    }
    if field := field_of(error):
        body["field"] = field
    return body


def openai_problem(error: WhisperdError) -> JsonObject:
    """The same with the member `error` that clients of OpenAI's API read."""
    status = status_of(error)
    kind = "server_error" if status >= 500 else "invalid_request_error"
    detail: dict[str, Any] = {
        "message": error.text,
        "type": "authentication_error" if status == HTTPStatus.UNAUTHORIZED else kind,
        "param": field_of(error) or None,
        "code": "model_not_found" if error.code == UnknownModel.code else error.code,
    }
    return {**problem(error), "error": detail}


def about(error: WhisperdError, field: str) -> WhisperdError:
    """The same error, said of a field."""
    if field_of(error):
        return error
    named = _About(error.text, field)
    named.code, named.retry = error.code, error.retry  # type: ignore[misc]
    return named


class _About(HttpError):
    """An error of another layer, and the field whose content it is about."""


def headers_of(error: WhisperdError) -> dict[str, str]:
    """What the answer says in its headers."""
    headers: dict[str, str] = {}
    if error.retry and status_of(error) == HTTPStatus.SERVICE_UNAVAILABLE:
        headers["Retry-After"] = str(RETRY_SECONDS)
    if isinstance(error, Unauthorized):
        headers["WWW-Authenticate"] = 'Bearer realm="whisperd"'
    return headers
