"""A walk over all keys of a prefix, page by page; the daemon reads the next page while we write this one."""

from collections.abc import Iterator
from typing import Any

from kvd.client.stream import Stream, ok
from kvd.commands.keys import Scan
from kvd.limits import MIB, WALK_KEYS

VALUES_BYTES = 4 * MIB
ITEM_PARTS = 4  # key, value, revision, expires


def pages(stream: Stream, prefix: bytes, *, values: bool | None = None) -> Iterator[list[Any]]:
    """Yield the keys of a prefix in byte order, or [key, value, revision, expires] with values. Raises KvdError."""
    limit = WALK_KEYS
    stream.send(Scan(prefix, None, limit, values))
    while True:
        page, after, *_ = result(stream)
        if page and values and len(page[0]) > ITEM_PARTS:
            page = [item[:ITEM_PARTS] for item in page]  # of a daemon that says more
        if after is not None:
            limit = next_limit(page) if values else limit
            stream.send(Scan(prefix, after, limit, values))
        yield page
        if after is None:
            return


def next_limit(page: list[Any]) -> int:
    """Return how many entries to ask for so that they are about VALUES_BYTES, if they are as those before."""
    size = sum([len(item[1]) for item in page])
    return max(1, min(WALK_KEYS, VALUES_BYTES * len(page) // max(1, size)))


def result(stream: Stream) -> Any:
    """Return the result of the one command under way. Raises KvdError."""
    [(_, outcome)] = stream.receive()
    return ok(outcome).result
