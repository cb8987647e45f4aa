"""The asyncio client: the same names with await. It drives the same machines as the blocking client.

A ZeroMQ socket's descriptor is edge-triggered and tells only that something may have happened: after each
wake, and after each send, the sockets are asked until they have nothing more. Nothing here is cancelled
half-way: a cancelled caller's reply is dropped when it comes.
"""

import asyncio
import time
from collections import deque
from collections.abc import AsyncIterator, Callable, Mapping
from types import TracebackType
from typing import Any, Protocol, Self, TypeVar

import zmq

from kvd.client.closing import AsyncClosing
from kvd.client.keys import Keys
from kvd.client.load import Pairs, load_async
from kvd.client.methods import Awaited, Call, Methods, Text, data, same
from kvd.client.stream import DEFAULT_ENDPOINT, Stream, ok
from kvd.client.sync import Gatherer, Runs, TransactionBuilder, once
from kvd.client.watch import OnState, Watch
from kvd.commands import Command, Write
from kvd.commands.base import Ok
from kvd.commands.entry import Change
from kvd.commands.keys import Scan
from kvd.errors import KvdError
from kvd.limits import IN_FLIGHT_MAX, TIMEOUT_MS, WALK_KEYS, WATCHED_BYTES_MAX, WATCHED_MAX

R = TypeVar("R")


class Taker(Protocol):
    """What takes an outcome: the part of a future that is used."""

    def done(self) -> bool:
        """Return whether nothing is waited for any more."""

    def set_result(self, result: Any, /) -> None:
        """Take the outcome."""

    def cancel(self) -> object:
        """There will be none."""


class Driver:
    """Calls `pump` whenever one of the sockets may have something, and when it is due."""

    def __init__(
        self, pump: Callable[[], None], sockets: Callable[[], list[Any]], due: Callable[[], float | None]
    ) -> None:
        self.loop = asyncio.get_running_loop()
        self.pump = pump
        self.sockets = sockets
        self.due = due
        self.readers: dict[Any, int] = {}
        self.timer: asyncio.TimerHandle | None = None
        self.soon: asyncio.Handle | None = None

    def wake(self) -> None:
        """Pump in the next turn of the loop."""
        if self.soon is None:
            self.soon = self.loop.call_soon(self.turn)

    def turn(self) -> None:
        """Pump once; again in the next turn if there is more, so that others get theirs."""
        self.soon = None
        self.pump()
        sockets = self.sockets()
        self.watch(sockets)
        if any(sock.getsockopt(zmq.EVENTS) & zmq.POLLIN for sock in sockets):
            self.wake()
        if self.timer is not None:
            self.timer.cancel()
        due = self.due()
        if due is not None:
            self.timer = self.loop.call_later(max(0.0, due - time.monotonic()) + 0.001, self.wake)

    def watch(self, sockets: list[Any]) -> None:
        """Listen to the descriptors of these sockets and no others."""
        for sock in [old for old in self.readers if old not in sockets]:
            self.loop.remove_reader(self.readers.pop(sock))
        for sock in sockets:
            if sock not in self.readers:
                self.readers[sock] = sock.getsockopt(zmq.FD)
                self.loop.add_reader(self.readers[sock], self.wake)

    def stop(self) -> None:
        """Listen no more."""
        self.watch([])
        for handle in (self.timer, self.soon):
            if handle is not None:
                handle.cancel()


class AsyncClient(Methods, Awaited, AsyncClosing):
    """A connection to a daemon, for asyncio. Use it within one running loop.

    `timeout` and `connect_timeout` in seconds, as `kvd.client.Client`.
    """

    def __init__(
        self,
        endpoint: str = DEFAULT_ENDPOINT,
        *,
        timeout: float = TIMEOUT_MS / 1000,
        connect_timeout: float | None = None,
        keys: Keys | None = None,
    ) -> None:
        self.endpoint = endpoint
        self.timeout = timeout
        self.keys = keys
        self.stream = Stream(
            endpoint,
            timeout=timeout,
            connect_timeout=connect_timeout,
            window=IN_FLIGHT_MAX,
            is_ordered=False,
            keys=keys,
        )
        self.driver: Driver | None = None

    def pump(self) -> None:
        """Hand out the outcomes that are there."""
        if not self.stream.pending:
            self.stream.take_in()  # or the descriptors would wake us for it for ever
        for future, outcome in self.stream.receive(0):
            if not future.done():
                future.set_result(outcome)

    def sockets(self) -> list[Any]:
        """Return the sockets to listen to."""
        return [self.stream.socket, self.stream.monitor]

    def give(self, command: Command, taker: Taker) -> None:
        """Run a command; its outcome becomes the result of a future, or of what is as one, to save the future's turn.

        The commands given run in the order given.
        """
        if self.driver is None:
            self.driver = Driver(self.pump, self.sockets, self.stream.due)
        self.stream.send(command, taker)
        self.driver.wake()

    async def answer(self, command: Command) -> Ok:
        """Run a command; return its result and the revision it reflects."""
        future: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
        self.give(command, future)
        return ok(await future)

    async def run(self, command: Runs[R]) -> R:
        """Run any command of `kvd.commands`; return its result as the wire has it."""
        assert isinstance(command, Command)
        return (await self.answer(command)).result  # type: ignore[no-any-return]

    async def call(self, call: Call[R]) -> R:
        """Run a method's call."""
        return call.convert((await self.answer(call.command)).result)

    def once(self, token: bytes | None = None) -> "AsyncOnce":
        """Return a view whose writes run once however often they are sent."""
        return AsyncOnce(self, token)

    def pipeline(self) -> "AsyncPipeline":
        """Return a gatherer: `async with kv.pipeline() as p: p.set(...)`, then `p.results`."""
        return AsyncPipeline(self)

    def transaction(self, conditions: Mapping[Any, int] | None = None) -> "AsyncTransaction":
        """Return a gatherer whose commands run whole or not at all: `async with kv.transaction() as t: ...`."""
        return AsyncTransaction(self, conditions or {})

    async def scan(self, prefix: Text = b"") -> AsyncIterator[bytes]:
        """Yield all keys that begin with a prefix, in byte order, page by page."""
        after: bytes | None = None
        while True:
            items, after = await self.run(Scan(data(prefix), after, WALK_KEYS))
            for item in items:
                yield item
            if after is None:
                return

    async def items(self, prefix: Text = b"") -> AsyncIterator[tuple[bytes, bytes]]:
        """Yield keys and values of a prefix, in byte order, page by page."""
        after: bytes | None = None
        while True:
            items, after = await self.run(Scan(data(prefix), after, WALK_KEYS, values=True))
            for key, value, _, _ in items:
                yield key, value
            if after is None:
                return

    async def load(self, pairs: Pairs) -> int:
        """Set any number of keys, from a mapping or any iterable of pairs; return how many. As `Client.load`."""
        return await load_async(self.give, pairs)

    def watch(
        self, *prefixes: Text, since: int | None = None, snapshot: bool = False, on_state: OnState | None = None
    ) -> "AsyncWatch":
        """Follow changes: `async for change in kv.watch("user:")`. As `Client.watch`."""
        names = [data(prefix) for prefix in prefixes]
        watch = Watch(
            self.endpoint,
            names,
            since=since,
            snapshot=snapshot,
            timeout=self.timeout,
            keys=self.keys,
            on_state=on_state,
            shared=self.stream.shared,
        )
        return AsyncWatch(watch)

    async def close(self) -> None:
        """Close the connection; whoever still waits is cancelled."""
        if self.driver is not None:
            self.driver.stop()
        for pending in list(self.stream.pending.by_correlation.values()):
            pending.tag.cancel()
        self.stream.close()


class AsyncOnce(Methods, Awaited):
    """An asyncio client's methods, each write under ONCE."""

    def __init__(self, client: AsyncClient, token: bytes | None) -> None:
        self.client = client
        self.token = token

    async def call(self, call: Call[R]) -> R:
        """Run a write under ONCE, a read as it is."""
        command = once(call.command, self.token) if isinstance(call.command, Write) else call.command
        return call.convert((await self.client.answer(command)).result)

    async def run(self, command: Runs[R]) -> R:
        """Run any write under ONCE, any read as it is."""
        assert isinstance(command, Command)
        return await self.call(Call(command, same))


class AsyncPipeline(Gatherer):
    """Gathers commands; sends them, many in flight, at the end of its `async with`."""

    def __init__(self, client: AsyncClient) -> None:
        super().__init__()
        self.client = client

    async def __aenter__(self) -> Self:
        """Return itself."""
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Send all and wait; raise the first error (the list holds all)."""
        if kind is not None:
            return
        window = asyncio.Semaphore(IN_FLIGHT_MAX)

        async def one(call: Call[Any]) -> Any:
            async with window:
                return await self.client.call(call)

        self.results = await asyncio.gather(*map(one, self.calls), return_exceptions=True)
        failed = next((result for result in self.results if isinstance(result, KvdError)), None)
        if failed is not None:
            raise failed


class AsyncTransaction(TransactionBuilder):
    """Gathers commands and sends them as one TRANSACTION at the end of its `async with`."""

    def __init__(self, client: AsyncClient, conditions: Mapping[Any, int]) -> None:
        super().__init__(None, conditions)  # type: ignore[arg-type]  # it is the loop's client that runs it
        self.async_client = client

    async def __aenter__(self) -> Self:
        """Return itself."""
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Run them, unless an error leaves the block."""
        if kind is None and self.calls:
            self.took((await self.async_client.answer(self.command())).result)


class AsyncWatch(AsyncClosing):
    """A `Watch` driven by asyncio. While enough waits to be taken (WATCHED_MAX), nothing more is taken in."""

    def __init__(self, watch: Watch) -> None:
        self.inner = watch
        self.driver: Driver | None = None
        self.changes: deque[Change] = deque()
        self.error: Exception | None = None
        self.event = asyncio.Event()
        self.is_bounded = True
        self.held_bytes = 0

    @property
    def is_full(self) -> bool:
        """Return whether enough waits to be taken. What the daemon then drops is asked for afterwards."""
        return self.is_bounded and (len(self.changes) >= WATCHED_MAX or self.held_bytes >= WATCHED_BYTES_MAX)

    def sockets(self) -> list[Any]:
        """Return the sockets to listen to."""
        return [] if self.is_full else self.inner.sockets()

    def due(self) -> float | None:
        """Return when to take a step even if no socket says so."""
        return None if self.is_full else self.inner.due()

    def pump(self) -> None:
        """Take one step; an error is raised to whoever waits."""
        if self.error is None and not self.is_full:
            try:
                found = self.inner.step()
                self.changes += found
                self.held_bytes += sum([len(change.value or b"") for change in found])
            except Exception as error:  # noqa: BLE001  # handed on as it is
                self.error = error
        self.event.set()

    async def pumped(self) -> None:
        """Wait until something may have changed; raise what the watch raised."""
        if self.driver is None:
            self.driver = Driver(self.pump, self.sockets, self.due)
            self.driver.wake()
        self.event.clear()
        if self.error is None:
            await self.event.wait()
        if self.error is not None and not self.changes:
            raise self.error

    async def take(self) -> list[Change]:
        """Return the changes that are there; wait for the first."""
        while not self.changes:
            await self.pumped()
        self.go_on()
        taken = [*self.changes]
        self.changes.clear()
        self.held_bytes = 0
        return taken

    def go_on(self) -> None:
        """Take in more, now that something is taken."""
        if self.is_full and self.driver is not None:
            self.driver.wake()

    async def ready(self) -> int:
        """Wait until nothing can be missed any more; return the revision from which on changes come.

        All that comes before is held meanwhile: with a `since` of long ago, use `begun`.
        """
        self.is_bounded = False
        while not self.inner.is_ready:
            await self.pumped()
        self.is_bounded = True
        return self.revision

    async def begun(self) -> int:
        """Wait until a change is there or nothing can be missed any more; return the revision to go on from."""
        while not self.changes and not self.inner.is_ready:
            await self.pumped()
        return self.revision

    @property
    def revision(self) -> int:
        """Return the revision up to which all has been delivered."""
        return self.inner.revision_before(self.changes)

    def __aiter__(self) -> Self:
        """Return itself."""
        return self

    async def __anext__(self) -> Change:
        """Return the next change."""
        while not self.changes:
            await self.pumped()
        self.go_on()
        change = self.changes.popleft()
        self.held_bytes -= len(change.value or b"")
        return change

    async def close(self) -> None:
        """Stop watching."""
        if self.driver is not None:
            self.driver.stop()
        self.inner.close()
