"""Walks all keys of a prefix, page by page. The daemon reads the next page while the caller processes this one."""

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
        page, after, *_ = _receive_result(stream)
        if page and values and len(page[0]) > ITEM_PARTS:
            page = [item[:ITEM_PARTS] for item in page]  # a newer daemon may return more
        if after is not None:
            limit = next_limit(page) if values else limit
            stream.send(Scan(prefix, after, limit, values))
        yield page
        if after is None:
            return


def next_limit(page: list[Any]) -> int:
    """Return how many entries make about VALUES_BYTES, if they are like those of the last page."""
    size = sum([len(item[1]) for item in page])
    return max(1, min(WALK_KEYS, VALUES_BYTES * len(page) // max(1, size)))


def _receive_result(stream: Stream) -> Any:
    """Return the result of the only command in flight. Raises KvdError."""
    [(_, outcome)] = stream.receive()
    return ok(outcome).result
