"""Bodies and query strings: read within limits, and turned into what commands take."""

import asyncio
from typing import Any
from urllib.parse import unquote_to_bytes

import msgspec
from starlette.exceptions import HTTPException
from starlette.requests import HTTPConnection, Request
from starlette.types import Scope

from kvd.errors import BadArgument, BadRequest, Busy, TooLarge
from kvd.gateways.http.encoding import run_apart
from kvd.limits import (
    HTTP_BODIES_BYTES_MAX,
    HTTP_BODY_MS,
    HTTP_JSON_BYTES_MAX,
    HTTP_JSON_VALUES_MAX,
    HTTP_LARGE_BYTES,
    HTTP_QUERY_FIELDS_MAX,
)

# How many times its bytes a body takes, until it is answered: a value as it was read, in one, and on the wire; of JSON
# the objects that it becomes.
VALUE_COPIES, JSON_COPIES = 3, 8
TRUE = {b"", b"1", b"true", b"yes"}
FALSE = {b"0", b"false", b"no"}


class BodyBudget:
    """The memory of all bodies that are being read or answered. What a request takes is given back with its end."""

    def __init__(self) -> None:
        self.taken = 0

    def acquire(self, scope: Scope, size: int) -> None:
        """Take some for a request. Raises Busy."""
        self.taken += size
        scope["taken"] = scope.get("taken", 0) + size
        if self.taken > HTTP_BODIES_BYTES_MAX:
            raise Busy("too many large bodies are on their way: try again")

    def release(self, scope: Scope) -> None:
        """Give back what a request has taken."""
        self.taken -= scope.get("taken", 0)


async def body(request: Request, most: int, copies: int = VALUE_COPIES) -> bytes:
    """Return a request's body; raises TooLarge, Busy, or BadRequest when it does not come in time."""
    told = request.headers.get("content-length", "0")
    if told.isascii() and told.isdigit() and int(told) > most:
        raise TooLarge(f"the body is {told} bytes; at most {most} are allowed here")
    room: BodyBudget = request.scope["app"].state.room
    parts: list[bytes] = []
    size = 0
    try:
        async with asyncio.timeout(HTTP_BODY_MS / 1000):
            async for part in request.stream():
                size += len(part)
                if size > most:
                    raise TooLarge(f"the body is more than {most} bytes; no more are allowed here")
                room.acquire(request.scope, copies * len(part))
                parts.append(part)
    except TimeoutError:
        raise BadRequest(f"the body did not come within {HTTP_BODY_MS // 1000} s") from None
    content = b"".join(parts)
    await pause_after(size)
    return content


async def pause_after(size: int) -> None:
    """Let others be answered after work on so many bytes: one copy of 16 MiB takes 10 ms."""
    if size >= HTTP_LARGE_BYTES:
        await asyncio.sleep(0)


async def json_body(request: Request) -> Any:
    """Return a body of JSON, whatever its Content-Type says: curl -d names another. Raises BadRequest, TooLarge."""
    content = await body(request, HTTP_JSON_BYTES_MAX, JSON_COPIES)
    await run_apart(_check_values, content)
    try:
        return msgspec.json.decode(content)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise BadRequest(f"the body is not JSON: {error}") from None


def _check_values(content: bytes) -> None:
    """Raise TooLarge for JSON of more than HTTP_JSON_VALUES_MAX values: to decode 7 million takes 2 s, all at once."""
    if len(content) <= HTTP_JSON_VALUES_MAX or _count_separators(content) <= HTTP_JSON_VALUES_MAX:
        return
    plain = content.replace(rb"\\", b"").replace(rb"\"", b"")  # a quote now begins or ends a string
    if plain.count(b'"') > 2 * HTTP_JSON_VALUES_MAX or (
        sum(map(_count_separators, plain.split(b'"')[::2])) > HTTP_JSON_VALUES_MAX
    ):
        raise TooLarge(f"the body has more than {HTTP_JSON_VALUES_MAX} values")


def _count_separators(text: bytes) -> int:
    """Return how many values text of JSON has at most, but for one; what is within strings counts too."""
    return text.count(b",") + text.count(b"[") + text.count(b"{")


def query(request: HTTPConnection, *known: str) -> dict[str, list[bytes]]:
    """Return a query's fields, percent-decoded; raises BadArgument for one that is not known."""
    parts = [part for part in request.scope["query_string"].split(b"&") if part]
    if len(parts) > HTTP_QUERY_FIELDS_MAX:
        raise BadArgument(f"the query has more than {HTTP_QUERY_FIELDS_MAX} fields")
    found: dict[str, list[bytes]] = {}
    for part in parts:  # urllib's parse_qsl would lose what is not UTF-8
        name, _, value = part.partition(b"=")
        text = unquote_to_bytes(name).decode("latin-1")
        if text not in known:
            raise BadArgument(f"the query has {text[:64]!r}: there are {', '.join(known) or 'none'} here")
        found.setdefault(text, []).append(unquote_to_bytes(value.replace(b"+", b" ")))
    return found


def one(found: dict[str, list[bytes]], name: str) -> bytes | None:
    """Return a field of a query, None where there is none. Raises BadArgument when it is there twice."""
    values = found.get(name, [])
    if len(values) > 1:
        raise BadArgument(f"the query has {name} more than once")
    return values[0] if values else None


def number(found: dict[str, list[bytes]], name: str) -> int | None:
    """Return a field of a query that is a whole number. Raises BadArgument."""
    value = one(found, name)
    if value is None:
        return None
    if not value.isdigit() or len(value) > 19:  # noqa: PLR2004  # 64 bits
        raise BadArgument(f"{name} is a whole number, not {value[:32].decode('latin-1')!r}")
    return int(value)


def flag(found: dict[str, list[bytes]], name: str) -> bool:
    """Return a field of a query that is yes or no. Raises BadArgument."""
    value = one(found, name)
    if value is None or value.lower() in FALSE:
        return False
    if value.lower() in TRUE:
        return True
    raise BadArgument(f"{name} is 1 or 0")


def key_of(request: Request, begin: bytes) -> bytes:
    """Return the key in a path: all that follows, percent-decoded. A path as text would lose what is not UTF-8."""
    raw: bytes = request.scope["raw_path"]
    if not raw.startswith(begin):  # it was this path only after decoding: /%6bv/a, /kv%2Fa
        raise HTTPException(404, "Not Found")
    return unquote_to_bytes(raw.removeprefix(begin))
