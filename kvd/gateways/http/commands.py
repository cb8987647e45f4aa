"""POST /v1/commands: any command of the daemon, or an array of them, as JSON."""

import asyncio
from typing import Any

from starlette.requests import Request
from starlette.responses import Response

from kvd.errors import KvdError, TooLarge
from kvd.gateways.http.bodies import json_body, query
from kvd.gateways.http.failures import body_of, json_response
from kvd.gateways.http.shapes import command_of
from kvd.gateways.link import Link
from kvd.limits import IN_FLIGHT_MAX
from kvd.texts import shown


async def run(request: Request) -> Response:
    """Run one command; or several, in order and each for itself: an error of one is in its place in the array."""
    link: Link = request.scope["link"]
    query(request)
    found = await json_body(request)
    if not isinstance(found, list):
        return json_response(await result_of(link, found))
    if len(found) > IN_FLIGHT_MAX:
        raise TooLarge(f"{len(found)} commands are too many at once: at most {IN_FLIGHT_MAX}")
    return json_response(await asyncio.gather(*[outcome_of(link, each) for each in found]))


async def result_of(link: Link, found: Any) -> dict[str, Any]:
    """Return what a command gives. Raises KvdError."""
    reply = await link.answer(command_of(found))
    return {"revision": reply.revision, "result": shown(reply.result)}


async def outcome_of(link: Link, found: Any) -> dict[str, Any]:
    """Return what a command gives, or its error."""
    try:
        return await result_of(link, found)
    except KvdError as error:
        return {"error": body_of(error)}
