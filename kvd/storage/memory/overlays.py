"""Overlays: the changes that the table does not have yet, and the walks that merge them with the table.

One key cache contains the newest entry of each key, so a read looks once. A record that is later than an overlay's
`since` belongs to the overlay. Walks, folds and expiries need to know these keys, so each overlay lists them.

There are at most two overlays, as in an LSM tree: the active one takes commits, and the immutable one is being folded.
Rejected: a sorted tree for the keys (each write would pay for walks, which are rare), and a copy of the overlay for
each walk (a walk is one page, so it never outlives a commit).
"""

from bisect import bisect_left
from collections.abc import Iterator, Sequence
from heapq import heapify, heappop, heappush, merge
from itertools import chain
from typing import Any

from kvd.commands.model import REVISION, Entry, Found, Milliseconds, Row, Span, merge_overlay
from kvd.limits import MEMORY_BYTES_MAX
from kvd.storage.memory.key_cache import NOT_CACHED, FoldPlan, KeyCache, make_key_cache, plan_fold

SORTED_AT_ONCE = 8_192  # keys: 1.5 ms
EVICTION_TRIES_MIN = 100  # records examined per commit, in addition to those for the new ones
BYTES_PER_TRY = 16  # average bytes freed per examined record; bounds the number of tries


class SortedKeys:
    """A growing list of keys in byte order. It sorts when a walk asks, and then only the new keys.

    Sorting the whole overlay for each page of a walk would take 35 ms at 150,000 keys.
    """

    def __init__(self, keys: list[bytes]) -> None:
        self.keys = keys
        self.sorted: list[bytes] = []
        self.recent: list[bytes] = []  # sorted and short: the keys since the last merge into `sorted`

    def between(self, span: Span) -> Iterator[bytes]:
        """Yield the keys of a span, in its order."""
        self.catch_up()
        return merge(_select(self.sorted, span), _select(self.recent, span), reverse=span.is_reverse)

    @property
    def unsorted(self) -> int:
        """Return the number of new keys. They are the last ones of `keys`."""
        return len(self.keys) - len(self.sorted) - len(self.recent)

    def catch_up(self) -> None:
        """Sort the new keys."""
        if count := self.unsorted:
            self.recent += self.keys[-count:]
            self.recent.sort()
        if len(self.recent) > len(self.sorted) // 8:
            self.sorted += self.recent
            self.sorted.sort()
            self.recent = []


def _select(keys: list[bytes], span: Span) -> Iterator[bytes]:
    """Yield the sorted keys that are in a span, in its order."""
    indexes = range(bisect_left(keys, span.start), len(keys) if span.end is None else bisect_left(keys, span.end))
    for index in reversed(indexes) if span.is_reverse else indexes:
        yield keys[index]


class Overlay:
    """The changes after revision `since` that are not folded yet, deletions included.

    The entries are in the shared key cache. The overlay has their keys, their expiries and their totals.
    """

    def __init__(self, key_cache: KeyCache, since: int, *, is_walked: bool = False) -> None:
        """`is_walked` means that walks are likely, so commits sort the keys in advance."""
        self.key_cache = key_cache
        self.since = since
        self.is_walked = is_walked
        self.keys: list[bytes] = []
        self.existed = bytearray()  # 1 for each key that had an entry before, else 0
        self.payload = 0
        self.changes = 0
        self.expiring: list[tuple[Milliseconds, bytes]] = []
        self.overdue: dict[bytes, Milliseconds] = {}  # popped from the heap, and not deleted yet
        self.order = SortedKeys(self.keys)

    @property
    def size(self) -> int:
        """Return the approximate memory in bytes. It is an upper bound, because replaced values still count."""
        return self.key_cache.overhead * len(self.keys) + self.payload

    def __contains__(self, key: bytes) -> bool:
        """Return whether the overlay has a newer state of a key than the table or an older overlay."""
        return self.key_cache.revision(key) > self.since

    def __getitem__(self, key: bytes) -> Entry | None:
        """Return the entry of a key of this overlay, None if it is deleted."""
        return self.key_cache.get(key)

    def update(self, rows: Sequence[Row]) -> int:
        """Apply changes. Return the change in the number of entries."""
        expiring: list[tuple[Milliseconds, bytes]] = []
        payload, more = self.key_cache.update(rows, self.since, self.keys, self.existed, expiring)
        self.changes += len(rows)
        self.payload += payload
        for each in expiring:
            heappush(self.expiring, each)
        if self.is_walked and self.order.unsorted >= SORTED_AT_ONCE:
            self.order.catch_up()
        return more

    def expect_walks(self) -> None:
        """Sort keys in advance from now on."""
        self.is_walked = True

    def due(self, now: Milliseconds) -> Iterator[bytes | None]:
        """Yield the keys that are due, and None for each expiry that no longer counts.

        Each key is popped from the heap when it is its turn, because popping 200,000 at once would take 0.3 s.
        """
        for key, expires in list(self.overdue.items()):
            if self._expires_at(key) == expires:
                yield key
            else:
                del self.overdue[key]
                yield None
        while self.expiring and self.expiring[0][0] <= now:
            expires, key = heappop(self.expiring)
            is_due = key not in self.overdue and self._expires_at(key) == expires
            if is_due:  # otherwise the expiry was replaced, perhaps by an earlier one
                self.overdue[key] = expires
            yield key if is_due else None

    def all_due(self, now: Milliseconds) -> Iterator[bytes]:
        """Yield the keys that are due, in no order and with possible duplicates. The heap stays as it is."""
        for key, expires in chain(self.overdue.items(), _lowest(self.expiring, now)):
            if self._expires_at(key) == expires:
                yield key

    def _expires_at(self, key: bytes) -> Milliseconds | None:
        """Return the expiry of a key's entry, None if there is none."""
        entry = self.key_cache.get(key)
        return None if entry is None else entry.expires

    def merge_back(self, newer: "Overlay") -> None:
        """Add the keys and totals of the next overlay."""
        keys = set(self.keys)
        for key, existed in zip(newer.keys, newer.existed, strict=True):
            if key not in keys:
                self.keys.append(key)
                self.existed.append(existed)
        self.expiring.extend(newer.expiring)
        heapify(self.expiring)
        self.overdue.update(newer.overdue)
        self.payload += newer.payload
        self.changes += newer.changes


def _lowest(heap: list[tuple[Milliseconds, bytes]], now: Milliseconds) -> Iterator[tuple[bytes, Milliseconds]]:
    """Yield the key and time of each due item of a heap. It visits only due items and their children."""
    indexes = [0]
    while indexes:
        index = indexes.pop()
        if index < len(heap) and heap[index][0] <= now:
            expires, key = heap[index]
            yield key, expires
            indexes += (2 * index + 1, 2 * index + 2)


class Overlays:
    """The active and the immutable overlay, and their key cache.

    Entries of the table may be evicted from the cache. The next read of an evicted key reads the table.
    """

    def __init__(self, folded: int = 0, upper_bound: bytes | None = None) -> None:
        """`folded` is the revision up to which the table has all changes, `upper_bound` the bound of its keys."""
        self.key_cache = make_key_cache()
        self.key_cache.set_upper_bound(upper_bound)
        self.folded = folded
        self.revision = folded  # of the last change
        self.active = Overlay(self.key_cache, folded)
        self.immutable: Overlay | None = None
        self.is_walked = False  # since the last fold began

    @property
    def size(self) -> int:
        """Return the approximate memory of all entries in bytes."""
        return self.key_cache.size

    def get_many(self, keys: Sequence[bytes]) -> tuple[list[Any], list[int]]:
        """Return the entry of each key, NOT_CACHED where the table must be read, and the indexes of these keys."""
        entries = self.key_cache.get_many(keys)
        return entries, [index for index, entry in enumerate(entries) if entry is NOT_CACHED]

    # Updates

    def update(self, rows: Sequence[Row]) -> int:
        """Apply the changes of a commit. Return the change in the number of entries."""
        more = self.active.update(rows)
        if rows:
            self.revision = rows[-1][REVISION]
        self.evict(len(rows))
        return more

    def insert(self, entries: dict[bytes, Entry | None]) -> None:
        """Cache entries of the table."""
        self.evict(len(entries))
        self.key_cache.insert(entries)

    # The fold

    def begin_fold(self, revision: int) -> FoldPlan | None:
        """Make the active overlay, which ends at a revision, immutable. Return the plan of its fold, if any."""
        self.immutable, self.active = self.active, Overlay(self.key_cache, revision, is_walked=self.is_walked)
        self.is_walked = False
        return plan_fold(self.key_cache, self.immutable.keys, self.immutable.existed, (self.immutable.since, revision))

    def end_fold(self, upper_bound: bytes | None = None) -> None:
        """Drop the immutable overlay after its fold. `upper_bound` is the new bound of the table's keys."""
        self.key_cache.set_upper_bound(upper_bound)  # first, because the folded entries can be evicted from now on
        self.folded, self.immutable = self.active.since, None

    def undo_fold(self) -> None:
        """Merge both overlays again after a failed fold."""
        assert self.immutable is not None
        self.immutable.merge_back(self.active)
        self.active, self.immutable = self.immutable, None

    # The overlay

    def overlays(self) -> list[Overlay]:
        """Return the overlays, newest first."""
        return [self.active] if self.immutable is None else [self.active, self.immutable]

    def overlay_size(self) -> int:
        """Return the approximate memory of the overlays in bytes."""
        return sum([overlay.size for overlay in self.overlays()])

    def covers(self, key: bytes) -> bool:
        """Return whether an overlay has a newer state of a key than the table."""
        return self.key_cache.revision(key) > self.folded

    def scan(self, below: Iterator[Found], span: Span) -> Iterator[Found]:
        """Return a walk over a span of the table, merged with the overlays."""
        self.is_walked = True
        self.active.expect_walks()
        for overlay in reversed(self.overlays()):
            below = merge_overlay(below, overlay, overlay.order.between(span), is_reverse=span.is_reverse)
        return below

    def due(self, now: Milliseconds) -> Iterator[bytes | None]:
        """Yield the keys in the overlays that are due, and None for each expiry that no longer counts."""
        yield from self.active.due(now)
        if self.immutable is not None:
            yield from (None if key is None or key in self.active else key for key in self.immutable.due(now))

    def all_due(self, now: Milliseconds) -> set[bytes]:
        """Return all keys in the overlays that are due."""
        return {key for overlay in self.overlays() for key in overlay.all_due(now)}

    def evict(self, added: int) -> None:
        """Evict entries of the table down to the limit. The effort is bounded in proportion to the `added` entries."""
        over = self.key_cache.size - MEMORY_BYTES_MAX
        if over > 0:  # a large value displaces thousands of small ones
            tries = 8 * added + EVICTION_TRIES_MIN + over // BYTES_PER_TRY
            self.key_cache.evict(MEMORY_BYTES_MAX, self.folded, tries)
