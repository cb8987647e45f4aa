"""A watch for asyncio: a `SocketDriver` steps a `Subscription`, and the memory for changes not yet taken is bounded."""

import asyncio
from collections import deque
from collections.abc import AsyncGenerator, AsyncIterator, Sequence
from typing import Any, Self

from kvd.client.channel import Channel
from kvd.client.context import AsyncContextManaged
from kvd.client.driver import Resolver, SocketDriver
from kvd.client.selection import Position, Selection
from kvd.client.subscription import Subscription
from kvd.commands.model import Change
from kvd.limits import WATCHED_BYTES_MAX, WATCHED_MAX


class AsyncWatch(AsyncContextManaged):
    """A watch driven by asyncio. It stops reading while WATCHED_MAX changes, or WATCHED_BYTES_MAX, wait to be taken.

    `async for change in kv.watch(...)` closes the watch when the loop ends, for any reason. Within `async with` it
    stays open until the end of the block.
    """

    def __init__(self, endpoints: Sequence[str], selection: Selection, **options: Any) -> None:
        """`options` are those of `Watch`. The watch starts at the first await."""
        self._driver: SocketDriver | None = None
        self.inner = Subscription(endpoints, selection, resolve=Resolver(self._wake), **options)
        self.changes: deque[Change] = deque()
        self.error: Exception | None = None
        self.event = asyncio.Event()
        self.is_bounded = True
        self.held_bytes = 0
        self._is_entered = self._is_stopped = False

    @property
    def is_full(self) -> bool:
        """Whether enough changes wait to be taken. The watch fetches later what the daemon drops meanwhile."""
        return self.is_bounded and (len(self.changes) >= WATCHED_MAX or self.held_bytes >= WATCHED_BYTES_MAX)

    def channels(self) -> list[Channel]:
        """Return the connections to listen to."""
        return [] if self.is_full or self.error is not None else self.inner.channels()

    def due(self) -> float | None:
        """Return when to step even if no connection is ready, on the monotonic clock."""
        return None if self.is_full or self.error is not None else self.inner.due()

    def pump(self) -> None:
        """Take one step. An error is raised by the next call that waits."""
        if self.error is None and not self.is_full and not self._is_stopped:
            try:
                changes = self.inner.step()
                self.changes += changes
                self.held_bytes += sum([len(change.value or b"") for change in changes])
            except Exception as error:  # noqa: BLE001  # `next_pump` raises it
                self.error = error
        self.event.set()

    async def next_pump(self) -> None:
        """Wait for the next pump. Raises the error of the watch."""
        if self._driver is None:
            self._driver = SocketDriver(self)
            self._driver.wake()
        self.event.clear()
        if self.error is None and not self._is_stopped:
            await self.event.wait()
        if self.error is not None and not self.changes:
            raise self.error

    async def take(self) -> list[Change]:
        """Return the changes that have arrived; wait for the first. Returns none once the watch is stopped."""
        while not self.changes and not self._is_stopped:
            await self.next_pump()
        self.resume()
        changes = [*self.changes]
        self.changes.clear()
        self.held_bytes = 0
        return changes

    def resume(self) -> None:
        """Read on, after changes were taken."""
        if self.is_full and self._driver is not None:
            self._driver.wake()

    async def ready(self) -> int:
        """Wait until no change can be missed any more; return the revision after which changes are delivered.

        Earlier changes are held in memory meanwhile: with an old `since`, use `wait_for_start`.
        """
        self.is_bounded = False
        while not self.inner.is_ready and not self._is_stopped:
            await self.next_pump()
        self.is_bounded = True
        return self.revision

    async def wait_for_start(self) -> int:
        """Wait until a change arrives or none can be missed any more; return the revision to resume after."""
        while not self.changes and not self.inner.is_ready and not self._is_stopped:
            await self.next_pump()
        return self.revision

    @property
    def revision(self) -> int:
        """The revision up to which all changes have been delivered."""
        return self.position.revision

    @property
    def position(self) -> Position:
        """Where the watch is: `watch(since=position)` resumes there, or raises when it cannot."""
        return self.inner.position(self.changes)

    def stop(self) -> None:
        """End the iteration. Any thread may call it."""
        self._is_stopped = True
        if self._driver is not None and not self._driver.loop.is_closed():
            self._driver.loop.call_soon_threadsafe(self.event.set)

    def __aiter__(self) -> AsyncIterator[Change]:
        return self if self._is_entered else self._iterate()

    async def _iterate(self) -> AsyncGenerator[Change, None]:
        """Yield the changes; close the watch at the end."""
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
        while not self.changes:
            if self._is_stopped:
                raise StopAsyncIteration
            await self.next_pump()
        self.resume()
        change = self.changes.popleft()
        self.held_bytes -= len(change.value or b"")
        return change

    async def __aenter__(self) -> Self:
        self._is_entered = True
        return self

    async def close(self) -> None:
        """Stop watching and close the connections."""
        self._is_stopped = True
        self.event.set()
        if self._driver is not None:
            self._driver.stop()
        self.inner.close()

    def _wake(self) -> None:
        """Step in the next turn of the event loop."""
        if self._driver is not None:
            self._driver.wake()
