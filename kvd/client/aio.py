"""The asyncio client: the names of `Client`, awaited. It runs the same protocol code as the blocking client.

Commands submitted in one turn of the event loop are sent together at the end of the turn. No operation is cancelled
half-way: the reply to a cancelled caller is dropped when it arrives.
"""

import asyncio
import os
import warnings
from collections.abc import AsyncIterator, Iterable, Mapping, Sequence
from typing import Any, NoReturn, Protocol, Self, overload

from msgspec.structs import replace

from kvd.client.async_lock import AsyncLock
from kvd.client.async_mirror import AsyncMirror
from kvd.client.async_views import AsyncOnce, AsyncPipeline, AsyncRevisionClient, AsyncTransaction
from kvd.client.async_watch import AsyncWatch
from kvd.client.bulk_load import load_async
from kvd.client.channel import Channel
from kvd.client.context import AsyncContextManaged
from kvd.client.driver import Resolver, SocketDriver
from kvd.client.endpoints import parse_endpoints
from kvd.client.inflight import InFlight
from kvd.client.keys import Keys
from kvd.client.lock import OnLost
from kvd.client.method import Awaited, Call, R, Runs
from kvd.client.methods import Methods
from kvd.client.mirror import OnChange
from kvd.client.outcomes import ok
from kvd.client.prefix_methods import scan_command
from kvd.client.results import Item
from kvd.client.selection import Position, select, start_of
from kvd.client.stream import Stream
from kvd.client.subscription import OnState
from kvd.client.url import url_options
from kvd.client.values import RAW, AnyCodec, Codec, K, Pairs, Seconds, Text, V, check_seconds, codec_of, key_bytes
from kvd.commands import Command
from kvd.commands.base import Ok
from kvd.commands.keys import Scan
from kvd.commands.values import Get
from kvd.errors import KvdError
from kvd.limits import IN_FLIGHT_MAX, TIMEOUT_MS


class ResultSink(Protocol):
    """Receives the outcome of a command: the part of a future that the client uses."""

    def done(self) -> bool: ...

    def set_result(self, result: Any, /) -> None: ...

    def cancel(self) -> object: ...


class AsyncClient(Methods[K, V], Awaited, AsyncContextManaged):
    """A connection to a daemon, for asyncio; many commands are in flight over it.

    The client belongs to the event loop of its first use. After that loop is closed, the next one may use the client.
    `timeout` and `connect_timeout` are in seconds; `endpoint` and `keys` are those of `kvd.Client`.
    """

    @overload
    def __init__(
        self: "AsyncClient[bytes, bytes]",
        endpoint: str | Sequence[str] | None = None,
        *,
        timeout: float = ...,
        connect_timeout: float | None = None,
        keys: Keys | None = None,
    ) -> None: ...
    @overload
    def __init__(
        self: "AsyncClient[str, str]",
        endpoint: str | Sequence[str] | None = None,
        *,
        timeout: float = ...,
        connect_timeout: float | None = None,
        keys: Keys | None = None,
        decode: str,
    ) -> None: ...
    @overload
    def __init__(
        self: "AsyncClient[bytes, Any]",
        endpoint: str | Sequence[str] | None = None,
        *,
        timeout: float = ...,
        connect_timeout: float | None = None,
        keys: Keys | None = None,
        codec: AnyCodec,
    ) -> None: ...
    def __init__(
        self,
        endpoint: str | Sequence[str] | None = None,
        *,
        timeout: float = TIMEOUT_MS / 1000,
        connect_timeout: float | None = None,
        keys: Keys | None = None,
        decode: str | None = None,
        codec: AnyCodec | None = None,
    ) -> None:
        """The connection opens at the first command. The arguments are those of `kvd.Client`."""
        self.codec: Codec[Any, Any] = codec_of(decode, codec)
        self._history: list[str] = []  # the history that the last watch saw
        self._endpoints = [each.text for each in parse_endpoints(endpoint)]
        self.timeout = check_seconds("timeout", timeout)
        self._connect_timeout = check_seconds(
            "connect_timeout", timeout if connect_timeout is None else connect_timeout
        )
        self._keys = keys
        self._stream: Stream | None = None
        self._driver: SocketDriver | None = None
        self._is_closed = False
        self._pid = os.getpid()

    @classmethod
    def from_url(cls, url: str, **options: Any) -> Self:
        """Return a client for a URL, as `Client.from_url`."""
        return cls(**{**url_options(url), **options})

    @property
    def endpoint(self) -> str:
        """The endpoint in use, or the first to be tried."""
        return self._endpoints[0] if self._stream is None else self._stream.endpoint

    def __repr__(self) -> str:
        return f"{type(self).__name__}({','.join(self._endpoints)!r})"

    async def __getitem__(self, key: Text) -> V:
        """Return the value of a key: `await kv[key]`. Raises KeyError when it is missing."""
        value = await self.run(Get(key_bytes(key)))
        if value is None:
            raise KeyError(key)
        return self.codec.value(value)  # type: ignore[no-any-return]

    def __aiter__(self) -> AsyncIterator[K]:
        """Yield all keys: `async for key in kv`."""
        return self.scan()

    # Otherwise Python would try `kv[0]`, `kv[1]` and so on, without end.
    __iter__ = None
    __contains__ = None

    def __reduce__(self) -> NoReturn:
        """Refuse to be copied: a copy would share the connection."""
        raise TypeError("an AsyncClient cannot be copied or pickled: make one where it is used")

    def pump(self) -> None:
        """Deliver the outcomes that have arrived."""
        assert self._stream is not None
        try:
            self._stream.advance()
        except Exception as error:  # noqa: BLE001  # as without descriptors; every command in flight raises it
            self._fail(self._stream.pending, error)
        for future, outcome in self._stream.pending.take():
            if not future.done():
                future.set_result(outcome)

    def _fail(self, in_flight: InFlight, error: Exception) -> None:
        """Finish all commands in flight: a future raises `error`, any other sink gets the matching ClientError."""
        for pending in list(in_flight.by_correlation.values()):
            if isinstance(pending.tag, asyncio.Future) and not pending.tag.done():
                pending.tag.set_exception(error)
            in_flight.finish(pending, in_flight.no_reply(pending))

    def channels(self) -> list[Channel]:
        """Return the connections to listen to."""
        channel = None if self._stream is None else self._stream.channel
        return [] if channel is None or channel.is_lost else [channel]

    def due(self) -> float | None:
        """Return when to pump even if no connection is ready, on the monotonic clock."""
        return None if self._stream is None else self._stream.due()

    def submit(self, command: Command, sink: ResultSink) -> None:
        """Run a command; its outcome becomes the result of `sink`. A sink other than a future saves a turn of the loop.

        Commands run in the order of the calls. Raises RuntimeError in another event loop than the client's.
        """
        if self._driver is None or self._driver.loop is not asyncio.get_running_loop() or self._pid != os.getpid():
            self._start()
        self._stream.send(command, sink)  # type: ignore[union-attr]  # `_start` set it
        self._driver.wake()  # type: ignore[union-attr]

    def _start(self) -> None:
        """Start in the running event loop. Raises RuntimeError."""
        if self._is_closed:
            raise KvdError("the client is closed")
        if self._driver is None:
            self._pid = os.getpid()  # a client that is unused before a fork works in parent and child
        if self._pid != os.getpid():
            raise RuntimeError("this client was used before a fork: make one in the child")
        if self._driver is not None and not self._driver.loop.is_closed():
            raise RuntimeError("this client belongs to another event loop that is still open: make one in each loop")
        if self._stream is not None:
            self._stream.close()
        self._driver = SocketDriver(self)
        self._stream = Stream(
            self._endpoints,
            timeout=self.timeout,
            connect_timeout=self._connect_timeout,
            window=IN_FLIGHT_MAX,
            is_ordered=False,
            keys=self._keys,
            resolve=Resolver(self._driver.wake),
        )

    async def answer(self, command: Command) -> Ok:
        """Run a command; return its result and the revision it reflects."""
        future: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
        self.submit(command, future)
        return ok(await future)

    async def run(self, command: Runs[R]) -> R:
        """Run any command of `kvd.commands`; return its result as on the wire."""
        assert isinstance(command, Command)
        return (await self.answer(command)).result  # type: ignore[no-any-return]

    async def call(self, call: Call[R]) -> R:
        return call.convert(None if call.command is None else (await self.answer(call.command)).result)

    def once(self, token: Text | None = None) -> "AsyncOnce[K, V]":
        """Return a view that runs each write once, however often it is sent. As `Client.once`."""
        return AsyncOnce(self, token)

    def with_revision(self) -> "AsyncRevisionClient[K, V]":
        """Return a view in which each method returns (result, revision). As `Client.with_revision`."""
        return AsyncRevisionClient(self)

    def pipeline(self) -> "AsyncPipeline[K, V]":
        """Return a pipeline: `async with kv.pipeline() as p: p.set(...)`, then `p.results`."""
        self._check_open()
        return AsyncPipeline(self)

    def transaction(self, conditions: Mapping[Any, int] | None = None) -> "AsyncTransaction[K, V]":
        """Return a transaction builder: its commands run all or none. `async with kv.transaction() as t: ...`."""
        return AsyncTransaction(self, conditions or {})

    async def scan(
        self, prefix: Text = b"", *, start: Text | None = None, stop: Text | None = None, reverse: bool = False
    ) -> AsyncIterator[K]:
        """Yield all keys that begin with a prefix, in byte order, page by page, as `Client.scan`."""
        async for key in self._walk(scan_command(prefix, start, stop, reverse=reverse)):
            yield self.codec.key(key)

    async def keys(self, prefix: Text = b"") -> list[K]:
        """Return all keys that begin with a prefix, as `Client.keys`."""
        if key_bytes(prefix) == b"*":
            raise ValueError("keys takes a prefix, not a pattern: keys() returns all keys")
        return [key async for key in self.scan(prefix)]

    async def items(
        self, prefix: Text = b"", *, start: Text | None = None, stop: Text | None = None, reverse: bool = False
    ) -> AsyncIterator[tuple[K, V]]:
        """Yield keys and values of a prefix, in byte order, page by page, as `Client.items`."""
        async for item in self.entries(prefix, start=start, stop=stop, reverse=reverse):
            yield item.key, item.value

    async def entries(
        self, prefix: Text = b"", *, start: Text | None = None, stop: Text | None = None, reverse: bool = False
    ) -> AsyncIterator[Item[K, V]]:
        """Yield key, value, revision and expiry, in byte order, page by page, as `Client.entries`."""
        async for key, value, *rest in self._walk(scan_command(prefix, start, stop, reverse=reverse, values=True)):
            yield Item(self.codec.key(key), self.codec.value(value), *rest[:2])

    async def _walk(self, command: Scan) -> AsyncIterator[Any]:
        """Yield the items of SCAN's pages, starting with the page of `command`."""
        while True:
            items, after, *_ = await self.run(command)
            for item in items:
                yield item
            if after is None:
                return
            command = replace(command, after=after)

    async def load(self, pairs: Pairs) -> int:
        """Set any number of keys, from a mapping or any iterable of pairs; return how many. As `Client.load`."""
        return await load_async(self.submit, pairs, self.codec, patience_s=self.timeout)

    def watch(  # the options of a watch are its arguments
        self,
        *prefixes: Text,
        key: Text | Iterable[Text] = (),
        kinds: Iterable[str] | None = None,
        values: bool = True,
        since: int | Position | None = None,
        history: str | None = None,
        snapshot: bool = False,
        mark: bool = False,
        on_state: OnState | None = None,
    ) -> "AsyncWatch":
        """Follow changes: `async for change in kv.watch("user:")`. As `Client.watch`."""
        self._check_open()
        revision, expected = start_of(since, history, self._history[0] if self._history else None)
        return AsyncWatch(
            self._endpoints,
            select(prefixes, key, kinds, self.codec, values=values, mark=mark),
            since=revision,
            history=expected,
            snapshot=snapshot,
            timeout=self.timeout,
            keys=self._keys,
            on_state=on_state,
            on_history=self._remember_history,
        )

    def lock(
        self, name: Text, ttl: Seconds = 10, *, timeout: Seconds | None = None, on_lost: OnLost | None = None
    ) -> AsyncLock:
        """Return a lock that one client holds at a time: `async with kv.lock(name):`. As `Client.lock`."""
        self._check_open()
        return AsyncLock(self.answer, name, ttl, timeout=timeout, on_lost=on_lost)

    def mirror(self, *prefixes: Text, on_change: OnChange | None = None) -> AsyncMirror[K, V]:
        """Return a read-only mapping that stays up to date: `async with kv.mirror("flag:") as flags:`.

        As `Client.mirror`; `on_change` is called in the event loop.
        """
        self._check_open()
        endpoints, timeout, keys = self._endpoints, self.timeout, self._keys
        selection = select(prefixes, (), None, RAW, values=True, mark=True)

        def make_watch() -> AsyncWatch:
            return AsyncWatch(endpoints, selection, snapshot=True, timeout=timeout, keys=keys)

        return AsyncMirror(make_watch, self.codec, timeout, on_change)

    async def close(self) -> None:
        """Close the connection. Pending calls are cancelled."""
        self._is_closed = True
        if self._stream is not None:
            for pending in list(self._stream.pending.by_correlation.values()):
                pending.tag.cancel()
        self._release()

    def __del__(self) -> None:
        """Warn about a client that was not closed, as sockets do."""
        if not getattr(self, "_is_closed", True) and self._stream is not None and self._pid == os.getpid():
            warnings.warn(f"unclosed {self!r}", ResourceWarning, source=self, stacklevel=2)
            self._release()

    def _check_open(self) -> None:
        """Raise KvdError when the client is closed."""
        if self._is_closed:
            raise KvdError("the client is closed")

    def _remember_history(self, history: str) -> None:
        self._history[:] = [history]

    def _release(self) -> None:
        """Close the descriptors."""
        driver, self._driver = self._driver, None
        if driver is not None:
            driver.stop()
        if self._stream is not None:
            self._stream.close()
