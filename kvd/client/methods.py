"""The methods of every client, told once: what they take, what they give, and the command they are.

Each is a function from arguments to a `Call`. `Client` gives the result, `AsyncClient` something to await,
`Pipeline` and `Transaction` nothing yet; `method` says so to the type checker. Any command, also one that
has no method here, runs by `client.run(command)`.
"""

import inspect
import math
from collections.abc import Callable, Coroutine, Mapping
from datetime import timedelta
from functools import update_wrapper
from typing import Any, Concatenate, Generic, NamedTuple, ParamSpec, TypeVar, get_args, overload

from kvd import wire
from kvd.commands import Command
from kvd.commands.changes import Changes, Compact
from kvd.commands.entry import Change
from kvd.commands.expiry import Expire, Persist, Ttl
from kvd.commands.keys import ClearPrefix, Count, EntryOf, Exists, Scan
from kvd.commands.server import Backup, Check, Commands, Config, Info, Ping
from kvd.commands.values import Append, Clear, Get, Incr, MultiGet, MultiSet, Set, Take

Text = str | bytes
P = ParamSpec("P")
R = TypeVar("R")
R_co = TypeVar("R_co", covariant=True)


def data(text: Text) -> bytes:
    """Return the bytes of a key or value; str is UTF-8."""
    if isinstance(text, str):
        return text.encode()
    if not isinstance(text, bytes):
        raise TypeError(f"keys and values are str or bytes, not {type(text).__name__}")
    return text


def milliseconds(seconds: float | None) -> int | None:
    """Return seconds as the wire's milliseconds, rounded up so that an expiry never comes early."""
    return None if seconds is None else math.ceil(seconds * 1000)


def checked_seconds(name: str, value: Any) -> float:
    """Return a time in seconds. Raises ValueError that names the argument."""
    seconds = value.total_seconds() if isinstance(value, timedelta) else value
    if isinstance(seconds, bool) or not isinstance(seconds, int | float) or not 0 < seconds < math.inf:
        raise ValueError(f"{name} has to be a number of seconds above 0, not {value!r}")
    return float(seconds)


class EntryFacts(NamedTuple):
    """What ENTRY tells: revisions, expiry in Unix ms (None: stays), size in bytes, the value if it was asked for."""

    revision: int
    created: int
    expires: int | None
    size: int
    value: bytes | None = None


class Page(NamedTuple):
    """One page of SCAN, and the key to go on after (None: it was the last)."""

    keys: list[bytes]
    next: bytes | None


class Call(Generic[R_co]):
    """A command and how its result is given to a Python caller."""

    __slots__ = ("command", "convert")

    def __init__(self, command: Command, convert: Callable[[Any], R_co]) -> None:
        self.command = command
        self.convert = convert


def same(result: Any) -> Any:
    """Return a result as the wire has it."""
    return result


class Direct:
    """A client whose methods return results."""

    def call(self, call: Call[R]) -> R:
        """Run a call and return its result."""
        raise NotImplementedError

    @staticmethod
    def make_method(build: Callable[..., Call[Any]]) -> Callable[..., Any]:
        """Return the method that runs a call at once."""

        def run(self: Direct, *args: Any, **kwargs: Any) -> Any:
            return self.call(build(*args, **kwargs))

        return run


class Awaited:
    """A client whose methods are awaited."""

    async def call(self, call: Call[R]) -> R:
        """Run a call and return its result."""
        raise NotImplementedError

    @staticmethod
    def make_method(build: Callable[..., Call[Any]]) -> Callable[..., Any]:
        """Return the coroutine function that runs a call."""

        async def run(self: Awaited, *args: Any, **kwargs: Any) -> Any:
            return await self.call(build(*args, **kwargs))

        return run


class Gathered:
    """A gatherer of calls; their results come later."""

    def call(self, call: Call[Any]) -> None:
        """Gather a call."""
        raise NotImplementedError

    @staticmethod
    def make_method(build: Callable[..., Call[Any]]) -> Callable[..., Any]:
        """Return the method that gathers a call."""

        def gather(self: Gathered, *args: Any, **kwargs: Any) -> None:
            self.call(build(*args, **kwargs))

        return gather


class method(Generic[P, R]):  # noqa: N801  # a decorator
    """A function from arguments to a Call, told once. Each kind of client gets a real function made from it.

    To the type checker it is a descriptor that knows what each kind of client returns.
    """

    def __init__(self, build: Callable[P, Call[R]]) -> None:
        self.build: Callable[P, Call[R]] = build.__func__ if isinstance(build, staticmethod) else build
        update_wrapper(self, self.build)  # type: ignore[arg-type]  # for the doctests

    @overload
    def __get__(self, owner: None, cls: type) -> Callable[Concatenate[Any, P], Any]: ...
    @overload
    def __get__(self, owner: Direct, cls: type) -> Callable[P, R]: ...
    @overload
    def __get__(self, owner: Awaited, cls: type) -> Callable[P, Coroutine[Any, Any, R]]: ...
    @overload
    def __get__(self, owner: Gathered, cls: type) -> Callable[P, None]: ...
    def __get__(self, owner: Any, cls: type) -> Any:
        """Return itself: a client has functions in its place."""
        return self


def install(cls: type, name: str, build: Callable[..., Call[Any]]) -> None:
    """Give a class of clients a method, with the name, the documentation and the signature of its builder."""
    function = cls.make_method(build)  # type: ignore[attr-defined]
    function.__name__, function.__qualname__ = name, f"{cls.__name__}.{name}"
    function.__doc__, function.__module__ = build.__doc__, cls.__module__
    builder = inspect.signature(build)
    result = get_args(builder.return_annotation)
    function.__signature__ = builder.replace(
        parameters=[inspect.Parameter("self", inspect.Parameter.POSITIONAL_ONLY), *builder.parameters.values()],
        return_annotation=result[0] if result else builder.return_annotation,
    )
    setattr(cls, name, function)


class Methods:
    """What every client can do. In the examples `kv` is a `Client`."""

    def __init_subclass__(cls, **kwargs: Any) -> None:
        """Make the methods of a kind of client."""
        super().__init_subclass__(**kwargs)
        for base in cls.__mro__:
            for name, member in list(vars(base).items()):
                if isinstance(member, method) and name not in vars(cls):
                    install(cls, name, member.build)

    @method
    @staticmethod
    def get(key: Text) -> Call[bytes | None]:
        """Return the value of a key, or None.

        >>> kv.set("city", "Ahmedabad")
        >>> kv.get("city")
        b'Ahmedabad'
        """
        return Call(Get(data(key)), same)

    @method
    @staticmethod
    def set(  # noqa: PLR0913  # the options of SET are its arguments
        key: Text,
        value: Text,
        *,
        ttl: float | None = None,
        at: int | None = None,
        keep_ttl: bool = False,
        nx: bool = False,
        xx: bool = False,
        revision: int | None = None,
        previous: bool = False,
    ) -> Call[bytes | None]:
        """Set a key. Returns None, or with `previous` the value before.

        `ttl` in seconds, `at` in Unix milliseconds. Raises Conflict when `nx` (must not exist), `xx` (must
        exist) or `revision` (must be its revision, 0: must not exist) does not hold.

        >>> kv.set("session", "8f3a", ttl=60)
        >>> kv.set("session", "91bc", xx=True, previous=True)
        b'8f3a'
        """
        if ttl is at is revision is None and not (keep_ttl or nx or xx or previous):
            return Call(Set(data(key), data(value)), same)  # the most common by far, in half the time
        options = (milliseconds(ttl), at, keep_ttl or None, nx or None, xx or None, revision, previous or None)
        return Call(Set(data(key), data(value), *options), same)

    @method
    @staticmethod
    def clear(*keys: Text) -> Call[int]:
        """End keys; return how many existed.

        >>> kv.clear("no such key")
        0
        """
        return Call(Clear([data(key) for key in keys]), same)

    @method
    @staticmethod
    def multiget(*keys: Text) -> Call[list[bytes | None]]:
        """Return the values of many keys in the order asked, None where there is none.

        >>> kv.multiget("city", "no such key")
        [b'Ahmedabad', None]
        """
        return Call(MultiGet([data(key) for key in keys]), same)

    @method
    @staticmethod
    def multiset(values: Mapping[Any, Text]) -> Call[None]:
        """Set many keys at once, all or none.

        >>> kv.multiset({"country": "India", "river": "Sabarmati"})
        """
        return Call(MultiSet([(data(key), data(value)) for key, value in values.items()]), same)

    @method
    @staticmethod
    def take(key: Text) -> Call[bytes | None]:
        """Return the value of a key and end it, or None.

        >>> kv.take("river")
        b'Sabarmati'
        """
        return Call(Take(data(key)), same)

    @method
    @staticmethod
    def incr(key: Text, by: int = 1) -> Call[int]:
        """Add to an integer and return the sum; raises WrongType if the value is not one.

        >>> kv.incr("visits", 5)
        5
        """
        return Call(Incr(data(key), by), same)

    @method
    @staticmethod
    def append(key: Text, value: Text) -> Call[int]:
        """Append to a value and return its length.

        >>> kv.append("country", "!")
        6
        """
        return Call(Append(data(key), data(value)), same)

    @method
    @staticmethod
    def exists(*keys: Text) -> Call[int]:
        """Return how many of the keys exist.

        >>> kv.exists("city", "no such key")
        1
        """
        return Call(Exists([data(key) for key in keys]), same)

    @method
    @staticmethod
    def entry(key: Text, *, value: bool = False) -> Call[EntryFacts | None]:
        """Return revision, created, expires and size of a key, with the value if asked for; or None.

        >>> kv.entry("city").size
        9
        """
        command = EntryOf(data(key), value=value or None)
        return Call(command, lambda facts: None if facts is None else EntryFacts(**facts))

    @method
    @staticmethod
    def scan_page(prefix: Text = b"", *, after: Text | None = None, limit: int | None = None) -> Call[Page]:
        """Return a page of keys in byte order, and the key to go on after (see also `scan`).

        >>> kv.scan_page("c", limit=1)
        Page(keys=[b'city'], next=b'city')
        """
        command = Scan(data(prefix), None if after is None else data(after), limit)
        return Call(command, lambda result: Page(*result))

    @method
    @staticmethod
    def count(prefix: Text = b"") -> Call[int]:
        """Return how many keys begin with a prefix.

        >>> kv.count("c")
        2
        """
        return Call(Count(data(prefix)), same)

    @method
    @staticmethod
    def clear_prefix(prefix: Text, *, limit: int | None = None) -> Call[int]:
        """End all keys that begin with a prefix, or the first `limit`; return how many.

        >>> kv.clear_prefix("coun")
        1
        """
        return Call(ClearPrefix(data(prefix), limit), same)

    @method
    @staticmethod
    def expire(key: Text, ttl: float) -> Call[bool]:
        """Let a key end after `ttl` seconds; return whether it exists.

        >>> kv.expire("city", 3600)
        True
        """
        return Call(Expire(data(key), math.ceil(ttl * 1000)), bool)

    @method
    @staticmethod
    def persist(key: Text) -> Call[bool]:
        """Take the expiry from a key; return whether it had one.

        >>> kv.persist("city")
        True
        """
        return Call(Persist(data(key)), bool)

    @method
    @staticmethod
    def ttl(key: Text) -> Call[float | None]:
        """Return the seconds a key has to live: None if there is no such key, infinity if it stays.

        >>> kv.ttl("city")
        inf
        """
        return Call(Ttl(data(key)), seconds_left)

    @method
    @staticmethod
    def changes(
        since: int, prefix: Text = b"", *, limit: int | None = None, wait: float | None = None
    ) -> Call[list[Change]]:
        """Return changes after a revision; with `wait`, the first may take so many seconds to come.

        Raises Compacted. To follow for long, `watch` does this and more.

        >>> [change.kind for change in kv.changes(0, "city")]
        ['SET', 'SET', 'SET']
        """
        return Call(Changes(since, data(prefix), limit, milliseconds(wait)), wire.changes_in)

    @method
    @staticmethod
    def compact(revision: int) -> Call[int]:
        """Forget the changes up to a revision; return up to where they are gone.

        >>> kv.compact(0)
        0
        """
        return Call(Compact(revision), same)

    @method
    @staticmethod
    def ping(message: Text | None = None) -> Call[bytes]:
        """Return the message, or PONG.

        >>> kv.ping()
        b'PONG'
        """
        return Call(Ping(None if message is None else data(message)), same)

    @method
    @staticmethod
    def info(section: str | None = None) -> Call[dict[str, dict[str, Any]]]:
        """Return what the daemon says of itself, by section.

        >>> kv.info("server")["server"]["fsync"]
        'always'
        """
        return Call(Info(section), same)

    @method
    @staticmethod
    def config(option: str | None = None) -> Call[dict[str, dict[str, Any]]]:
        """Return how the daemon is set up: each option's value, its source, and whether SIGHUP changes it.

        >>> kv.config("fsync")["fsync"]["value"]
        'always'
        """
        return Call(Config(option), same)

    @method
    @staticmethod
    def check() -> Call[dict[str, Any]]:
        """Read everything on the daemon's disk; return how many entries and changes were found. Raises Corrupt.

        >>> kv.check()["changes"] > 0
        True
        """
        return Call(Check(), same)

    @method
    @staticmethod
    def backup(name: str) -> Call[dict[str, Any]]:
        """Let the daemon write a backup of this name into its folder for backups; return what it holds.

        >>> kv.backup("monday.kvd")["entries"] > 0
        True
        """
        return Call(Backup(name), same)

    @method
    @staticmethod
    def commands(name: str | None = None) -> Call[list[dict[str, Any]]]:
        """Return the table of commands as data.

        >>> kv.commands("get")[0]["syntax"]
        'GET key'
        """
        return Call(Commands(name), same)


def seconds_left(result: int | None) -> float | None:
    """Return the result of TTL in seconds, infinity for -1."""
    if result is None:
        return None
    return math.inf if result < 0 else result / 1000
