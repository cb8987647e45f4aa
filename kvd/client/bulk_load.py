"""Sets any number of pairs in as many MULTISETs as it takes, several in flight, in the order of the pairs.

The fastest way to write: 0.6 us a pair, where each SET of a pipeline costs 6. Memory holds a few chunks of the pairs.
"""

import asyncio
import sys
import time
from collections import deque
from collections.abc import Callable, Iterator
from time import monotonic
from typing import Any

from kvd.client.bulk import BulkWindow, Chunk, WindowLimits
from kvd.client.outcomes import Outcome
from kvd.client.stream import Stream
from kvd.client.values import RAW, Codec, Pairs, key_bytes, pairs_of
from kvd.commands import Command
from kvd.commands.values import MultiSet
from kvd.limits import MIB

PAIRS_MAX = 1_000
CHUNK_BYTES_MAX = MIB  # and one pair on top
CHUNKS_IN_FLIGHT_MAX = 8
BYTES_IN_FLIGHT_MAX = 16 * MIB  # or one chunk
LIMITS = WindowLimits(CHUNKS_IN_FLIGHT_MAX, sys.maxsize, BYTES_IN_FLIGHT_MAX)


def split_pairs(pairs: Pairs, codec: Codec[Any, Any] = RAW) -> Iterator[Chunk]:
    """Yield the pairs in chunks; no pair is drawn before its chunk is asked for."""
    chunk: list[tuple[bytes, bytes]] = []
    size = 0
    for key, value in pairs_of(pairs):
        # Bytes need no calls, which would take a third of the time.
        pair = (
            key if type(key) is bytes else key_bytes(key),
            value if codec is RAW and type(value) is bytes else codec.encode(value),
        )
        chunk.append(pair)
        size += len(pair[0]) + len(pair[1])
        if len(chunk) >= PAIRS_MAX or size >= CHUNK_BYTES_MAX:
            yield Chunk(MultiSet(chunk), len(chunk), size)
            chunk, size = [], 0
    if chunk:
        yield Chunk(MultiSet(chunk), len(chunk), size)


def _count(window: BulkWindow) -> int:
    """Return how many pairs are set; raise the first error."""
    if window.error is not None:
        raise window.error
    return window.applied_entries


def load(stream: Stream, pairs: Pairs, codec: Codec[Any, Any] = RAW) -> int:
    """Set pairs over a stream that nothing else is sent over; return how many."""
    window = BulkWindow(LIMITS, stream.timeout, is_adaptive=True)

    def send(chunk: Chunk) -> None:
        stream.send(chunk.command)
        window.on_sent(chunk, monotonic())

    def receive() -> None:
        for _, outcome in stream.receive():
            window.on_outcome(outcome, monotonic())
        if chunk := window.next_resend():
            time.sleep(window.pause_s)
            send(chunk)

    for chunk in split_pairs(pairs, codec):
        while not window.has_capacity(chunk.entries, chunk.bytes):
            receive()
        if window.error is not None:
            break
        send(chunk)
    while not window.is_done:
        receive()
    return _count(window)


async def load_async(
    submit: Callable[[Command, Any], None], pairs: Pairs, codec: Codec[Any, Any] = RAW, *, patience_s: float
) -> int:
    """Set pairs with a function that takes a command and the future of its outcome; return how many."""
    window = BulkWindow(LIMITS, patience_s, is_adaptive=True)
    futures: deque[asyncio.Future[Outcome]] = deque()

    def send(chunk: Chunk) -> None:
        futures.append(asyncio.get_running_loop().create_future())
        submit(chunk.command, futures[-1])
        window.on_sent(chunk, monotonic())

    async def receive() -> None:
        window.on_outcome(await futures.popleft(), monotonic())
        if chunk := window.next_resend():
            await asyncio.sleep(window.pause_s)
            send(chunk)

    for chunk in split_pairs(pairs, codec):
        while not window.has_capacity(chunk.entries, chunk.bytes):
            await receive()
        if window.error is not None:
            break
        send(chunk)
    while not window.is_done:
        await receive()
    return _count(window)
