"""The blocking client. Threads share one; a forked child opens connections of its own."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, NoReturn, Self, overload

from msgspec.structs import replace

from kvd.client.bulk_load import load
from kvd.client.context import ContextManaged
from kvd.client.endpoints import parse_endpoints
from kvd.client.keys import Keys
from kvd.client.lock import Lock, OnLost
from kvd.client.method import Call, Direct, R, Runs
from kvd.client.methods import Methods
from kvd.client.mirror import Mirror, OnChange
from kvd.client.pipeline import Pipeline
from kvd.client.pool import Pool
from kvd.client.prefix_methods import scan_command
from kvd.client.results import Item
from kvd.client.selection import Position, select, start_of
from kvd.client.stream import Stream
from kvd.client.subscription import OnState
from kvd.client.url import url_options
from kvd.client.values import RAW, AnyCodec, Codec, K, Pairs, Seconds, Text, V, check_seconds, codec_of, key_bytes
from kvd.client.views import OnceClient, RevisionClient, TransactionBuilder
from kvd.client.watch import Watch
from kvd.commands import Command
from kvd.commands.base import Ok
from kvd.commands.keys import Scan
from kvd.commands.values import Get
from kvd.errors import KvdError
from kvd.limits import TIMEOUT_MS


class Client(Methods[K, V], Direct, ContextManaged):
    """A client of a daemon. Threads may share it: each command in progress has its own connection.

    Every command has a deadline (`timeout`, seconds). Reads are sent again when the connection breaks; a write then
    raises OutcomeUnknown, unless it runs under `once`. Errors are those of `kvd.errors`.

    >>> kv.set("greeting", "hello")
    >>> kv.get("greeting")
    b'hello'
    """

    @overload
    def __init__(
        self: "Client[bytes, bytes]",
        endpoint: str | Sequence[str] | None = None,
        *,
        timeout: float = ...,
        connect_timeout: float | None = None,
        keys: Keys | None = None,
    ) -> None: ...
    @overload
    def __init__(
        self: "Client[str, str]",
        endpoint: str | Sequence[str] | None = None,
        *,
        timeout: float = ...,
        connect_timeout: float | None = None,
        keys: Keys | None = None,
        decode: str,
    ) -> None: ...
    @overload
    def __init__(
        self: "Client[bytes, Any]",
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
        """The connection opens at the first command.

        `endpoint`: one or several, in a list or separated by commas; the client uses the first that answers. The
        default is KVD_URL, or tcp://127.0.0.1:7411. `connect_timeout` is how long to wait for a daemon, in seconds
        (default: `timeout`). `decode="utf-8"` returns keys and values as str. A `codec` encodes and decodes values:
        `kvd.JSON`, `kvd.MSGPACK`, or a pair of functions. Raises ValueError for an invalid argument.
        """
        self.codec: Codec[Any, Any] = codec_of(decode, codec)
        self._history: list[str] = []  # the history that the last watch saw
        self._pool = Pool(
            parse_endpoints(endpoint),
            timeout=check_seconds("timeout", timeout),
            connect_timeout=check_seconds("connect_timeout", timeout if connect_timeout is None else connect_timeout),
            keys=keys,
        )

    @classmethod
    def from_url(cls, url: str, **options: Any) -> Self:
        """Return a client for a URL: endpoints and, after a `?`, timeout, connect_timeout, decode, key and server_key.

        >>> from kvd import Client
        >>> Client.from_url("tcp://127.0.0.1:7411?timeout=2&decode=utf-8").timeout
        2.0
        """
        return cls(**{**url_options(url), **options})

    @property
    def endpoint(self) -> str:
        """The endpoint in use, or the first to be tried."""
        return self._pool.endpoints[0].text

    @property
    def timeout(self) -> float:
        """How long a command may take, in seconds."""
        return self._pool.timeout

    def __repr__(self) -> str:
        return f"{type(self).__name__}({','.join([each.text for each in self._pool.endpoints])!r})"

    def __getitem__(self, key: Text) -> V:
        """Return the value of a key. Raises KeyError when it is missing."""
        value = self.run(Get(key_bytes(key)))
        if value is None:
            raise KeyError(key)
        return self.codec.value(value)  # type: ignore[no-any-return]

    def __setitem__(self, key: Text, value: Any) -> None:
        self.set(key, value)

    def __delitem__(self, key: Text) -> None:
        """Delete a key. Raises KeyError when it is missing."""
        if not self.clear(key):
            raise KeyError(key)

    def __contains__(self, key: Text) -> bool:
        return self.exists(key) > 0

    def __iter__(self) -> Iterator[K]:
        """Yield all keys."""
        return self.scan()

    def __reduce__(self) -> NoReturn:
        """Refuse to be copied: a copy would share the connections."""
        raise TypeError("a Client cannot be copied or pickled: make one where it is used")

    def answer(self, command: Command) -> Ok:
        """Run a command; return its result and the revision it reflects."""
        return self._pool.answer(command)

    def run(self, command: Runs[R]) -> R:
        """Run any command of `kvd.commands`; return its result as on the wire.

        >>> from kvd.commands.values import Get
        >>> kv.run(Get(b"greeting"))
        b'hello'
        """
        assert isinstance(command, Command)
        return self.answer(command).result  # type: ignore[no-any-return]

    def call(self, call: Call[R]) -> R:
        return call.convert(None if call.command is None else self._pool.answer(call.command).result)

    def once(self, token: Text | None = None) -> "OnceClient[K, V]":
        """Return a view that runs each write once, however often it is sent: safe to repeat after a broken connection.

        Without a token each write gets a new one. With a token of the caller's (8 to 64 bytes), several processes may
        ask for the same write, and it runs once. The daemon keeps a token for two minutes.

        >>> kv.once().incr("orders")
        1
        """
        return OnceClient(self, token)

    def with_revision(self) -> "RevisionClient[K, V]":
        """Return a view in which each method returns (result, revision). The revision of a write is that of its change.

        >>> result, revision = kv.with_revision().set("greeting", "hello")
        >>> kv.entry("greeting").revision == revision
        True
        """
        return RevisionClient(self)

    def pipeline(self) -> Pipeline[K, V]:
        """Return a pipeline: it sends commands as it collects them, and waits for the results at the end.

        >>> with kv.pipeline() as p:
        ...     p.set("a", "1")
        ...     p.get("a")
        >>> p.results
        [None, b'1']
        """
        self._check_open()
        return Pipeline(self._pool, self.codec)

    def transaction(self, conditions: Mapping[Any, int] | None = None) -> "TransactionBuilder[K, V]":
        """Return a transaction builder: its commands run all or none. `conditions` are revisions by key (0: none).

        >>> with kv.transaction({"no such key": 0}) as t:
        ...     t.set("a", "2")
        ...     t.incr("a")
        >>> t.results
        [None, 3]
        """
        return TransactionBuilder(self, conditions or {})

    def scan(
        self, prefix: Text = b"", *, start: Text | None = None, stop: Text | None = None, reverse: bool = False
    ) -> Iterator[K]:
        """Yield all keys that begin with a prefix, in byte order, page by page.

        The keys begin at `start` and end before `stop`. With `reverse` the last key comes first.

        >>> list(kv.scan("gree"))
        [b'greeting']
        >>> list(kv.scan(start="g", stop="h", reverse=True))
        [b'greeting']
        """
        return map(self.codec.key, walk(self, scan_command(prefix, start, stop, reverse=reverse)))

    def keys(self, prefix: Text = b"") -> list[K]:
        """Return all keys that begin with a prefix (there are no patterns). With many keys, `scan` takes less memory.

        >>> kv.keys("gree")
        [b'greeting']
        """
        if key_bytes(prefix) == b"*":
            raise ValueError("keys takes a prefix, not a pattern: keys() returns all keys")
        return list(self.scan(prefix))

    def items(
        self, prefix: Text = b"", *, start: Text | None = None, stop: Text | None = None, reverse: bool = False
    ) -> Iterator[tuple[K, V]]:
        """Yield keys and values of a prefix, in byte order, page by page. The options are those of `scan`.

        >>> list(kv.items("gree"))
        [(b'greeting', b'hello')]
        """
        entries = self.entries(prefix, start=start, stop=stop, reverse=reverse)
        return ((item.key, item.value) for item in entries)

    def entries(
        self, prefix: Text = b"", *, start: Text | None = None, stop: Text | None = None, reverse: bool = False
    ) -> Iterator[Item[K, V]]:
        """Yield key, value, revision and expiry, in byte order, page by page. The options are those of `scan`.

        >>> [(item.key, item.value, item.expires) for item in kv.entries("gree")]
        [(b'greeting', b'hello', None)]
        """
        codec = self.codec
        items = walk(self, scan_command(prefix, start, stop, reverse=reverse, values=True))
        return (Item(codec.key(key), codec.value(value), *rest[:2]) for key, value, *rest in items)

    def load(self, pairs: Pairs) -> int:
        """Set any number of keys, from a mapping or any iterable of pairs; return how many. The fastest way to write.

        The pairs go in MULTISETs of up to a thousand, several in flight over a separate connection, in the order of the
        pairs. When one is refused, or its outcome is unknown, no more pairs are drawn, and its error is raised once
        nothing is in flight: all pairs before it are set, and up to seven MULTISETs after it may be. One that gets BUSY
        is sent again, with those after it, until the daemon has accepted nothing for the client's timeout.

        >>> kv.load((f"n:{number}", str(number)) for number in range(2500))
        2500
        """
        with self.stream() as stream:
            return load(stream, pairs, self.codec)

    def stream(self, **options: Any) -> Stream:
        """Return a separate connection for many commands in flight. The caller closes it."""
        pool = self._pool
        endpoints = [each.text for each in pool.endpoints]
        times = {"timeout": pool.timeout, "connect_timeout": pool.connect_timeout}
        return Stream(endpoints, **{**times, "keys": pool.keys, **options})

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
    ) -> Watch:
        """Follow the changes of keys that begin with any of the prefixes (none: all), each once and in order.

        `key` follows exactly this key, or these keys. `kinds` selects kinds of changes, as "SET" or "CLEAR";
        `values=False` leaves values out. With `mark`, a change of the kind SNAPSHOT_END follows the snapshot.

        `since` resumes after a revision, or at the `position` of an earlier watch; without it, the watch starts now.
        With `snapshot` the existing entries come first, as SET changes. A watch continues across restarts of the
        daemon. A watch with `since` raises HistoryChanged when the daemon's history is not `history`, nor that of the
        position, nor the one that the last watch of this client saw: its revisions have another meaning there.

        >>> with kv.watch("user:", since=0) as changes:
        ...     kv.set("user:1", "Ada")
        ...     change = next(changes)
        >>> change.kind, change.key, change.value
        ('SET', b'user:1', b'Ada')
        """
        self._check_open()
        revision, expected = start_of(since, history, self._history[0] if self._history else None)
        return Watch(
            [each.text for each in self._pool.endpoints],
            select(prefixes, key, kinds, self.codec, values=values, mark=mark),
            since=revision,
            history=expected,
            snapshot=snapshot,
            timeout=self.timeout,
            keys=self._pool.keys,
            on_state=on_state,
            on_history=self._remember_history,
        )

    def lock(
        self, name: Text, ttl: Seconds = 10, *, timeout: Seconds | None = None, on_lost: OnLost | None = None
    ) -> Lock:
        """Return a lock that one client holds at a time: `with kv.lock(name):`. Its entry is the key `name`.

        A background thread renews the lock while it is held; when the holder dies, it expires after `ttl` seconds.
        `timeout` is how long to wait for the lock in seconds (0: not at all, None: without limit), before
        LockNotAcquired is raised. When the lock is lost, `on_lost` is called with the LockLost in the background
        thread, and `check` and the end of the block raise it. `fencing` is a number that grows from holder to holder.

        >>> with kv.lock("lock:report", ttl=10, timeout=30) as lock:
        ...     lock.check()
        ...     lock.is_held, lock.fencing > 0
        (True, True)
        """
        self._check_open()
        pool = self._pool

        def make_pool(timeout_s: float) -> Pool:
            return Pool(pool.endpoints, timeout=timeout_s, connect_timeout=timeout_s, keys=pool.keys)

        return Lock(self.answer, make_pool, name, ttl, timeout=timeout, on_lost=on_lost)

    def mirror(self, *prefixes: Text, on_change: OnChange | None = None) -> Mirror[K, V]:
        """Return a read-only mapping of the keys that begin with any of the prefixes (none: all), kept up to date.

        A background thread follows the daemon. Where a watch raises Compacted or HistoryChanged, it starts again from a
        new snapshot. Reads take no round trip. `on_change` is called in that thread with each Change that makes a
        difference, also between snapshots; when it raises, the mirror ends.

        >>> kv.set("flag:dark", "on")
        >>> with kv.mirror("flag:") as flags:
        ...     flags["flag:dark"], flags.get("flag:none"), len(flags)
        (b'on', None, 1)
        """
        self._check_open()
        endpoints = [each.text for each in self._pool.endpoints]
        selection = select(prefixes, (), None, RAW, values=True, mark=True)

        def make_watch() -> Watch:
            return Watch(endpoints, selection, snapshot=True, timeout=pool.timeout, keys=pool.keys)

        pool = self._pool
        return Mirror(make_watch, self.codec, pool.timeout, on_change)

    def close(self) -> None:
        """Close the connections. A connection in use by another thread is closed after its command."""
        self._pool.close()

    def _check_open(self) -> None:
        """Raise KvdError when the client is closed."""
        if self._pool.is_closed:
            raise KvdError("the client is closed")

    def _remember_history(self, history: str) -> None:
        self._history[:] = [history]


def walk(client: Client[Any, Any], command: Scan) -> Iterator[Any]:
    """Yield the items of SCAN's pages, starting with the page of `command`."""
    while True:
        items, after, *_ = client.run(command)
        yield from items
        if after is None:
            return
        command = replace(command, after=after)
