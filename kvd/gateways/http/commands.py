"""POST /v1/commands: any command of the daemon, or an array of them, as JSON."""

import asyncio
from typing import Any

from starlette.requests import Request
from starlette.responses import Response

from kvd.errors import KvdError, TooLarge
from kvd.gateways.common.upstream import Upstream
from kvd.gateways.http.encoding import encode_reply, run_apart
from kvd.gateways.http.errors import body_of, encode, result_response
from kvd.gateways.http.json_commands import command_of
from kvd.gateways.http.request_data import json_body, query
from kvd.limits import IN_FLIGHT_MAX, REPLY_BYTES_MAX

AT_ONCE = 8  # large results of so many are held at once


async def run(request: Request) -> Response:
    """Run one command; or several, in order and each for itself: an error of one is in its place in the array."""
    link: Upstream = request.scope["link"]
    query(request)
    found = await json_body(request)
    if not isinstance(found, list):
        return await result_response(await _result_of(link, found))
    if len(found) > IN_FLIGHT_MAX:
        raise TooLarge(f"{len(found)} commands are too many at once: at most {IN_FLIGHT_MAX}")
    return Response(b"[%s]" % b",".join(await _results_of(link, found)), media_type="application/json")


async def _results_of(link: Upstream, found: list[Any]) -> list[bytes]:
    """Return what commands give, each as JSON. Beyond what one reply may carry the others are not run."""
    told: list[bytes] = []
    room = REPLY_BYTES_MAX
    for first in range(0, len(found), AT_ONCE):
        some = found[first : first + AT_ONCE]
        if room < 0:
            full = TooLarge(f"the results before are more than {REPLY_BYTES_MAX} bytes together: ask for fewer at once")
            told += [encode({"error": body_of(full)})] * len(some)
            continue
        told += await asyncio.gather(*[_encode_outcome(link, each) for each in some])
        room -= sum(map(len, told[first:]))
    return told


async def _result_of(link: Upstream, found: Any) -> dict[str, Any]:
    """Return what a command gives, its bytes as they are. Raises KvdError."""
    reply = await link.answer(await run_apart(command_of, found))
    return {"revision": reply.revision, "result": reply.result}


async def _encode_outcome(link: Upstream, found: Any) -> bytes:
    """Return what a command gives, or its error, as JSON."""
    return await encode_reply(await _outcome_of(link, found))


async def _outcome_of(link: Upstream, found: Any) -> dict[str, Any]:
    """Return what a command gives, or its error."""
    try:
        return await _result_of(link, found)
    except KvdError as error:
        return {"error": body_of(error)}
