"""Encodes results as JSON. Large results are encoded in a thread, in pieces, so that the loop can serve others."""

import asyncio
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any, TypeVar

from kvd.gateways.common.json_pieces import encode, join_small, pieces_of, to_json, weight
from kvd.limits import HTTP_LARGE_BYTES

Result = TypeVar("Result")
# Without pauses, the loop would wait for the GIL in each turn, up to 5 ms (sys.getswitchinterval()).
PAUSE_S = 0.0001
# One thread: encoding needs the processor, and a second thread would only compete with the loop.
_thread = ThreadPoolExecutor(1, "json")


async def encode_reply(content: Any) -> bytes:
    """Return the JSON of a result, which may contain bytes."""
    if weight(content, HTTP_LARGE_BYTES) < HTTP_LARGE_BYTES:
        return encode(to_json(content))
    return await asyncio.get_running_loop().run_in_executor(_thread, lambda: b"".join(make_pieces(content)))


async def run_in_thread_if_large(work: Callable[[Any], Result], content: Any) -> Result:
    """Run `work` on the content of a request; in the thread if it is large."""
    if weight(content, HTTP_LARGE_BYTES) < HTTP_LARGE_BYTES:
        return work(content)
    return await asyncio.get_running_loop().run_in_executor(_thread, work, content)


async def encode_in_pieces(content: Any) -> list[bytes]:
    """Return the JSON of a large result in pieces."""
    return await asyncio.get_running_loop().run_in_executor(_thread, make_pieces, content)


def make_pieces(content: Any) -> list[bytes]:
    """Return the JSON of a result in pieces; releases the GIL after each."""
    pieces = []
    for piece in join_small(pieces_of(content)):
        pieces.append(piece)
        time.sleep(PAUSE_S)
    return pieces
