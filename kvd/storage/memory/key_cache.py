"""What is known of each key: its newest entry, that it has ended, or that the table has none. Bounded by `evict`.

In C where that could be built (kvd/native); the plain form does the same. A record knows the revision that left it, so
what the table does not have yet is told by a comparison.
"""

from collections import deque
from collections.abc import Sequence
from typing import Any, Protocol

from msgspec import Raw

from kvd import native
from kvd.commands.model import Entry, EntryMeta, Milliseconds, Row, entries_delta, entry_of
from kvd.limits import ENTRY_OVERHEAD_BYTES

NOT_CACHED: Any = object()


class KeyCache(Protocol):
    """Keys and what is known of them. None is a key that has ended or never was."""

    name: str  # of the form
    overhead: int  # bytes that an entry takes besides its key and value, about
    hits: int
    # All keys of the table are before this one: of one from here on that is not known there is nothing. None: not said.
    # Keys that come in order, as in most bulk loads, are not looked for on disk then: 2.5 us each.
    upper_bound: bytes | None

    @property
    def size(self) -> int:
        """Return about how many bytes of memory all of it takes."""

    def __len__(self) -> int:
        """Return how many keys are known."""

    def get(self, key: bytes) -> Entry | None:
        """Return the entry of a key, MISSING when nothing is known of it."""

    def get_many(self, keys: Sequence[bytes]) -> list[Any]:
        """Return what `get` gives of each key."""

    def uncached(self, keys: Sequence[bytes]) -> list[bytes]:
        """Return those of the keys of which nothing is known."""

    def values(self, keys: Sequence[bytes], now: Milliseconds, bytes_max: int) -> Any:
        """Return the values of keys that are live, None for each other, in a form that msgpack encodes as an array.

        None for all of it when something is not known of all, or the values are more bytes together.
        """

    def revision(self, key: bytes) -> int:
        """Return the revision that left what is known of a key: 0 when it never was, -1 when nothing is known."""

    def update(
        self,
        rows: Sequence[Row],
        since: int,
        keys: list[bytes],
        existed: bytearray,
        expiring: list[tuple[Milliseconds, bytes]],
    ) -> tuple[int, int]:
        """Take in changes; return how many bytes keys and values have, and how many more entries there are.

        Keys that had not changed after `since` are added to `keys`, and to `existed` whether there was an entry; what
        expires is added to `expiring`.
        """

    def insert(self, found: dict[bytes, Entry | None]) -> None:
        """Take in what the table says of keys of which nothing is known."""

    def evict(self, bytes_max: int, folded: int, tries: int) -> None:
        """Forget what no revision after `folded` left, until all of it takes no more bytes or after so many tries."""


class PlainKeyCache:
    """The plain form: what came first goes first."""

    name = "plain"
    overhead = ENTRY_OVERHEAD_BYTES

    def __init__(self) -> None:
        self.found: dict[bytes, EntryMeta] = {}  # what has ended is a Head, what is there an Entry
        self.queue: deque[bytes] = deque()
        self.size = 0
        self.hits = 0
        self.upper_bound: bytes | None = None

    def __len__(self) -> int:
        return len(self.found)

    def get(self, key: bytes) -> Entry | None:
        """Return the entry of a key, MISSING when nothing is known of it."""
        found = self.found.get(key)
        if found is None and not self._is_above_all(key):
            return NOT_CACHED  # type: ignore[no-any-return]
        self.hits += 1
        return found if type(found) is Entry else None

    def _is_above_all(self, key: bytes) -> bool:
        """Return whether a key is beyond all that the table has."""
        return self.upper_bound is not None and key >= self.upper_bound

    def get_many(self, keys: Sequence[bytes]) -> list[Any]:
        """Return what `get` gives of each key."""
        return list(map(self.get, keys))

    def uncached(self, keys: Sequence[bytes]) -> list[bytes]:
        """Return those of the keys of which nothing is known."""
        return [key for key in keys if key not in self.found and not self._is_above_all(key)]

    def values(self, keys: Sequence[bytes], now: Milliseconds, bytes_max: int) -> list[bytes | None] | None:
        """Return the values of keys that are live; None when something is not known, or they are too large."""
        if self.uncached(keys):
            return None
        entries = map(self.found.get, keys)
        values = [entry.value if type(entry) is Entry and entry.is_live(now) else None for entry in entries]
        if sum([len(value) for value in values if value is not None]) > bytes_max:
            return None
        self.hits += len(keys)
        return values

    def revision(self, key: bytes) -> int:
        """Return the revision that left what is known of a key: 0 when it never was, -1 when nothing is known."""
        found = self.found.get(key)
        return -1 if found is None else found.revision

    def update(
        self,
        rows: Sequence[Row],
        since: int,
        keys: list[bytes],
        existed: bytearray,
        expiring: list[tuple[Milliseconds, bytes]],
    ) -> tuple[int, int]:
        """Take in changes; return how many bytes keys and values have, and how many more entries there are."""
        payload = more = 0
        for row in rows:
            key, value = row[2], row[3]
            payload += len(key) + len(value or b"")
            more += entries_delta(row)
            if self.revision(key) <= since:
                keys.append(key)
                existed.append(row[4] != 0)
            self.put(key, entry_of(row) or EntryMeta(key, row[0], 0, None))
            if row[6] is not None:
                expiring.append((row[6], key))
        return payload, more

    def insert(self, found: dict[bytes, Entry | None]) -> None:
        """Take in what the table says of keys of which nothing is known."""
        for key, entry in found.items():
            if key not in self.found:
                self.put(key, entry or EntryMeta(key, 0, 0, None))

    def put(self, key: bytes, found: EntryMeta) -> None:
        """Take in what is known of a key now."""
        before = self.found.get(key)
        if before is None:
            self.queue.append(key)
        else:
            self.size -= weight(before)
        self.size += weight(found)
        self.found[key] = found

    def evict(self, bytes_max: int, folded: int, tries: int) -> None:
        """Forget what no revision after `folded` left, until all of it takes no more bytes or after so many tries."""
        for _ in range(min(tries, len(self.queue))):
            if self.size <= bytes_max:
                return
            key = self.queue.popleft()
            if self.found[key].revision > folded:
                self.queue.append(key)
            else:
                self.size -= weight(self.found.pop(key))


def weight(found: EntryMeta) -> int:
    """Return about how many bytes of memory an entry takes, or what tells that there is none."""
    return ENTRY_OVERHEAD_BYTES + len(found.key) + (len(found.value) if type(found) is Entry else 0)


def plan(known: KeyCache, keys: list[bytes], existed: bytearray) -> Any:
    """Return the net change of each key, for a fold; None in the plain form, where the fold asks the journal."""
    return None if isinstance(known, PlainKeyCache) else native.module.Plan(known, keys, existed)


def make_key_cache() -> KeyCache:
    """Return an empty form, the fastest that there is."""
    return PlainKeyCache() if native.module is None else native.module.Records(Entry, NOT_CACHED, Raw)
