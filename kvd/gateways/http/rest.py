"""Keys as resources: /kv/{key}, and /kv as pages of keys."""

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
from kvd.gateways.common.upstream import Upstream
from kvd.gateways.http.errors import PRECONDITION_FAILED, error_response, refusal_response, result_response
from kvd.gateways.http.ranges import Range, range_in
from kvd.gateways.http.request_data import body, flag, key_of, number, one, query
from kvd.limits import KEY_BYTES_MAX, SCAN_LIMIT_MAX, TTL_MS_MAX, VALUE_BYTES_MAX

BEGIN = b"/kv/"
ETAG = re.compile(r'(?:W/)?"(\d{1,19})"')
SECONDS = re.compile(rb"\d{1,12}(\.\d{1,3})?")
OCTETS = "application/octet-stream"
EXPIRES = "Kvd-Expires"
CONTENT_RANGE = "Content-Range"
DONE = b"OK"


def _key_in(request: Request) -> bytes:
    """Return the key of a path; raises BadArgument, TooLarge."""
    key = key_of(request, BEGIN)
    if not key:
        raise BadArgument("a key has at least 1 byte")
    return _check_name(key)


def _check_name(name: bytes) -> bytes:
    """Return a key or prefix; raises TooLarge."""
    if len(name) > KEY_BYTES_MAX:
        raise TooLarge(f"a key has at most {KEY_BYTES_MAX} bytes, this one {len(name)}")
    return name


async def get(request: Request) -> Response:
    """GET, HEAD: the value's bytes, or a range of them; the revision is the ETag."""
    key = _key_in(request)
    part = None if request.method == "HEAD" else range_in(request.headers.get("range"))
    facts = await entry(request, key, part)
    if part is not None and facts is not None and not _is_unchanged(facts, request.headers.get("if-range")):
        part = None
        facts = await entry(request, key, part)
    if facts is None:
        return refusal_response(404, "there is no such key")
    headers = _headers_of(facts)
    if _is_known(headers["ETag"], request.headers.get("if-none-match")):
        return Response(status_code=304, headers=headers)
    if part is not None:
        return partial(facts, part, headers)
    if request.method == "HEAD":
        headers["Content-Length"] = str(facts["size"])
    return Response(facts.get("value"), headers=headers, media_type=OCTETS)


async def entry(request: Request, key: bytes, part: Range | None) -> dict[str, Any] | None:
    """Return what ENTRY says of a key: of a GET with the value, or a part of it."""
    link: Upstream = request.scope["link"]
    has_value = None if request.method == "HEAD" else True
    command = EntryOf(key, has_value) if part is None else EntryOf(key, has_value, part.start, part.end)
    facts: dict[str, Any] | None = (await link.answer(command)).result
    return facts


def _headers_of(facts: dict[str, Any]) -> dict[str, str]:
    """Return the headers that tell of an entry."""
    headers = {"ETag": f'"{facts["revision"]}"', "Accept-Ranges": "bytes"}
    if facts["expires"] is not None:
        headers[EXPIRES] = str(facts["expires"])
    return headers


def _is_unchanged(facts: dict[str, Any], wanted: str | None) -> bool:
    """Return whether If-Range allows a part: it is left out, or the ETag of the entry."""
    return wanted is None or wanted.strip() == _headers_of(facts)["ETag"]


def partial(facts: dict[str, Any], part: Range, headers: dict[str, str]) -> Response:
    """Return the response that is a range of a value."""
    size, first, value = facts["size"], part.first(facts["size"]), facts["value"]
    if not value:
        message = f"the range lies outside the value, which has {size} bytes"
        return refusal_response(416, message, {**headers, CONTENT_RANGE: f"bytes */{size}"})
    headers[CONTENT_RANGE] = f"bytes {first}-{first + len(value) - 1}/{size}"
    return Response(value, 206, headers, OCTETS)


def _is_known(etag: str, known: str | None) -> bool:
    """Return whether an ETag is among those that If-None-Match names."""
    if known is None:
        return False
    return known == "*" or etag in [each.strip().removeprefix("W/") for each in known.split(",")]


async def put(request: Request) -> Response:
    """PUT, POST: the body becomes the value."""
    link: Upstream = request.scope["link"]
    key = _key_in(request)
    wanted = condition(request)
    seconds = one(query(request, "ttl"), "ttl")
    command = Set(key, await body(request, VALUE_BYTES_MAX), ttl=milliseconds(seconds), **wanted)
    try:
        revision = (await link.answer(command)).revision
    except Conflict as error:
        return error_response(error, PRECONDITION_FAILED)
    return Response(DONE, headers={"ETag": f'"{revision}"'}, media_type="text/plain")


async def delete(request: Request) -> Response:
    """DELETE: the key ends, also where there was none."""
    link: Upstream = request.scope["link"]
    key = _key_in(request)
    query(request)
    wanted = condition(request)
    if wanted.get("xx"):
        wanted = {}  # any revision will do, and one that is missing is no failure
    command: Any = Clear([key])
    if wanted:
        command = Transaction([(key, wanted.get("revision", 0))], [Clear([key])])
    try:
        await link.answer(command)
    except Conflict as error:
        return error_response(error, PRECONDITION_FAILED)
    return Response(DONE, media_type="text/plain")


class Keys:
    """/kv/{key} as ASGI: without Starlette's wrapper of functions, a GET takes 5 % less."""

    handlers: ClassVar[dict[str, Callable[[Request], Awaitable[Response]]]] = {
        "GET": get,
        "HEAD": get,
        "PUT": put,
        "POST": put,
        "DELETE": delete,
    }

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request."""
        handler = self.handlers.get(scope["method"])
        if handler is None:
            raise HTTPException(405, headers={"Allow": ", ".join(self.handlers)})
        response = await handler(Request(scope, receive, send))
        await response(scope, receive, send)


def condition(request: Request) -> dict[str, Any]:
    """Return what If-Match and If-None-Match ask of SET; raises BadArgument."""
    match, none = request.headers.get("if-match"), request.headers.get("if-none-match")
    if match is not None and none is not None:
        raise BadArgument("If-Match and If-None-Match exclude each other: give one of them")
    if none is not None:
        if none.strip() != "*":
            raise BadArgument("to write, If-None-Match is *: the key must not exist")
        return {"nx": True}
    if match is None:
        return {}
    if match.strip() == "*":
        return {"xx": True}
    found = ETAG.fullmatch(match.strip())
    if found is None or int(found[1]) >= 2**63:
        raise BadArgument('If-Match is * or one ETag, such as "17"')
    return {"revision": int(found[1])}


def milliseconds(seconds: bytes | None) -> int | None:
    """Return ?ttl= in milliseconds; raises BadArgument."""
    if seconds is None:
        return None
    ms = math.ceil(float(seconds) * 1000) if SECONDS.fullmatch(seconds) else 0
    if not 0 < ms <= TTL_MS_MAX:
        raise BadArgument(f"ttl is in seconds, above 0 and at most {TTL_MS_MAX // 1000}")
    return ms


async def pages(request: Request) -> Response:
    """GET /kv: a page of keys, or with values=1 or sizes=1 of entries, in byte order."""
    link: Upstream = request.scope["link"]
    found = query(request, "prefix", "after", "limit", "values", "sizes")
    limit, after, prefix = number(found, "limit"), one(found, "after"), one(found, "prefix")
    if limit is not None and not 1 <= limit <= SCAN_LIMIT_MAX:
        raise BadArgument(f"limit is 1 to {SCAN_LIMIT_MAX}")
    if after == b"":
        raise BadArgument("after is a key, of at least 1 byte")
    _check_name(prefix or b"")
    _check_name(after or b"")
    has_values, has_sizes = flag(found, "values"), flag(found, "sizes")
    reply = await link.answer(Scan(prefix, after, limit, values=has_values or None, sizes=has_sizes or None))
    items, following, *_ = reply.result
    shown = [item(each, has_values) for each in items] if has_values or has_sizes else items
    return await result_response({"revision": reply.revision, "items": shown, "next": following})


def item(found: Any, has_value: bool) -> dict[str, Any]:  # noqa: FBT001  # told by the query
    """Return an entry of a page."""
    key, value, revision, expires, *_ = found
    what = {"value": value} if has_value else {"size": value}
    return {"key": key, **what, "revision": revision, "expires": expires}
