"""A watch for asyncio: a `Watch` that a `Driver` steps, with a bound on what waits to be taken."""

import asyncio
from collections import deque
from collections.abc import AsyncGenerator, AsyncIterator, Sequence
from typing import Any, Self

from kvd.client.channel import Channel
from kvd.client.context import AsyncContextManaged
from kvd.client.driver import Resolver, SocketDriver
from kvd.client.selection import Position, Selection
from kvd.client.watch import Watch
from kvd.commands.model import Change
from kvd.limits import WATCHED_BYTES_MAX, WATCHED_MAX


class AsyncWatch(AsyncContextManaged):
    """A `Watch` driven by asyncio. While enough waits to be taken (WATCHED_MAX), nothing more is taken in.

    `async for change in kv.watch(...)` closes it when the loop is left, however that happens. Within `async with` it
    stays open until the end of that.
    """

    def __init__(self, endpoints: Sequence[str], selection: Selection, **options: Any) -> None:
        """`options` as for `Watch`. The watch begins when something is first awaited."""
        self._driver: SocketDriver | None = None
        self.inner = Watch(endpoints, selection, resolve=Resolver(self._wake), **options)
        self.changes: deque[Change] = deque()
        self.error: Exception | None = None
        self.event = asyncio.Event()
        self.is_bounded = True
        self.held_bytes = 0
        self._is_entered = self._is_stopped = False

    @property
    def is_full(self) -> bool:
        """Return whether enough waits to be taken. What the daemon then drops is asked for afterwards."""
        return self.is_bounded and (len(self.changes) >= WATCHED_MAX or self.held_bytes >= WATCHED_BYTES_MAX)

    def channels(self) -> list[Channel]:
        """Return the connections to listen to."""
        return [] if self.is_full or self.error is not None else self.inner.channels()

    def due(self) -> float | None:
        """Return when to take a step even if no connection is ready."""
        return None if self.is_full or self.error is not None else self.inner.due()

    def pump(self) -> None:
        """Take one step; an error is raised to whoever waits."""
        if self.error is None and not self.is_full and not self._is_stopped:
            try:
                found = self.inner.step()
                self.changes += found
                self.held_bytes += sum([len(change.value or b"") for change in found])
            except Exception as error:  # noqa: BLE001  # handed on as it is
                self.error = error
        self.event.set()

    async def next_pump(self) -> None:
        """Wait until something may have changed; raise what the watch raised."""
        if self._driver is None:
            self._driver = SocketDriver(self)
            self._driver.wake()
        self.event.clear()
        if self.error is None and not self._is_stopped:
            await self.event.wait()
        if self.error is not None and not self.changes:
            raise self.error

    async def take(self) -> list[Change]:
        """Return the changes that are there; wait for the first. Returns none once the watch is stopped."""
        while not self.changes and not self._is_stopped:
            await self.next_pump()
        self.resume()
        taken = [*self.changes]
        self.changes.clear()
        self.held_bytes = 0
        return taken

    def resume(self) -> None:
        """Take in more, now that something is taken."""
        if self.is_full and self._driver is not None:
            self._driver.wake()

    async def ready(self) -> int:
        """Wait until nothing can be missed any more; return the revision from which on changes come.

        All that comes before is held meanwhile: with a `since` of long ago, use `begun`.
        """
        self.is_bounded = False
        while not self.inner.is_ready and not self._is_stopped:
            await self.next_pump()
        self.is_bounded = True
        return self.revision

    async def started(self) -> int:
        """Wait until a change is there or nothing can be missed any more; return the revision to go on from."""
        while not self.changes and not self.inner.is_ready and not self._is_stopped:
            await self.next_pump()
        return self.revision

    @property
    def revision(self) -> int:
        """Return the revision up to which all has been delivered."""
        return self.inner.revision_before(self.changes)

    @property
    def position(self) -> Position:
        """Return up to where all has been delivered: `watch(since=position)` goes on there, or says that it cannot."""
        return Position(self.revision, self.inner.position.history)

    def stop(self) -> None:
        """End the iteration. Any thread may call it."""
        self._is_stopped = True
        if self._driver is not None and not self._driver.loop.is_closed():
            self._driver.loop.call_soon_threadsafe(self.event.set)

    def __aiter__(self) -> AsyncIterator[Change]:
        """Return the changes as they come."""
        return self if self._is_entered else self._iterate()

    async def _iterate(self) -> AsyncGenerator[Change, None]:
        """Yield changes; close the watch when that ends."""
        try:
            while True:
                try:
                    change = await self.__anext__()
                except StopAsyncIteration:
                    return
                yield change
        finally:
            await self.close()

    async def __anext__(self) -> Change:
        """Return the next change."""
        while not self.changes:
            if self._is_stopped:
                raise StopAsyncIteration
            await self.next_pump()
        self.resume()
        change = self.changes.popleft()
        self.held_bytes -= len(change.value or b"")
        return change

    async def __aenter__(self) -> Self:
        """Return itself."""
        self._is_entered = True
        return self

    async def close(self) -> None:
        """Stop watching."""
        self._is_stopped = True
        self.event.set()
        if self._driver is not None:
            self._driver.stop()
        self.inner.close()

    def _wake(self) -> None:
        """Take a step in the next turn of the loop."""
        if self._driver is not None:
            self._driver.wake()
