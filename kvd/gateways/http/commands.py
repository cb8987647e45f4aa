"""POST /v1/commands: runs any command, or an array of commands, given as JSON."""

import asyncio
from typing import Any

from starlette.requests import Request
from starlette.responses import Response

from kvd.errors import KvdError, TooLarge
from kvd.gateways.common.upstream import Upstream
from kvd.gateways.http.context import context_of
from kvd.gateways.http.encoding import encode_reply, run_in_thread_if_large
from kvd.gateways.http.errors import body_of, encode, result_response
from kvd.gateways.http.json_commands import command_of
from kvd.gateways.http.request_data import json_body, parse_query
from kvd.limits import IN_FLIGHT_MAX, REPLY_BYTES_MAX

CONCURRENT = 8  # bounds the memory of large results


async def run(request: Request) -> Response:
    """Run one command, or several in order. In an array, each has a result or an error of its own."""
    upstream = context_of(request).upstream
    parse_query(request)
    content = await json_body(request)
    if not isinstance(content, list):
        return await result_response(await _result_of(upstream, content))
    if len(content) > IN_FLIGHT_MAX:
        raise TooLarge(f"the array has {len(content)} commands; at most {IN_FLIGHT_MAX} are allowed")
    return Response(b"[%s]" % b",".join(await _results_of(upstream, content)), media_type="application/json")


async def _results_of(upstream: Upstream, commands: list[Any]) -> list[bytes]:
    """Return the results of commands as JSON. After REPLY_BYTES_MAX of them, the remaining commands are not run."""
    results: list[bytes] = []
    budget = REPLY_BYTES_MAX
    for first in range(0, len(commands), CONCURRENT):
        group = commands[first : first + CONCURRENT]
        if budget < 0:
            full = TooLarge(f"the results before this one exceed {REPLY_BYTES_MAX} bytes: send fewer commands at once")
            results += [encode({"error": body_of(full)})] * len(group)
            continue
        results += await asyncio.gather(*[_encode_outcome(upstream, each) for each in group])
        budget -= sum(map(len, results[first:]))
    return results


async def _result_of(upstream: Upstream, content: Any) -> dict[str, Any]:
    """Return the result of a command. Raises KvdError."""
    reply = await upstream.answer(await run_in_thread_if_large(command_of, content))
    return {"revision": reply.revision, "result": reply.result}


async def _encode_outcome(upstream: Upstream, content: Any) -> bytes:
    """Return the result or error of a command as JSON."""
    return await encode_reply(await _outcome_of(upstream, content))


async def _outcome_of(upstream: Upstream, content: Any) -> dict[str, Any]:
    """Return the result or error of a command."""
    try:
        return await _result_of(upstream, content)
    except KvdError as error:
        return {"error": body_of(error)}
