"""Reads request bodies and query strings within limits, and converts them to arguments of commands."""

import asyncio
from typing import Any
from urllib.parse import unquote_to_bytes

import msgspec
from starlette.exceptions import HTTPException
from starlette.requests import HTTPConnection, Request

from kvd.errors import BadArgument, BadRequest, TooLarge
from kvd.gateways.http.context import context_of
from kvd.gateways.http.encoding import run_in_thread_if_large
from kvd.limits import (
    HTTP_BODY_MS,
    HTTP_JSON_BYTES_MAX,
    HTTP_JSON_VALUES_MAX,
    HTTP_LARGE_BYTES,
    HTTP_QUERY_FIELDS_MAX,
)

# Memory that a body takes until its request is answered, in multiples of its length. A value exists in parts, joined,
# and encoded for the wire; JSON becomes objects.
VALUE_COPIES, JSON_COPIES = 3, 8
TRUE = {b"", b"1", b"true", b"yes"}
FALSE = {b"0", b"false", b"no"}


async def read_body(request: Request, bytes_max: int, copies: int = VALUE_COPIES) -> bytes:
    """Return a request's body. Raises TooLarge, Busy, or BadRequest if it does not arrive in time."""
    length = request.headers.get("content-length", "0")
    if length.isascii() and length.isdigit() and int(length) > bytes_max:
        raise TooLarge(f"the body is {length} bytes; at most {bytes_max} are allowed here")
    context = context_of(request)
    parts: list[bytes] = []
    size = 0
    try:
        async with asyncio.timeout(HTTP_BODY_MS / 1000):
            async for part in request.stream():
                size += len(part)
                if size > bytes_max:
                    raise TooLarge(f"the body is more than {bytes_max} bytes; at most {bytes_max} are allowed here")
                context.acquire_body(copies * len(part))
                parts.append(part)
    except TimeoutError:
        raise BadRequest(f"the body did not arrive within {HTTP_BODY_MS // 1000} s") from None
    content = b"".join(parts)
    await _yield_after(size)
    return content


async def _yield_after(size: int) -> None:
    """Let other requests run after work on a large body: one copy of 16 MiB takes 10 ms."""
    if size >= HTTP_LARGE_BYTES:
        await asyncio.sleep(0)


async def json_body(request: Request) -> Any:
    """Return a JSON body, whatever its Content-Type: `curl -d` sets another. Raises BadRequest, TooLarge, Busy."""
    content = await read_body(request, HTTP_JSON_BYTES_MAX, JSON_COPIES)
    await run_in_thread_if_large(_check_values, content)
    try:
        return msgspec.json.decode(content)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise BadRequest(f"the body is not JSON: {error}") from None


def _check_values(content: bytes) -> None:
    """Raise TooLarge above HTTP_JSON_VALUES_MAX values: decoding 7 million takes 2 s without a pause."""
    if len(content) <= HTTP_JSON_VALUES_MAX or _count_separators(content) <= HTTP_JSON_VALUES_MAX:
        return
    plain = content.replace(rb"\\", b"").replace(rb"\"", b"")  # every quote that remains begins or ends a string
    if plain.count(b'"') > 2 * HTTP_JSON_VALUES_MAX or (
        sum(map(_count_separators, plain.split(b'"')[::2])) > HTTP_JSON_VALUES_MAX
    ):
        raise TooLarge(f"the body has more than {HTTP_JSON_VALUES_MAX} values")


def _count_separators(text: bytes) -> int:
    """Return an upper bound for the number of values in JSON text, minus one. Counts separators in strings too."""
    return text.count(b",") + text.count(b"[") + text.count(b"{")


def parse_query(request: HTTPConnection, *known: str) -> dict[str, list[bytes]]:
    """Return the percent-decoded fields of a query. Raises BadArgument for an unknown one."""
    parts = [part for part in request.scope["query_string"].split(b"&") if part]
    if len(parts) > HTTP_QUERY_FIELDS_MAX:
        raise BadArgument(f"the query has more than {HTTP_QUERY_FIELDS_MAX} fields")
    fields: dict[str, list[bytes]] = {}
    for part in parts:  # urllib's parse_qsl would lose bytes that are not UTF-8
        name, _, value = part.partition(b"=")
        text = unquote_to_bytes(name).decode("latin-1")
        if text not in known:
            raise BadArgument(
                f"the query has an unknown field {text[:64]!r}: the fields are {', '.join(known) or 'none'}"
            )
        fields.setdefault(text, []).append(unquote_to_bytes(value.replace(b"+", b" ")))
    return fields


def one(fields: dict[str, list[bytes]], name: str) -> bytes | None:
    """Return a query's field, or None. Raises BadArgument if it occurs twice."""
    values = fields.get(name, [])
    if len(values) > 1:
        raise BadArgument(f"the query has {name} more than once")
    return values[0] if values else None


def number(fields: dict[str, list[bytes]], name: str) -> int | None:
    """Return a query's field as an integer, or None. Raises BadArgument."""
    value = one(fields, name)
    if value is None:
        return None
    if not value.isdigit() or len(value) > 19:  # noqa: PLR2004  # 64 bits
        raise BadArgument(f"{name} is a whole number, not {value[:32].decode('latin-1')!r}")
    return int(value)


def flag(fields: dict[str, list[bytes]], name: str) -> bool:
    """Return a query's field as a boolean; False if it is missing. Raises BadArgument."""
    value = one(fields, name)
    if value is None or value.lower() in FALSE:
        return False
    if value.lower() in TRUE:
        return True
    raise BadArgument(f"{name} is 1 or 0")


def key_of(request: Request, prefix: bytes) -> bytes:
    """Return the key: the rest of the raw path, percent-decoded. Starlette's path loses bytes that are not UTF-8."""
    raw: bytes = request.scope["raw_path"]
    if not raw.startswith(prefix):  # only the decoded path has this prefix: /%6bv/a, /kv%2Fa
        raise HTTPException(404, "Not Found")
    return unquote_to_bytes(raw.removeprefix(prefix))
