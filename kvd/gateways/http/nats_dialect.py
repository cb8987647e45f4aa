"""The second JSON dialect, of a store over NATS: /set, /get, /rm, with key and val. Its changes: `kvd gateway nats`."""

from typing import Any

from starlette.requests import Request
from starlette.responses import RedirectResponse, Response

from kvd.commands.values import Get, Set, Take
from kvd.errors import BadArgument
from kvd.gateways.common.upstream import Upstream
from kvd.gateways.http import kafka_dialect
from kvd.gateways.http.errors import json_response, result_response
from kvd.gateways.http.kafka_dialect import part
from kvd.gateways.http.request_data import json_body, one, query
from kvd.json_bytes import kind_of

BY_ACCEPT = {"Vary": "Accept"}


async def up(request: Request) -> Response:
    """GET /: that it is up; a browser is sent to the page."""
    if "text/html" in request.headers.get("accept", ""):
        return RedirectResponse("/ui", headers=BY_ACCEPT)
    return json_response({"up": True}, headers=BY_ACCEPT)


async def put(request: Request, found: dict[str, Any]) -> Response:
    """POST /set {"key", "val"}: whether it was set, and what was there before."""
    link: Upstream = request.scope["link"]
    before = (await link.answer(Set(part(found, "key"), part(found, "val"), previous=True))).result
    return await result_response({"inserted": True, "ejected_val": before}, 201)


async def get(request: Request) -> Response:
    """GET /get?key=: the value under both names that this dialect's page and its code give."""
    link: Upstream = request.scope["link"]
    key = one(query(request, "key"), "key")
    if key is None:
        raise BadArgument("the query needs key")
    value = (await link.answer(Get(key))).result
    return await result_response({"found": value is not None, "val": value, "inserted_val": value})


async def remove(request: Request) -> Response:
    """DELETE or POST /rm {"key"}: whether it was there, and what."""
    link: Upstream = request.scope["link"]
    before = (await link.answer(Take(part(await _members(request), "key")))).result
    is_found = before is not None
    return await result_response({"found": is_found, "removed": is_found, "ejected_val": before})


# Where both dialects meet: the method tells which /get it is, the names in the body which /set.


async def _members(request: Request) -> dict[str, Any]:
    """Return a body that is an object; raises BadArgument."""
    query(request)
    found = await json_body(request)
    if not isinstance(found, dict):
        raise BadArgument(f"the body is an object, not {kind_of(found)}")
    return found


async def either_get(request: Request) -> Response:
    """GET is the second dialect's, POST the first's."""
    if request.method == "POST":
        return await kafka_dialect.get(request, await _members(request))
    return await get(request)


async def either_set(request: Request) -> Response:
    """The first dialect has a Value, in any case, and the second a val."""
    found = await _members(request)
    if "val" in found and "Key" not in found:
        return await put(request, found)
    if not kafka_dialect.in_any_case(found).keys() & {"Value"} and "Key" not in found:
        raise BadArgument('the body needs "key" and "val", or "Key" and "Value"')
    return await kafka_dialect.put(request, found)
