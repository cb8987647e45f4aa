"""The key cache: for each cached key its newest entry, or the fact that it has none.

Idea: one map answers most reads. It contains the changes that are not folded yet, which must stay, and entries of the
table, which may be evicted. Each record stores the revision of its last change, so a comparison with the folded
revision separates the two. The map also caches absent keys, so a read of a missing key costs no read of the table.

The compiled form (native/records.c) evicts by CLOCK, the plain form in the order of insertion; otherwise they behave
alike. Rejected: a separate map for each overlay (a read would look into three maps), and LRU (each read would write).
If entries were mostly larger than SMALL_BYTES, the cache would help little, because large values stay on disk.
"""

from collections import deque
from collections.abc import Sequence
from typing import Any, NamedTuple, Protocol

from msgspec import Raw

from kvd import native
from kvd.commands.model import (
    EXPIRES,
    KEY,
    PREVIOUS,
    REVISION,
    VALUE,
    Entry,
    EntryMeta,
    Milliseconds,
    Row,
    entries_delta,
    entry_of,
)
from kvd.limits import ENTRY_OVERHEAD_BYTES

NOT_CACHED: Any = object()


class FoldPlan(NamedTuple):
    """The net changes after `since` up to `upto` as the key cache has them (see native/plan.c)."""

    since: int
    upto: int
    steps: Any


class KeyCache(Protocol):
    """A map from keys to entries. None stands for a key without an entry."""

    name: str  # of the form: plain or compiled
    overhead: int  # approximate bytes per entry, without its key and value
    hits: int  # answers of `get`, `get_many` and `values`
    # Exclusive upper bound of the table's keys: a key at or above it that is not cached does not exist. None: unknown.
    # For this reason bulk loads in key order read nothing from the table (2.5 us a key).
    upper_bound: bytes | None

    @property
    def size(self) -> int:
        """Return the approximate memory in bytes."""

    def __len__(self) -> int:
        """Return the number of cached keys."""

    def get(self, key: bytes) -> Entry | None:
        """Return the entry of a key, NOT_CACHED if the table must be read."""

    def get_many(self, keys: Sequence[bytes]) -> list[Any]:
        """Return what `get` returns for each key."""

    def peek_many(self, keys: Sequence[bytes]) -> list[Any]:
        """Return what `get_many` returns, but count no hits."""

    def find_uncached(self, keys: Sequence[bytes]) -> list[bytes]:
        """Return the keys for which the table must be read."""

    def values(self, keys: Sequence[bytes], now: Milliseconds, bytes_max: int) -> Any:
        """Return the live values of keys, None for a key without one, in a form that msgpack encodes as an array.

        Returns None if a key is not cached, or if the values have more than `bytes_max` bytes together.
        """

    def revision(self, key: bytes) -> int:
        """Return the revision of a key's last change: 0 if it never existed, -1 if it is not cached."""

    def update(
        self,
        rows: Sequence[Row],
        since: int,
        keys: list[bytes],
        existed: bytearray,
        expiring: list[tuple[Milliseconds, bytes]],
    ) -> tuple[int, int]:
        """Apply changes. Return the bytes of their keys and values, and the change in the number of entries.

        Keys that had not changed after `since` are appended to `keys`, and to `existed` whether they had an entry.
        Expiries are appended to `expiring`.
        """

    def insert(self, entries: dict[bytes, Entry | None]) -> None:
        """Insert entries of the table, except for keys that are cached already."""

    def evict(self, bytes_max: int, folded: int, tries: int) -> None:
        """Evict folded records until at most `bytes_max` bytes remain or `tries` records have been examined."""

    def set_upper_bound(self, upper_bound: bytes | None) -> None:
        """Set the upper bound of the table's keys."""


class PlainKeyCache:
    """The plain form. It evicts in the order of insertion."""

    name = "plain"
    overhead = ENTRY_OVERHEAD_BYTES

    def __init__(self) -> None:
        self.records: dict[bytes, EntryMeta] = {}  # an Entry, or an EntryMeta for a key without an entry
        self.queue: deque[bytes] = deque()
        self.size = 0
        self.hits = 0
        self.upper_bound: bytes | None = None

    def __len__(self) -> int:
        return len(self.records)

    def get(self, key: bytes) -> Entry | None:
        record = self.records.get(key)
        if record is None and not self._is_above_table(key):
            return NOT_CACHED  # type: ignore[no-any-return]
        self.hits += 1
        return record if type(record) is Entry else None

    def _is_above_table(self, key: bytes) -> bool:
        return self.upper_bound is not None and key >= self.upper_bound

    def get_many(self, keys: Sequence[bytes]) -> list[Any]:
        return list(map(self.get, keys))

    def peek_many(self, keys: Sequence[bytes]) -> list[Any]:
        hits = self.hits
        entries = self.get_many(keys)
        self.hits = hits
        return entries

    def find_uncached(self, keys: Sequence[bytes]) -> list[bytes]:
        return [key for key in keys if key not in self.records and not self._is_above_table(key)]

    def values(self, keys: Sequence[bytes], now: Milliseconds, bytes_max: int) -> list[bytes | None] | None:
        if self.find_uncached(keys):
            return None
        records = map(self.records.get, keys)
        values = [record.value if type(record) is Entry and record.is_live(now) else None for record in records]
        if sum([len(value) for value in values if value is not None]) > bytes_max:
            return None
        self.hits += len(keys)
        return values

    def revision(self, key: bytes) -> int:
        record = self.records.get(key)
        return -1 if record is None else record.revision

    def update(
        self,
        rows: Sequence[Row],
        since: int,
        keys: list[bytes],
        existed: bytearray,
        expiring: list[tuple[Milliseconds, bytes]],
    ) -> tuple[int, int]:
        payload = more = 0
        for row in rows:
            key, value = row[KEY], row[VALUE]
            payload += len(key) + len(value or b"")
            more += entries_delta(row)
            if self.revision(key) <= since:
                keys.append(key)
                existed.append(row[PREVIOUS] != 0)
            self._put(key, entry_of(row) or EntryMeta(key, row[REVISION], 0, None))
            if row[EXPIRES] is not None:
                expiring.append((row[EXPIRES], key))
        return payload, more

    def insert(self, entries: dict[bytes, Entry | None]) -> None:
        for key, entry in entries.items():
            if key not in self.records:
                self._put(key, entry or EntryMeta(key, 0, 0, None))

    def _put(self, key: bytes, record: EntryMeta) -> None:
        before = self.records.get(key)
        if before is None:
            self.queue.append(key)
        else:
            self.size -= weight(before)
        self.size += weight(record)
        self.records[key] = record

    def evict(self, bytes_max: int, folded: int, tries: int) -> None:
        for _ in range(min(tries, len(self.queue))):
            if self.size <= bytes_max:
                return
            key = self.queue.popleft()
            if self.records[key].revision > folded:
                self.queue.append(key)
            else:
                self.size -= weight(self.records.pop(key))

    def set_upper_bound(self, upper_bound: bytes | None) -> None:
        self.upper_bound = upper_bound


def weight(record: EntryMeta) -> int:
    """Return the approximate memory of a record in bytes."""
    return ENTRY_OVERHEAD_BYTES + len(record.key) + (len(record.value) if type(record) is Entry else 0)


def plan_fold(cache: KeyCache, keys: list[bytes], existed: bytearray, span: tuple[int, int]) -> FoldPlan | None:
    """Return the plan of a fold of these keys; None in the plain form, in which the fold queries the journal."""
    return None if isinstance(cache, PlainKeyCache) else FoldPlan(*span, native.module.Plan(cache, keys, existed))


def make_key_cache() -> KeyCache:
    """Return an empty cache, compiled if possible."""
    return PlainKeyCache() if native.module is None else native.module.Records(Entry, NOT_CACHED, Raw)
