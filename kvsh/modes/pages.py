"""A walk over all keys of a prefix, page by page; the daemon reads the next page while we write this one."""

from collections.abc import Iterator
from typing import Any

from kvd.client import Stream
from kvd.client.stream import ok
from kvd.commands.keys import Scan
from kvd.limits import MIB, SCAN_LIMIT_MAX

# With values a page is smaller: others wait while the daemon reads it. Measured with 1 M entries of 100 bytes: 1,000
# a page 550 k/s and 7 ms at most, 10,000 a page 490 k/s and 27 ms; keys alone 600 and 650 k/s, 6 and 22 ms.
VALUES_LIMIT = 1_000
VALUES_BYTES = 4 * MIB


def pages(stream: Stream, prefix: bytes, *, values: bool | None = None) -> Iterator[list[Any]]:
    """Yield the keys of a prefix in byte order, or [key, value, revision, expires] with values. Raises KvdError."""
    limit = VALUES_LIMIT if values else SCAN_LIMIT_MAX
    stream.send(Scan(prefix, None, limit, values))
    while True:
        page, after = result(stream)
        if after is not None:
            limit = next_limit(page) if values else limit
            stream.send(Scan(prefix, after, limit, values))
        yield page
        if after is None:
            return


def next_limit(page: list[Any]) -> int:
    """Return how many entries to ask for so that they are about VALUES_BYTES, if they are as those before."""
    size = sum([len(item[1]) for item in page])
    return max(1, min(VALUES_LIMIT, VALUES_BYTES * len(page) // max(1, size)))


def result(stream: Stream) -> Any:
    """Return the result of the one command under way. Raises KvdError."""
    [(_, outcome)] = stream.receive()
    return ok(outcome).result
