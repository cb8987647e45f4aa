"""Changes for clients of HTTP: each has a watch of his own, with signs of life, and all end when the gateway does."""

import asyncio
from collections.abc import AsyncIterator, Coroutine, Sequence
from contextlib import asynccontextmanager, suppress
from typing import Any

from kvd.client.async_watch import AsyncWatch
from kvd.commands.model import Change
from kvd.errors import Busy
from kvd.gateways.common.upstream import NotKnown, Upstream, watches_max
from kvd.gateways.http.change_cache import ChangeCache, EncodedChange, Form
from kvd.limits import HTTP_WATCHERS_MAX, WATCH_HEARTBEAT_MS

LAST_WORDS_S = 1.0


class Feed:
    """A watch that has begun: what it follows is there, or it has been refused."""

    def __init__(self, feeds: "Feeds", link: Upstream, watch: AsyncWatch) -> None:
        self.feeds = feeds
        self.upstream = link
        self.watch = watch

    @property
    def headers(self) -> dict[str, str]:
        """Return what a client should keep: which history this is, and from which revision on it is told."""
        return {"Kvd-History": str(self.watch.inner.history), "Kvd-Revision": str(self.watch.revision)}

    async def batches(self) -> AsyncIterator[list[Change]]:
        """Yield changes as they come, and an empty list as a sign of life. It ends when the gateway does.

        Raises KvdError when there is no going on, NotKnown when the token is taken away.
        """
        ending = asyncio.ensure_future(self._end_error())
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
            await dropped_error(taking, ending)

    async def record(self, form: Form, change: Change) -> EncodedChange:
        """Return a large change in a form, encoded once for all watchers."""
        return await self.feeds.records.record(form, self.watch.inner.history, change)

    async def _end_error(self) -> None:
        """Return when the gateway ends; raise NotKnown when the token is taken away."""
        ends = [asyncio.ensure_future(event.wait()) for event in (self.upstream.revoked, self.feeds.ending)]
        try:
            await asyncio.wait(ends, return_when=asyncio.FIRST_COMPLETED)
        finally:
            await dropped_error(*ends)
        if self.upstream.revoked.is_set():
            raise NotKnown("the token was taken away")

    async def within(self, sending: Coroutine[Any, Any, None]) -> None:
        """Send until that is done; a moment after the feed has ended it is cut off, for a client may take nothing."""
        tasks = [asyncio.ensure_future(sending), asyncio.ensure_future(self._end_error())]
        try:
            await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
            await asyncio.wait(tasks[:1], timeout=LAST_WORDS_S)
        finally:
            await dropped_error(*tasks)


async def dropped_error(*tasks: asyncio.Future[Any]) -> None:
    """End tasks, whatever becomes of them."""
    for task in tasks:
        task.cancel()
        with suppress(asyncio.CancelledError, Exception):
            await task


class Feeds:
    """All feeds of a gateway."""

    def __init__(self) -> None:
        self.ending = asyncio.Event()
        self.count = 0
        self.most = watches_max(HTTP_WATCHERS_MAX)
        self.records = ChangeCache()

    @asynccontextmanager
    async def feed(
        self, link: Upstream, prefixes: Sequence[bytes], since: int | None, history: str | None = None
    ) -> AsyncIterator[Feed]:
        """Give a feed that has begun. Raises Busy, Compacted, HistoryChanged and what else a watch raises."""
        if self.count >= self.most:
            raise Busy(f"this gateway has {self.most} watchers already: try another, or again")
        self.count += 1
        try:
            async with link.watching(prefixes, since, history) as watch:
                yield Feed(self, link, watch)
        finally:
            self.count -= 1


def record(change: Change) -> dict[str, Any]:
    """Return a change as an object of JSON, but for its bytes: its kind is set, clear or expired."""
    told: dict[str, Any] = {"revision": change.revision, "kind": change.kind.lower(), "key": change.key}
    if change.value is not None:
        told["value"] = change.value
    if change.expires is not None:
        told["expires"] = change.expires
    return {**told, "time": change.time}
