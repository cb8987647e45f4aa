"""Keys as resources: /kv/{key} is a key, /kv lists keys in pages."""

import math
import re
from collections.abc import Awaitable, Callable
from typing import Any, ClassVar

from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from kvd.commands.atomic import Transaction
from kvd.commands.keys import EntryOf, Scan
from kvd.commands.values import Clear, Set
from kvd.errors import BadArgument, Conflict, TooLarge
from kvd.gateways.http.context import context_of
from kvd.gateways.http.errors import PRECONDITION_FAILED, error_response, refusal_response, result_response
from kvd.gateways.http.ranges import Range, parse_range
from kvd.gateways.http.request_data import flag, key_of, number, one, parse_query, read_body
from kvd.limits import KEY_BYTES_MAX, SCAN_LIMIT_MAX, TTL_MS_MAX, VALUE_BYTES_MAX

PATH_PREFIX = b"/kv/"
ETAG = re.compile(r'(?:W/)?"(\d{1,19})"')
SECONDS = re.compile(rb"\d{1,12}(\.\d{1,3})?")
OCTETS = "application/octet-stream"
EXPIRES = "Kvd-Expires"
CONTENT_RANGE = "Content-Range"
DONE = b"OK"


def _key_in(request: Request) -> bytes:
    """Return the key in a path. Raises BadArgument, TooLarge."""
    key = key_of(request, PATH_PREFIX)
    if not key:
        raise BadArgument("a key has at least 1 byte")
    return _check_name(key)


def _check_name(name: bytes) -> bytes:
    """Return a key or prefix. Raises TooLarge."""
    if len(name) > KEY_BYTES_MAX:
        raise TooLarge(f"a key has at most {KEY_BYTES_MAX} bytes, this one {len(name)}")
    return name


async def get(request: Request) -> Response:
    """GET, HEAD: return the value or a range of it. The ETag is the revision."""
    key = _key_in(request)
    part = None if request.method == "HEAD" else parse_range(request.headers.get("range"))
    entry_map = await _read_entry(request, key, part)
    if part is not None and entry_map is not None and not _is_unchanged(entry_map, request.headers.get("if-range")):
        part = None
        entry_map = await _read_entry(request, key, part)
    if entry_map is None:
        return refusal_response(404, "there is no such key")
    headers = _headers_of(entry_map)
    if _is_known(headers["ETag"], request.headers.get("if-none-match")):
        return Response(status_code=304, headers=headers)
    if part is not None:
        return _partial_response(entry_map, part, headers)
    if request.method == "HEAD":
        headers["Content-Length"] = str(entry_map["size"])
    return Response(entry_map.get("value"), headers=headers, media_type=OCTETS)


async def _read_entry(request: Request, key: bytes, part: Range | None) -> dict[str, Any] | None:
    """Return the result of ENTRY: for GET with the value or a part of it, for HEAD without."""
    has_value = None if request.method == "HEAD" else True
    command = EntryOf(key, has_value) if part is None else EntryOf(key, has_value, part.start, part.end)
    entry_map: dict[str, Any] | None = (await context_of(request).upstream.answer(command)).result
    return entry_map


def _headers_of(entry_map: dict[str, Any]) -> dict[str, str]:
    """Return the headers for an entry."""
    headers = {"ETag": f'"{entry_map["revision"]}"', "Accept-Ranges": "bytes"}
    if entry_map["expires"] is not None:
        headers[EXPIRES] = str(entry_map["expires"])
    return headers


def _is_unchanged(entry_map: dict[str, Any], if_range: str | None) -> bool:
    """Return whether If-Range allows a partial response: the header is missing, or has the entry's ETag."""
    return if_range is None or if_range.strip() == _headers_of(entry_map)["ETag"]


def _partial_response(entry_map: dict[str, Any], part: Range, headers: dict[str, str]) -> Response:
    """Return the response with a range of the value, or the error 416."""
    size, first, value = entry_map["size"], part.first(entry_map["size"]), entry_map["value"]
    if not value:
        message = f"the range lies outside the value, which has {size} bytes"
        return refusal_response(416, message, {**headers, CONTENT_RANGE: f"bytes */{size}"})
    headers[CONTENT_RANGE] = f"bytes {first}-{first + len(value) - 1}/{size}"
    return Response(value, 206, headers, OCTETS)


def _is_known(etag: str, known: str | None) -> bool:
    """Return whether If-None-Match contains an ETag."""
    if known is None:
        return False
    return known == "*" or etag in [each.strip().removeprefix("W/") for each in known.split(",")]


async def put(request: Request) -> Response:
    """PUT, POST: store the body as the value."""
    key = _key_in(request)
    condition = _condition_of(request)
    seconds = one(parse_query(request, "ttl"), "ttl")
    command = Set(key, await read_body(request, VALUE_BYTES_MAX), ttl=_milliseconds(seconds), **condition)
    try:
        revision = (await context_of(request).upstream.answer(command)).revision
    except Conflict as error:
        return error_response(error, PRECONDITION_FAILED)
    return Response(DONE, headers={"ETag": f'"{revision}"'}, media_type="text/plain")


async def delete(request: Request) -> Response:
    """DELETE: delete the key. Succeeds also if there is none."""
    key = _key_in(request)
    parse_query(request)
    condition = _condition_of(request)
    if condition.get("xx"):
        condition = {}  # any revision is accepted, and a missing key is no error
    command: Any = Clear([key])
    if condition:
        command = Transaction([(key, condition.get("revision", 0))], [Clear([key])])
    try:
        await context_of(request).upstream.answer(command)
    except Conflict as error:
        return error_response(error, PRECONDITION_FAILED)
    return Response(DONE, media_type="text/plain")


class Keys:
    """/kv/{key} as an ASGI application. Without Starlette's wrapper for functions, a GET takes 5 % less time."""

    handlers: ClassVar[dict[str, Callable[[Request], Awaitable[Response]]]] = {
        "GET": get,
        "HEAD": get,
        "PUT": put,
        "POST": put,
        "DELETE": delete,
    }

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        handler = self.handlers.get(scope["method"])
        if handler is None:
            raise HTTPException(405, headers={"Allow": ", ".join(self.handlers)})
        response = await handler(Request(scope, receive, send))
        await response(scope, receive, send)


def _condition_of(request: Request) -> dict[str, Any]:
    """Return the options of SET for If-Match and If-None-Match. Raises BadArgument."""
    match, none = request.headers.get("if-match"), request.headers.get("if-none-match")
    if match is not None and none is not None:
        raise BadArgument("If-Match and If-None-Match exclude each other: send one of them")
    if none is not None:
        if none.strip() != "*":
            raise BadArgument("for a write, If-None-Match must be *: the key must not exist")
        return {"nx": True}
    if match is None:
        return {}
    if match.strip() == "*":
        return {"xx": True}
    etag = ETAG.fullmatch(match.strip())
    if etag is None or int(etag[1]) >= 2**63:
        raise BadArgument('If-Match must be * or one ETag, such as "17"')
    return {"revision": int(etag[1])}


def _milliseconds(seconds: bytes | None) -> int | None:
    """Return ?ttl= in milliseconds. Raises BadArgument."""
    if seconds is None:
        return None
    ms = math.ceil(float(seconds) * 1000) if SECONDS.fullmatch(seconds) else 0
    if not 0 < ms <= TTL_MS_MAX:
        raise BadArgument(f"ttl must be a number of seconds, above 0 and at most {TTL_MS_MAX // 1000}")
    return ms


async def get_page(request: Request) -> Response:
    """GET /kv: return a page of keys, or with values=1 or sizes=1 of entries, in byte order."""
    fields = parse_query(request, "prefix", "after", "limit", "values", "sizes")
    limit, after, prefix = number(fields, "limit"), one(fields, "after"), one(fields, "prefix")
    if limit is not None and not 1 <= limit <= SCAN_LIMIT_MAX:
        raise BadArgument(f"limit must be 1 to {SCAN_LIMIT_MAX}")
    if after == b"":
        raise BadArgument("after must be a key, of at least 1 byte")
    _check_name(prefix or b"")
    _check_name(after or b"")
    has_values, has_sizes = flag(fields, "values"), flag(fields, "sizes")
    command = Scan(prefix, after, limit, values=has_values or None, sizes=has_sizes or None)
    reply = await context_of(request).upstream.answer(command)
    items, following, *_ = reply.result
    page = [_item_to_json(each, has_value=has_values) for each in items] if has_values or has_sizes else items
    return await result_response({"revision": reply.revision, "items": page, "next": following})


def _item_to_json(item: Any, *, has_value: bool) -> dict[str, Any]:
    """Return an item of SCAN as a member of a page."""
    key, value, revision, expires, *_ = item
    return {"key": key, "value" if has_value else "size": value, "revision": revision, "expires": expires}
