"""The second JSON dialect, of a store based on NATS: /set, /get, /rm, with key and val.

`kvd gateway nats` publishes its changes.
"""

from typing import Any

from starlette.requests import Request
from starlette.responses import RedirectResponse, Response

from kvd.commands.values import Get, Set, Take
from kvd.errors import BadArgument
from kvd.gateways.http import kafka_dialect
from kvd.gateways.http.context import context_of
from kvd.gateways.http.errors import json_response, result_response
from kvd.gateways.http.kafka_dialect import bytes_in
from kvd.gateways.http.request_data import json_body, one, parse_query
from kvd.json_bytes import kind_of

BY_ACCEPT = {"Vary": "Accept"}


async def up(request: Request) -> Response:
    """GET /: report that the gateway is up; redirect a browser to the page."""
    if "text/html" in request.headers.get("accept", ""):
        return RedirectResponse("/ui", headers=BY_ACCEPT)
    return json_response({"up": True}, headers=BY_ACCEPT)


async def put(request: Request, body: dict[str, Any]) -> Response:
    """POST /set {"key", "val"}: set a key; return the previous value."""
    before = (
        await context_of(request).upstream.answer(Set(bytes_in(body, "key"), bytes_in(body, "val"), previous=True))
    ).result
    return await result_response({"inserted": True, "ejected_val": before}, 201)


async def get(request: Request) -> Response:
    """GET /get?key=: return the value, named as in the dialect's documentation and as in its code."""
    key = one(parse_query(request, "key"), "key")
    if key is None:
        raise BadArgument("the query needs key")
    value = (await context_of(request).upstream.answer(Get(key))).result
    return await result_response({"found": value is not None, "val": value, "inserted_val": value})


async def remove(request: Request) -> Response:
    """DELETE or POST /rm {"key"}: clear a key; return the previous value."""
    key = bytes_in(await _object_body(request), "key")
    before = (await context_of(request).upstream.answer(Take(key))).result
    existed = before is not None
    return await result_response({"found": existed, "removed": existed, "ejected_val": before})


# Both dialects have /get and /set: the method selects the dialect of /get, the names in the body that of /set.


async def _object_body(request: Request) -> dict[str, Any]:
    """Return a body that is a JSON object. Raises BadArgument."""
    parse_query(request)
    body = await json_body(request)
    if not isinstance(body, dict):
        raise BadArgument(f"the body must be an object, not {kind_of(body)}")
    return body


async def either_get(request: Request) -> Response:
    """GET belongs to the second dialect, POST to the first."""
    if request.method == "POST":
        return await kafka_dialect.get(request, await _object_body(request))
    return await get(request)


async def either_set(request: Request) -> Response:
    """The first dialect has Key and Value, in any case; the second has key and val."""
    body = await _object_body(request)
    if "val" in body and "Key" not in body:
        return await put(request, body)
    if not kafka_dialect.normalize_names(body).keys() & {"Value"} and "Key" not in body:
        raise BadArgument('the body needs "key" and "val", or "Key" and "Value"')
    return await kafka_dialect.put(request, body)
