"""Feeds of changes for HTTP clients: each client has its own watch, with heartbeats. All end when the gateway stops."""

import asyncio
from collections.abc import AsyncIterator, Coroutine, Sequence
from contextlib import asynccontextmanager, suppress
from typing import Any

from kvd.client.async_watch import AsyncWatch
from kvd.commands.model import Change
from kvd.errors import Busy
from kvd.gateways.common.upstream import NotKnown, Upstream, watches_max
from kvd.gateways.http.change_cache import ChangeCache, EncodedChange, Format
from kvd.limits import HTTP_WATCHERS_MAX, WATCH_HEARTBEAT_MS

FINISH_S = 1.0


class Feed:
    """A started watch on behalf of a client."""

    def __init__(self, feeds: "Feeds", upstream: Upstream, watch: AsyncWatch) -> None:
        self.feeds = feeds
        self.upstream = upstream
        self.watch = watch

    @property
    def headers(self) -> dict[str, str]:
        """Return the headers for resuming: the history, and the revision after which changes follow."""
        return {"Kvd-History": str(self.watch.inner.history), "Kvd-Revision": str(self.watch.revision)}

    async def batches(self) -> AsyncIterator[list[Change]]:
        """Yield changes as they arrive, and an empty list as a heartbeat. Ends when the gateway stops.

        Raises KvdError if the watch cannot continue, NotKnown if the token is revoked.
        """
        ending = asyncio.ensure_future(self._wait_for_end())
        taking = asyncio.ensure_future(self.watch.take())
        try:
            while True:
                waits = (taking, ending)
                await asyncio.wait(waits, timeout=WATCH_HEARTBEAT_MS / 1000, return_when=asyncio.FIRST_COMPLETED)
                if ending.done():
                    ending.result()
                    return
                if not taking.done():
                    yield []
                    continue
                changes = taking.result()
                taking = asyncio.ensure_future(self.watch.take())
                yield changes
        finally:
            await cancel_all(taking, ending)

    async def encode(self, format_change: Format, change: Change) -> EncodedChange:
        """Return a large change in a format, encoded once for all watchers."""
        return await self.feeds.cache.encode(format_change, self.watch.inner.history, change)

    async def _wait_for_end(self) -> None:
        """Return when the gateway stops; raise NotKnown when the token is revoked."""
        ends = [asyncio.ensure_future(event.wait()) for event in (self.upstream.revoked, self.feeds.ending)]
        try:
            await asyncio.wait(ends, return_when=asyncio.FIRST_COMPLETED)
        finally:
            await cancel_all(*ends)
        if self.upstream.revoked.is_set():
            raise NotKnown("the token was revoked")

    async def run_until_end(self, sending: Coroutine[Any, Any, None]) -> None:
        """Run `sending`. It is cancelled FINISH_S after the end of the feed, because a client may read nothing."""
        tasks = [asyncio.ensure_future(sending), asyncio.ensure_future(self._wait_for_end())]
        try:
            await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
            await asyncio.wait(tasks[:1], timeout=FINISH_S)
        finally:
            await cancel_all(*tasks)


async def cancel_all(*tasks: asyncio.Future[Any]) -> None:
    """Cancel tasks and wait for them; ignore their errors."""
    for task in tasks:
        task.cancel()
        with suppress(asyncio.CancelledError, Exception):
            await task


class Feeds:
    """All feeds of a gateway."""

    def __init__(self) -> None:
        self.ending = asyncio.Event()
        self.count = 0
        self.feeds_max = watches_max(HTTP_WATCHERS_MAX)
        self.cache = ChangeCache()

    @asynccontextmanager
    async def feed(
        self, upstream: Upstream, prefixes: Sequence[bytes], since: int | None, history: str | None = None
    ) -> AsyncIterator[Feed]:
        """Yield a started feed. Raises Busy, Compacted, HistoryChanged and the other errors of a watch."""
        if self.count >= self.feeds_max:
            raise Busy(f"this gateway has {self.feeds_max} watchers already: retry, or use another gateway")
        self.count += 1
        try:
            async with upstream.watching(prefixes, since, history) as watch:
                yield Feed(self, upstream, watch)
        finally:
            self.count -= 1


def change_record(change: Change) -> dict[str, Any]:
    """Return a change as an object for JSON, with its bytes as they are. Its kind is set, clear or expired."""
    members: dict[str, Any] = {"revision": change.revision, "kind": change.kind.lower(), "key": change.key}
    if change.value is not None:
        members["value"] = change.value
    if change.expires is not None:
        members["expires"] = change.expires
    return {**members, "time": change.time}
