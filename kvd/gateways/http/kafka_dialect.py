"""The first JSON dialect, of a store based on Kafka: /get, /set, /getall, /subscribe, with Key and Value."""

from typing import Any

from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.websockets import WebSocket

from kvd.commands.keys import Scan
from kvd.commands.model import Change
from kvd.commands.values import Get, Set
from kvd.errors import BadArgument, TooLarge
from kvd.gateways.http.context import context_of
from kvd.gateways.http.errors import json_response, result_response
from kvd.gateways.http.request_data import parse_query
from kvd.gateways.http.watch import serve_watch
from kvd.json_bytes import decode_bytes
from kvd.limits import REPLY_BYTES_MAX, WALK_KEYS

MISSING = "The given key is not present in the data store."
NAMES = {"key": "Key", "value": "Value"}
OMITTED = "Kvd-Omitted"
TOPIC, PARTITION = "kvd", 0  # constant: members of a Kafka record that kvd does not have


async def get(request: Request, body: dict[str, Any]) -> Response:
    """POST /get {"Key"}: return the pair."""
    key = bytes_in(normalize_names(body), "Key")
    value = (await context_of(request).upstream.answer(Get(key))).result
    if value is None:
        return PlainTextResponse(MISSING, 404)
    return await result_response({"Key": key, "Value": value})


async def put(request: Request, body: dict[str, Any]) -> Response:
    """POST /set {"Key", "Value"}: set a key; return "SUCCESS"."""
    members = normalize_names(body)
    await context_of(request).upstream.answer(Set(bytes_in(members, "Key"), bytes_in(members, "Value")))
    return json_response("SUCCESS")


async def get_all(request: Request) -> Response:
    """GET /getall: return an object of all pairs. A header counts the omitted pairs with a key that is not UTF-8.

    Raises TooLarge beyond REPLY_BYTES_MAX.
    """
    upstream = context_of(request).upstream
    parse_query(request)
    pairs: dict[str, Any] = {}
    size, omitted, after = 0, 0, None
    while True:
        items, after = (await upstream.answer(Scan(None, after, WALK_KEYS, values=True))).result
        for key, value, _, _ in items:
            try:
                pairs[key.decode()] = value
            except UnicodeDecodeError:
                omitted += 1
            else:
                size += len(key) + len(value)
        if size > REPLY_BYTES_MAX:
            raise TooLarge(f"all pairs together exceed {REPLY_BYTES_MAX} bytes: read them in pages, with /kv?values=1")
        if after is None:
            return await result_response(pairs, headers={OMITTED: str(omitted)})


async def subscribe(socket: WebSocket) -> None:
    """/subscribe: send a record for each change. Pings of the client are optional, and ignored."""
    await serve_watch(socket, record)


def record(change: Change) -> dict[str, Any]:
    """Return a change as a Kafka record. The value of a deleted key is null."""
    return {
        "Topic": TOPIC,
        "Partition": PARTITION,
        "Offset": change.revision,
        "Key": change.key,
        "Value": change.value,
    }


def normalize_names(body: dict[str, Any]) -> dict[str, Any]:
    """Return a body with Key and Value in that case: the dialect's Go implementation ignored the case."""
    members = dict(body)
    for name, value in body.items():
        members.setdefault(NAMES.get(name.lower(), name), value)
    return members


def bytes_in(body: dict[str, Any], name: str) -> bytes:
    """Return a member of a body as bytes. Raises BadArgument."""
    if name not in body:
        raise BadArgument(f"the body needs {name!r}")
    try:
        return decode_bytes(body[name])
    except BadArgument as error:
        raise BadArgument(f"{name}: {error.message}") from None
