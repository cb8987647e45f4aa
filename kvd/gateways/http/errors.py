"""Maps errors to HTTP: a status, and a JSON body of code, message, outcome and details."""

from collections.abc import Iterable, Mapping
from http import HTTPStatus
from typing import Any

import msgspec
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response

from kvd.errors import (
    NOT_EXECUTED,
    UNKNOWN,
    BadArgument,
    BadRequest,
    Busy,
    Compacted,
    Conflict,
    Corrupt,
    Denied,
    Full,
    HistoryChanged,
    Internal,
    KvdError,
    NoReply,
    NotLetIn,
    OutcomeUnknown,
    ReadOnly,
    ShuttingDown,
    TooLarge,
    UnknownCommand,
    Unreachable,
    WrongType,
)
from kvd.gateways.common.error_body import ErrorBody, error_body_of
from kvd.gateways.common.upstream import NotKnown
from kvd.gateways.http.encoding import encode_reply
from kvd.json_bytes import to_json

STATUS: dict[type[KvdError], int] = {
    BadRequest: 400,
    UnknownCommand: 400,
    BadArgument: 400,
    NotKnown: 401,
    Denied: 403,
    Conflict: 409,
    WrongType: 409,
    Compacted: 410,
    HistoryChanged: 410,
    TooLarge: 413,
    Busy: 429,
    Corrupt: 500,
    Internal: 500,
    Unreachable: 503,
    NotLetIn: 503,
    NoReply: 503,
    OutcomeUnknown: 503,
    ReadOnly: 503,
    ShuttingDown: 503,
    Full: 507,
}
METHOD_NOT_ALLOWED, PRECONDITION_FAILED = 405, 412
RETRY = {"Retry-After": "1"}
HEADERS = {401: {"WWW-Authenticate": 'Bearer realm="kvd"'}, 429: RETRY, 503: RETRY}
# Codes of HTTP's own errors, by status.
CODES = {
    403: "FORBIDDEN",
    404: "NOT_FOUND",
    405: "METHOD_NOT_ALLOWED",
    416: "RANGE_NOT_SATISFIABLE",
    431: "TOO_LARGE",
}

encode = msgspec.json.encode


def json_response(content: Any, status: int = 200, headers: Mapping[str, str] | None = None) -> Response:
    return Response(encode(content), status, headers, "application/json")


async def result_response(content: Any, status: int = 200, headers: Mapping[str, str] | None = None) -> Response:
    """Return a JSON response with a result, which may contain bytes and be large."""
    return Response(await encode_reply(content), status, headers, "application/json")


def status_of(error: KvdError) -> int:
    """Return the status of an error; 500 for a code of a newer daemon."""
    return STATUS.get(type(error), 500)


def body_of(error: KvdError) -> dict[str, Any]:
    """Return the JSON body for an error."""
    return _body(error_body_of(error))


def _body(parts: ErrorBody) -> dict[str, Any]:
    return {**parts._asdict(), "details": to_json(parts.details)}


def error_response(error: KvdError, status: int | None = None) -> Response:
    number = status or status_of(error)
    return json_response(body_of(error), number, HEADERS.get(number))


def refusal_response(status: int, message: str, headers: Mapping[str, str] | None = None) -> Response:
    """Return the response for one of HTTP's own errors."""
    return json_response(_body(ErrorBody(CODES.get(status, "BAD_REQUEST"), message, NOT_EXECUTED, {})), status, headers)


def raw_refusal(status: int, message: str, headers: Iterable[tuple[bytes, bytes]] = ()) -> bytes:
    """Return the bytes of a response that closes its connection, for input that is refused before it is a request."""
    response = refusal_response(status, message)
    lines = [
        f"HTTP/1.1 {status} {HTTPStatus(status).phrase}".encode(),
        *[b"%s: %s" % header for header in (*headers, *response.raw_headers, (b"connection", b"close"))],
    ]
    return b"\r\n".join(lines) + b"\r\n\r\n" + bytes(response.body)


async def on_kvd_error(request: Request, error: Exception) -> Response:  # noqa: ARG001
    assert isinstance(error, KvdError)
    return error_response(error)


async def on_http_error(request: Request, error: Exception) -> Response:
    """Answer a request that Starlette refuses, for an unknown path or method; and OPTIONS."""
    assert isinstance(error, HTTPException)
    if error.status_code == METHOD_NOT_ALLOWED and request.method == "OPTIONS":
        return Response(status_code=204, headers={"Allow": f"{(error.headers or {})['Allow']}, OPTIONS"})
    message = f"{request.method} {request.url.path}: {error.detail}: see /openapi.json"
    return refusal_response(error.status_code, message, error.headers)


async def on_disconnect(request: Request, error: Exception) -> Response:  # noqa: ARG001
    """Handle a client that disconnected before its body was complete. Nobody reads the response."""
    return refusal_response(400, "the body did not come")


async def on_unexpected_error(request: Request, error: Exception) -> Response:  # noqa: ARG001
    """Answer a request that caused an unexpected exception. Starlette re-raises it, so uvicorn logs it."""
    return json_response(_body(ErrorBody("INTERNAL", "a defect of the gateway: see its log", UNKNOWN, {})), 500)
