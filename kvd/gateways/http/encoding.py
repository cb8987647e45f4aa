"""Results as JSON. Large ones are encoded in a thread, piece by piece, so that the loop answers others meanwhile."""

import asyncio
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any, TypeVar

from kvd.gateways.common.json_pieces import encode, join_small, pieces_of, to_json, weight
from kvd.limits import HTTP_LARGE_BYTES

Result = TypeVar("Result")
# Without a pause the loop waits for Python's lock in each of its turns, up to 5 ms (sys.getswitchinterval()).
PAUSE_S = 0.0001
# One: encoding is work for the processor, and a second thread would only take more of it from the loop.
_thread = ThreadPoolExecutor(1, "json")


async def encode_reply(content: Any) -> bytes:
    """Return the JSON of a result, whose bytes may be anywhere in it."""
    if weight(content, HTTP_LARGE_BYTES) < HTTP_LARGE_BYTES:
        return encode(to_json(content))
    return await asyncio.get_running_loop().run_in_executor(_thread, lambda: b"".join(make_pieces(content)))


async def run_apart(work: Callable[[Any], Result], content: Any) -> Result:
    """Do work on what a request brings: where it is large, in the thread."""
    if weight(content, HTTP_LARGE_BYTES) < HTTP_LARGE_BYTES:
        return work(content)
    return await asyncio.get_running_loop().run_in_executor(_thread, work, content)


async def encode_in_pieces(content: Any) -> list[bytes]:
    """Return the JSON of a large result in pieces."""
    return await asyncio.get_running_loop().run_in_executor(_thread, make_pieces, content)


def make_pieces(content: Any) -> list[bytes]:
    """Return the JSON of a result in pieces, and give up Python's lock after each."""
    pieces = []
    for piece in join_small(pieces_of(content)):
        pieces.append(piece)
        time.sleep(PAUSE_S)
    return pieces
