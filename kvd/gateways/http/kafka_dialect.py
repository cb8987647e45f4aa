"""The first JSON dialect, of a store over Kafka: /get, /set, /getall, /subscribe, with Key and Value."""

from typing import Any

from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.websockets import WebSocket

from kvd.commands.keys import Scan
from kvd.commands.model import Change
from kvd.commands.values import Get, Set
from kvd.errors import BadArgument, TooLarge
from kvd.gateways.common.upstream import Upstream
from kvd.gateways.http.errors import json_response, result_response
from kvd.gateways.http.request_data import query
from kvd.gateways.http.watch import follow
from kvd.json_bytes import decode_bytes
from kvd.limits import REPLY_BYTES_MAX, WALK_KEYS

MISSING = "The given key is not present in the data store."
NAMES = {"key": "Key", "value": "Value"}
OMITTED = "Kvd-Omitted"
TOPIC, PARTITION = "kvd", 0  # what a record of Kafka has, and kvd has one of


async def get(request: Request, found: dict[str, Any]) -> Response:
    """POST /get {"Key"}: the pair."""
    link: Upstream = request.scope["link"]
    key = part(in_any_case(found), "Key")
    value = (await link.answer(Get(key))).result
    if value is None:
        return PlainTextResponse(MISSING, 404)
    return await result_response({"Key": key, "Value": value})


async def put(request: Request, found: dict[str, Any]) -> Response:
    """POST /set {"Key", "Value"}: "SUCCESS"."""
    link: Upstream = request.scope["link"]
    members = in_any_case(found)
    await link.answer(Set(part(members, "Key"), part(members, "Value")))
    return json_response("SUCCESS")


async def get_all(request: Request) -> Response:
    """GET /getall: one object of all pairs, as far as one reply goes; a header counts those whose key is not UTF-8."""
    link: Upstream = request.scope["link"]
    query(request)
    pairs: dict[str, Any] = {}
    size, omitted, after = 0, 0, None
    while True:
        items, after = (await link.answer(Scan(None, after, WALK_KEYS, values=True))).result
        for key, value, _, _ in items:
            try:
                pairs[key.decode()] = value
            except UnicodeDecodeError:
                omitted += 1
            else:
                size += len(key) + len(value)
        if size > REPLY_BYTES_MAX:
            raise TooLarge(f"all pairs are more than {REPLY_BYTES_MAX} bytes: read them in pages, by /kv?values=1")
        if after is None:
            return await result_response(pairs, headers={OMITTED: str(omitted)})


async def subscribe(socket: WebSocket) -> None:
    """/subscribe: a record for each change. Its pings are read, and nothing waits for them."""
    await follow(socket, record)


def record(change: Change) -> dict[str, Any]:
    """Return a change as a record; the value of a key that has ended is null, as Kafka has it."""
    return {
        "Topic": TOPIC,
        "Partition": PARTITION,
        "Offset": change.revision,
        "Key": change.key,
        "Value": change.value,
    }


def in_any_case(found: dict[str, Any]) -> dict[str, Any]:
    """Return a body with its members named as in this dialect: Go, in which it was written, takes them in any case."""
    named = dict(found)
    for name, value in found.items():
        named.setdefault(NAMES.get(name.lower(), name), value)
    return named


def part(found: dict[str, Any], name: str) -> bytes:
    """Return a member of a body as bytes; raises BadArgument."""
    if name not in found:
        raise BadArgument(f"the body needs {name!r}")
    try:
        return decode_bytes(found[name])
    except BadArgument as error:
        raise BadArgument(f"{name}: {error.message}") from None
