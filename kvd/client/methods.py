"""The methods of every client, each written once: its arguments, its result, and its command.

Each is a function from arguments to a `Call`. `Client` returns the result, `AsyncClient` something to await, `Pipeline`
and `Transaction` nothing yet; `method` says so to the type checker. `client.run(command)` runs any command, including
commands without a method.
"""

from collections.abc import Iterable
from datetime import datetime
from functools import partial
from typing import Any, Generic

from kvd.client.method import Call, install, method
from kvd.client.prefix_methods import PrefixMethods
from kvd.client.results import (
    EntryFacts,
    HistoryPage,
    decode_changes,
    empty,
    entry_facts,
    pair_or_none,
    seconds_left,
    zero,
)
from kvd.client.server_methods import ServerMethods
from kvd.client.values import (
    Codec,
    K,
    Pairs,
    Seconds,
    Text,
    V,
    flat_keys,
    key_bytes,
    milliseconds,
    pairs_of,
    same,
    unix_milliseconds,
)
from kvd.commands.changes import Changes, Compact, History
from kvd.commands.expiry import Expire, GetEx, Persist, Ttl
from kvd.commands.keys import EntryOf, Exists
from kvd.commands.model import Change
from kvd.commands.values import Append, Clear, Get, GetRange, Incr, MultiGet, MultiSet, Set, StrLen, Take, TakeFirst
from kvd.limits import WAIT_MS_MAX


class Methods(PrefixMethods[K, V], ServerMethods, Generic[K, V]):
    """The methods of every client. In the examples `kv` is a `Client`.

    Each is written once, as a function from the client's codec and the arguments to a `Call`.
    """

    def __init_subclass__(cls, **kwargs: Any) -> None:
        """Make the methods of a client class."""
        super().__init_subclass__(**kwargs)
        for base in cls.__mro__:
            for name, member in list(vars(base).items()):
                if isinstance(member, method) and name not in vars(cls):
                    install(cls, name, member.build)

    @method
    @staticmethod
    def get(codec: Codec[K, V], key: Text) -> Call[V | None]:
        """Return the value of a key, or None.

        >>> kv.set("city", "Ahmedabad")
        >>> kv.get("city")
        b'Ahmedabad'
        """
        return Call(Get(key_bytes(key)), codec.value_or_none)

    @method
    @staticmethod
    def set(  # noqa: PLR0913  # the options of SET are its arguments
        codec: Codec[K, V],
        key: Text,
        value: Any,
        *,
        ttl: Seconds | None = None,
        at: int | datetime | None = None,
        keep_ttl: bool = False,
        nx: bool = False,
        xx: bool = False,
        revision: int | None = None,
        previous: bool = False,
    ) -> Call[V | None]:
        """Set a key. Returns None or, with `previous`, the value before.

        `ttl` in seconds or as a timedelta, `at` in Unix milliseconds or as a datetime. Raises Conflict when `nx` (must
        not exist), `xx` (must exist) or `revision` (must be its revision, 0: must not exist) does not hold.

        >>> kv.set("session", "8f3a", ttl=60)
        >>> kv.set("session", "91bc", xx=True, previous=True)
        b'8f3a'
        """
        if ttl is at is revision is None and not (keep_ttl or nx or xx or previous):
            return Call(Set(key_bytes(key), codec.encode(value)), same)  # the most common call by far, in half the time
        options = (
            milliseconds("ttl", ttl),
            unix_milliseconds(at),
            keep_ttl or None,
            nx or None,
            xx or None,
            revision,
            previous or None,
        )
        return Call(Set(key_bytes(key), codec.encode(value), *options), codec.value_or_none)

    @method
    @staticmethod
    def clear(_codec: Codec[K, V], *keys: Text | Iterable[Text], revision: int | None = None) -> Call[int]:
        """Delete keys, given one by one or in lists; return how many existed.

        With `revision`, which takes one key, raises Conflict unless the entry still has that revision.

        >>> kv.clear("no such key")
        0
        """
        flat = flat_keys(keys)
        return Call(Clear(flat, revision), same) if flat else Call(None, zero)

    @method
    @staticmethod
    def delete(_codec: Codec[K, V], *keys: Text | Iterable[Text], revision: int | None = None) -> Call[int]:
        """Delete keys, as `clear` does; it is the same command under the name that other clients have for it.

        >>> kv.delete("no such key")
        0
        """
        flat = flat_keys(keys)
        return Call(Clear(flat, revision), same) if flat else Call(None, zero)

    @method
    @staticmethod
    def multiget(codec: Codec[K, V], *keys: Text | Iterable[Text]) -> Call[list[V | None]]:
        """Return the values of keys, given one by one or in lists, in that order; None for a missing key.

        >>> kv.multiget("city", "no such key")
        [b'Ahmedabad', None]
        """
        flat = flat_keys(keys)
        return Call(MultiGet(flat), codec.values) if flat else Call(None, empty)

    @method
    @staticmethod
    def multiset(
        codec: Codec[K, V],
        values: Pairs,
        *,
        ttl: Seconds | None = None,
        at: int | datetime | None = None,
    ) -> Call[None]:
        """Set many keys at once, all or none, from a mapping or pairs.

        `ttl` in seconds or as a timedelta, or `at` in Unix milliseconds or as a datetime, is the expiry of all of them.

        >>> kv.multiset({"country": "India", "river": "Sabarmati"})
        >>> kv.multiset({"basket:1": "8f3a", "basket:2": "91bc"}, ttl=60)
        """
        pairs = [(key_bytes(key), codec.encode(value)) for key, value in pairs_of(values)]
        command = MultiSet(pairs, milliseconds("ttl", ttl), unix_milliseconds(at))
        return Call(command, same) if pairs else Call(None, same)

    @method
    @staticmethod
    def take(codec: Codec[K, V], key: Text, *, revision: int | None = None) -> Call[V | None]:
        """Return the value of a key and delete the key; None if it is missing.

        With `revision`, raises Conflict unless the entry still has that revision.

        >>> kv.take("river")
        b'Sabarmati'
        """
        return Call(Take(key_bytes(key), revision), codec.value_or_none)

    @method
    @staticmethod
    def take_first(codec: Codec[K, V], prefix: Text = b"", *, wait: Seconds | None = None) -> Call[tuple[K, V] | None]:
        """Return (key, value) of the first key of a prefix and delete the key, or None.

        `wait` is how long to wait for a first key, at most 60 seconds. A key goes to one client. Without `once`, it is
        lost when the connection breaks before the reply. An asyncio task that is cancelled while it waits may have been
        given a key.

        >>> kv.set("job:1", "paint")
        >>> kv.take_first("job:", wait=5)
        (b'job:1', b'paint')
        """
        return Call(TakeFirst(key_bytes(prefix), milliseconds("wait", wait, WAIT_MS_MAX)), partial(pair_or_none, codec))

    @method
    @staticmethod
    def incr(_codec: Codec[K, V], key: Text, by: int = 1) -> Call[int]:
        """Add to an integer and return the sum; raises WrongType if the value is not an integer.

        >>> kv.incr("visits", 5)
        5
        """
        return Call(Incr(key_bytes(key), by), same)

    @method
    @staticmethod
    def append(codec: Codec[K, V], key: Text, value: Any) -> Call[int]:
        """Append to a value and return its length. A codec of functions is not applied to the appended part.

        >>> kv.append("country", "!")
        6
        """
        return Call(Append(key_bytes(key), codec.encode_part(value)), same)

    @method
    @staticmethod
    def getrange(_codec: Codec[K, V], key: Text, start: int, end: int) -> Call[bytes | None]:
        """Return the bytes of a value from start to end, both included, or None if there is no such key.

        A negative number counts from the end: -1 is the last byte. The result is bytes, whatever the client's codec.

        >>> kv.getrange("city", 0, 2)
        b'Ahm'
        >>> kv.getrange("city", -3, -1)
        b'bad'
        """
        return Call(GetRange(key_bytes(key), start, end), same)

    @method
    @staticmethod
    def strlen(_codec: Codec[K, V], key: Text) -> Call[int | None]:
        """Return the length of a value in bytes, or None if there is no such key.

        >>> kv.strlen("city")
        9
        """
        return Call(StrLen(key_bytes(key)), same)

    @method
    @staticmethod
    def exists(_codec: Codec[K, V], *keys: Text | Iterable[Text]) -> Call[int]:
        """Return how many of the keys exist, given one by one or in lists.

        >>> kv.exists("city", "no such key")
        1
        """
        flat = flat_keys(keys)
        return Call(Exists(flat), same) if flat else Call(None, zero)

    @method
    @staticmethod
    def entry(
        codec: Codec[K, V], key: Text, *, value: bool = False, start: int | None = None, end: int | None = None
    ) -> Call[EntryFacts[V] | None]:
        """Return revision, created, expires and size of a key, and its value if asked for; or None.

        With `start` or `end`, only those bytes of the value, counted as in `getrange`.

        >>> kv.entry("city").size
        9
        """
        command = EntryOf(key_bytes(key), value or None, start, end)
        return Call(command, partial(entry_facts, codec))

    @method
    @staticmethod
    def expire(_codec: Codec[K, V], key: Text, ttl: Seconds, *, revision: int | None = None) -> Call[bool]:
        """Make a key expire after `ttl` seconds; return whether it exists.

        With `revision`, raises Conflict unless the entry still has that revision. A new expiry is a new revision.

        >>> kv.expire("city", 3600)
        True
        """
        return Call(Expire(key_bytes(key), milliseconds("ttl", ttl) or 1, revision), bool)

    @method
    @staticmethod
    def persist(_codec: Codec[K, V], key: Text, *, revision: int | None = None) -> Call[bool]:
        """Remove the expiry of a key; return whether it had one.

        With `revision`, raises Conflict unless the entry still has that revision.

        >>> kv.persist("city")
        True
        """
        return Call(Persist(key_bytes(key), revision), bool)

    @method
    @staticmethod
    def getex(
        codec: Codec[K, V],
        key: Text,
        *,
        ttl: Seconds | None = None,
        at: int | datetime | None = None,
        persist: bool = False,
    ) -> Call[V | None]:
        """Return the value of a key, or None, and change its expiry in one step.

        `ttl` in seconds or as a timedelta, or `at` in Unix milliseconds or as a datetime, makes the key expire;
        `persist` removes its expiry. Without any of them nothing changes.

        >>> kv.getex("session", ttl=3600)
        b'91bc'
        """
        command = GetEx(key_bytes(key), milliseconds("ttl", ttl), unix_milliseconds(at), persist or None)
        return Call(command, codec.value_or_none)

    @method
    @staticmethod
    def ttl(_codec: Codec[K, V], key: Text) -> Call[float | None]:
        """Return the seconds until a key expires: None if there is no such key, infinity if it has no expiry.

        >>> kv.ttl("city")
        inf
        """
        return Call(Ttl(key_bytes(key)), seconds_left)

    @method
    @staticmethod
    def changes(
        codec: Codec[K, V], since: int, prefix: Text = b"", *, limit: int | None = None, wait: Seconds | None = None
    ) -> Call[list[Change]]:
        """Return the changes after a revision; `wait` is how long to wait for the first, at most 60 seconds.

        Raises Compacted. `watch` follows changes for longer.

        >>> [change.kind for change in kv.changes(0, "city")]
        ['SET', 'SET', 'SET']
        """
        command = Changes(since, key_bytes(prefix), limit, milliseconds("wait", wait, WAIT_MS_MAX))
        return Call(command, partial(decode_changes, codec))

    @method
    @staticmethod
    def history(
        codec: Codec[K, V], key: Text, *, before: int | None = None, limit: int | None = None
    ) -> Call[HistoryPage]:
        """Return the kept changes of a key, newest first, and the `before` that continues them (None: the end).

        A page may be short, or empty, and still have a next one.

        >>> [change.value for change in kv.history("city").changes]
        [b'Ahmedabad', b'Ahmedabad', b'Ahmedabad']
        """
        command = History(key_bytes(key), before, limit)
        return Call(command, lambda result: HistoryPage(decode_changes(codec, result[0]), result[1]))

    @method
    @staticmethod
    def compact(_codec: Codec[K, V], revision: int) -> Call[int]:
        """Forget the changes up to a revision; return the revision up to which they are gone.

        >>> kv.compact(0)
        0
        """
        return Call(Compact(revision), same)
