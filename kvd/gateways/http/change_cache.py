"""Encodes changes as JSON for watchers. A large change is encoded once, and all watchers share its bytes."""

import asyncio
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from kvd.commands.model import Change
from kvd.gateways.common.json_pieces import encode, to_json
from kvd.gateways.http.encoding import encode_in_pieces
from kvd.limits import HTTP_CHANGE_CACHE_BYTES_MAX, HTTP_CHANGE_CACHE_MS, HTTP_LARGE_BYTES

Format = Callable[[Change], dict[str, Any]]


class EncodedChange:
    """A large change as JSON. Connections hold it while they send it."""

    def __init__(self, pieces: list[bytes]) -> None:
        self.pieces = pieces
        self.size = sum(map(len, pieces))
        self.holders = 0

    @property
    def share(self) -> int:
        """Return the bytes that each of its holders accounts for."""
        return self.size // max(1, self.holders)

    @contextmanager
    def hold(self, connection: Any) -> Iterator[list[bytes]]:
        """Yield the pieces; meanwhile the client's connection accounts for its share."""
        self.holders += 1
        connection.set_record(self)
        try:
            yield self.pieces
        finally:
            self.holders -= 1
            connection.set_record(None)


class ChangeCache:
    """The large changes that are being sent, or were within HTTP_CHANGE_CACHE_MS."""

    def __init__(self) -> None:
        self._encodings: dict[tuple[Format, str | None, int], asyncio.Task[EncodedChange]] = {}  # oldest first

    async def encode(self, format_change: Format, history: str | None, change: Change) -> EncodedChange:
        """Return an encoded large change; encode it on the first call."""
        cache_key = (format_change, history, change.revision)  # a revision of a history identifies a change
        if cache_key not in self._encodings:
            self._encodings[cache_key] = asyncio.ensure_future(_encode_change(format_change, change))
            asyncio.get_running_loop().call_later(HTTP_CHANGE_CACHE_MS / 1000, self._encodings.pop, cache_key, None)
        record = await asyncio.shield(self._encodings[cache_key])
        self._evict_oldest()
        return record

    def _evict_oldest(self) -> None:
        """Evict changes above HTTP_CHANGE_CACHE_BYTES_MAX. Their holders keep those that are being sent."""
        sizes = {cache_key: task.result().size for cache_key, task in self._encodings.items() if task.done()}
        total = sum(sizes.values())
        for cache_key, size in sizes.items():
            if total <= HTTP_CHANGE_CACHE_BYTES_MAX:
                break
            total -= size
            del self._encodings[cache_key]


async def _encode_change(format_change: Format, change: Change) -> EncodedChange:
    return EncodedChange(await encode_in_pieces(format_change(change)))


def is_large(change: Change) -> bool:
    """Return whether a change is cached in its encoded form."""
    return change.value is not None and len(change.value) >= HTTP_LARGE_BYTES


def encode_small(format_change: Format, change: Change) -> bytes:
    return encode(to_json(format_change(change)))
