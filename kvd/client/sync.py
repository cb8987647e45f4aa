"""The blocking client. Threads share one; a forked child goes on with connections of its own."""

import os
from collections.abc import Iterator, Mapping, Sequence
from types import TracebackType
from typing import Any, Protocol, Self, TypeVar

from kvd.client.closing import Closing
from kvd.client.endpoints import parse_endpoints
from kvd.client.keys import Keys
from kvd.client.load import Pairs, load
from kvd.client.methods import Call, Direct, Gathered, Methods, Text, checked_seconds, data, same
from kvd.client.pipeline import Pipeline
from kvd.client.pool import Pool
from kvd.client.stream import Stream
from kvd.client.watch import OnState, Watch
from kvd.commands import Command, Write
from kvd.commands.atomic import Once, Transaction
from kvd.commands.base import Ok
from kvd.commands.keys import Scan
from kvd.limits import TIMEOUT_MS, WALK_KEYS

R_co = TypeVar("R_co", covariant=True)
R = TypeVar("R")


class Runs(Protocol[R_co]):
    """A command, for the type checker: `run` says what its result is."""

    def run(self, entries: Any, now: int, /) -> R_co:
        """Return the result."""


class Client(Methods, Direct, Closing):
    """A connection to a daemon.

    Every request has a deadline (`timeout`, seconds). Reads are sent again when the connection breaks; a
    write raises OutcomeUnknown then, unless it runs under `once`. Errors are those of `kvd.errors`.

    >>> kv.set("greeting", "hello")
    >>> kv.get("greeting")
    b'hello'
    """

    def __init__(
        self,
        endpoint: str | Sequence[str] | None = None,
        *,
        timeout: float = TIMEOUT_MS / 1000,
        connect_timeout: float | None = None,
        keys: Keys | None = None,
    ) -> None:
        """Connect when first used.

        `endpoint`: one or several, also separated by commas, of which the first that answers is used; without one
        KVD_URL counts, or tcp://127.0.0.1:7411. `connect_timeout` is how long to wait for a daemon (default:
        `timeout`). Raises ValueError for an endpoint or a time that is none.
        """
        self._pool = Pool(
            parse_endpoints(endpoint),
            timeout=checked_seconds("timeout", timeout),
            connect_timeout=checked_seconds("connect_timeout", timeout if connect_timeout is None else connect_timeout),
            keys=keys,
        )

    @property
    def endpoint(self) -> str:
        """Return the endpoint that is in use, or is tried first."""
        return self._pool.endpoints[0].text

    @property
    def timeout(self) -> float:
        """Return how long a command may take, in seconds."""
        return self._pool.timeout

    @property
    def keys(self) -> Keys | None:
        """Return the keys."""
        return self._pool.keys

    def __repr__(self) -> str:
        """Return the endpoints."""
        return f"{type(self).__name__}({','.join([each.text for each in self._pool.endpoints])!r})"

    def answer(self, command: Command) -> Ok:
        """Run a command; return its result and the revision it reflects."""
        return self._pool.answer(command)

    def run(self, command: Runs[R]) -> R:
        """Run any command of `kvd.commands`; return its result as the wire has it.

        >>> from kvd.commands.values import Get
        >>> kv.run(Get(b"greeting"))
        b'hello'
        """
        assert isinstance(command, Command)
        return self.answer(command).result  # type: ignore[no-any-return]

    def call(self, call: Call[R]) -> R:
        """Run a method's call."""
        return call.convert(self.answer(call.command).result)

    def once(self, token: bytes | None = None) -> "OnceClient":
        """Return a view whose writes run once however often they are sent: safe to send again after a break.

        Without a token each write gets a new one; with a token of yours (8 to 64 bytes) the same write may
        be asked for by several processes and runs once. Kept for two minutes.

        >>> kv.once().incr("orders")
        1
        """
        return OnceClient(self, token)

    def pipeline(self) -> "Pipeline":
        """Return a gatherer that sends at once and waits at the end.

        >>> with kv.pipeline() as p:
        ...     p.set("a", "1")
        ...     p.get("a")
        >>> p.results
        [None, b'1']
        """
        return Pipeline(self._pool)

    def transaction(self, conditions: Mapping[Any, int] | None = None) -> "TransactionBuilder":
        """Return a gatherer whose commands run whole or not at all; `conditions` are revisions by key (0: none).

        >>> with kv.transaction({"no such key": 0}) as t:
        ...     t.set("a", "2")
        ...     t.incr("a")
        >>> t.results
        [None, 3]
        """
        return TransactionBuilder(self, conditions or {})

    def scan(self, prefix: Text = b"") -> Iterator[bytes]:
        """Yield all keys that begin with a prefix, in byte order, page by page.

        >>> list(kv.scan("gree"))
        [b'greeting']
        """
        return (item for page in pages(self, prefix, values=None) for item in page)

    def items(self, prefix: Text = b"") -> Iterator[tuple[bytes, bytes]]:
        """Yield keys and values of a prefix, in byte order, page by page.

        >>> list(kv.items("gree"))
        [(b'greeting', b'hello')]
        """
        return ((item[0], item[1]) for page in pages(self, prefix, values=True) for item in page)

    def load(self, pairs: Pairs) -> int:
        """Set any number of keys, from a mapping or any iterable of pairs; return how many: the fastest way in.

        They go in MULTISETs of up to a thousand, several in flight over a connection of its own, in the order of the
        pairs. When one is refused, or its outcome is unknown, no more are drawn and its error is raised once nothing
        is under way: all before it are set, and up to seven portions behind it may be.

        >>> kv.load((f"n:{number}", str(number)) for number in range(2500))
        2500
        """
        with self.stream() as stream:
            return load(stream, pairs)

    def stream(self, **options: Any) -> Stream:
        """Return a connection of its own for many commands in flight; close it."""
        pool = self._pool
        endpoints = [each.text for each in pool.endpoints]
        times = {"timeout": pool.timeout, "connect_timeout": pool.connect_timeout}
        return Stream(endpoints, **{**times, "keys": pool.keys, **options})

    def watch(
        self, *prefixes: Text, since: int | None = None, snapshot: bool = False, on_state: OnState | None = None
    ) -> Watch:
        """Follow the changes of keys that begin with any of the prefixes (none: all), each once and in order.

        `since` resumes after a revision; without it changes come from now on. With `snapshot` the entries
        that are there come first, as SET changes. It goes on across restarts of the daemon.

        >>> with kv.watch("user:", since=0) as changes:
        ...     kv.set("user:1", "Ada")
        ...     change = next(changes)
        >>> change.kind, change.key, change.value
        ('SET', b'user:1', b'Ada')
        """
        return Watch(
            [each.text for each in self._pool.endpoints],
            [data(prefix) for prefix in prefixes],
            since=since,
            snapshot=snapshot,
            timeout=self.timeout,
            keys=self.keys,
            on_state=on_state,
        )

    def close(self) -> None:
        """Close the connections; one that another thread is using is closed when that is done."""
        self._pool.close()


def pages(client: Client, prefix: Text, *, values: bool | None) -> Iterator[list[Any]]:
    """Yield the items of SCAN's pages."""
    after: bytes | None = None
    while True:
        items, after = client.run(Scan(data(prefix), after, WALK_KEYS, values))
        yield items
        if after is None:
            return


class OnceClient(Methods, Direct):
    """A client's methods, each write under ONCE."""

    def __init__(self, client: Client, token: bytes | None) -> None:
        self.client = client
        self.token = token

    def call(self, call: Call[R]) -> R:
        """Run a write under ONCE, a read as it is."""
        if isinstance(call.command, Write):
            return call.convert(self.client.answer(once(call.command, self.token)).result)
        return self.client.call(call)

    def run(self, command: Runs[R]) -> R:
        """Run any write under ONCE, any read as it is."""
        assert isinstance(command, Command)
        return self.call(Call(command, same))  # type: ignore[no-any-return]


def once(command: Write, token: bytes | None) -> Once:
    """Return a write under ONCE, with a token of its own if none is given."""
    return Once(os.urandom(16) if token is None else token, command)


class Gatherer(Methods, Gathered):
    """Keeps calls until the end of its `with`; then `results` has what they gave."""

    def __init__(self) -> None:
        self.calls: list[Call[Any]] = []
        self.results: list[Any] = []

    def call(self, call: Call[Any]) -> None:
        """Gather a call."""
        self.calls.append(call)

    def run(self, command: Command) -> None:
        """Gather any command."""
        self.call(Call(command, same))


class TransactionBuilder(Gatherer):
    """Gathers commands and sends them as one TRANSACTION at the end of its `with`."""

    def __init__(self, client: Client, conditions: Mapping[Any, int]) -> None:
        super().__init__()
        self.client = client
        self.conditions = conditions

    def command(self) -> Transaction:
        """Return the command that they are together."""
        conditions = [(data(key), revision) for key, revision in self.conditions.items()]
        return Transaction(conditions, [call.command for call in self.calls])  # type: ignore[misc]  # checked by the daemon

    def took(self, results: list[Any]) -> None:
        """Keep the results."""
        self.results = [call.convert(result) for call, result in zip(self.calls, results, strict=True)]

    def __enter__(self) -> Self:
        """Return itself."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Run them, unless an error leaves the block."""
        if kind is None and self.calls:
            self.took(self.client.answer(self.command()).result)
