"""Entries in memory: the overlay, which is what the table does not have yet, and a bounded cache of the table.

One set of records holds the newest of both, so a read looks once. What is later than `since` is in an overlay; walks,
folds and expiries need to know which keys those are.
"""

from bisect import bisect_left
from collections.abc import Iterator, Sequence
from heapq import heapify, heappop, heappush, merge
from itertools import chain
from typing import Any

from kvd.commands.model import Entry, Found, Milliseconds, Row, Span, merge_overlay
from kvd.limits import MEMORY_BYTES_MAX
from kvd.storage.maintenance.fold import FoldPlan
from kvd.storage.memory.key_cache import NOT_CACHED, KeyCache, make_key_cache, plan

SORTED_AT_ONCE = 8_192  # keys: 1.5 ms
FORGOTTEN_AT_ONCE = 100  # more than have come
FORGOTTEN_BYTES = 16  # what a try brings at least, about: some find nothing, some what was asked for lately


class SortedKeys:
    """A list of keys, which grows, in byte order: sorted when a walk asks, and then only what is new.

    A page of a walk would sort all of the overlay otherwise: 35 ms at 150,000 keys.
    """

    def __init__(self, keys: list[bytes]) -> None:
        self.keys = keys
        self.sorted: list[bytes] = []
        self.recent: list[bytes] = []  # sorted too, and short: those that have come since

    def between(self, span: Span) -> Iterator[bytes]:
        """Return the keys of a span, in its order."""
        self.catch_up()
        return merge(part(self.sorted, span), part(self.recent, span), reverse=span.is_reverse)

    @property
    def unsorted(self) -> int:
        """Return how many keys are new: they are the last."""
        return len(self.keys) - len(self.sorted) - len(self.recent)

    def catch_up(self) -> None:
        """Take in the keys that are new."""
        if count := self.unsorted:
            self.recent += self.keys[-count:]
            self.recent.sort()
        if len(self.recent) > len(self.sorted) // 8:
            self.sorted += self.recent
            self.sorted.sort()
            self.recent = []


def part(keys: list[bytes], span: Span) -> Iterator[bytes]:
    """Yield those of sorted keys that are in a span, in its order."""
    places = range(bisect_left(keys, span.start), len(keys) if span.end is None else bisect_left(keys, span.end))
    for at in reversed(places) if span.is_reverse else places:
        yield keys[at]


class Overlay:
    """Entries that are not folded yet: those of the records that changes after `since` left, ends of keys too.

    Besides: the keys, how many changes, the bytes of all keys and values that came, and which of them expire.
    """

    def __init__(self, known: KeyCache, since: int, *, is_walked: bool = False) -> None:
        """`is_walked`: walks are to be expected."""
        self.records = known
        self.since = since
        self.is_walked = is_walked
        self.keys: list[bytes] = []
        self.existed = bytearray()  # for each key 1 if there was an entry before, else 0
        self.payload = 0
        self.changes = 0
        self.expiring: list[tuple[Milliseconds, bytes]] = []
        self.overdue: dict[bytes, Milliseconds] = {}  # taken from the heap, and not ended yet
        self.order = SortedKeys(self.keys)

    @property
    def size(self) -> int:
        """Return about how many bytes it takes; from above, since what a key had before is still counted."""
        return self.records.overhead * len(self.keys) + self.payload

    def __contains__(self, key: bytes) -> bool:
        """Return whether it knows better than the table, or than an overlay before it."""
        return self.records.revision(key) > self.since

    def __getitem__(self, key: bytes) -> Entry | None:
        """Return the entry of a key that is in it, None where the key has ended."""
        return self.records.get(key)

    def update(self, rows: Sequence[Row]) -> int:
        """Take in changes; return how many more entries there are."""
        expiring: list[tuple[Milliseconds, bytes]] = []
        payload, more = self.records.update(rows, self.since, self.keys, self.existed, expiring)
        self.changes += len(rows)
        self.payload += payload
        for each in expiring:
            heappush(self.expiring, each)
        if self.is_walked and self.order.unsorted >= SORTED_AT_ONCE:
            self.order.catch_up()
        return more

    def due(self, now: Milliseconds) -> Iterator[bytes | None]:
        """Yield the keys that are due, and None for each that was and has changed since.

        A key is taken from the heap when it is its turn: to take 200,000 at once would take 0.3 s.
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
            if is_due:  # else its expiry was replaced, by an earlier one perhaps
                self.overdue[key] = expires
            yield key if is_due else None

    def all_due(self, now: Milliseconds) -> Iterator[bytes]:
        """Yield the keys that are due, some perhaps more than once, in no order; none is taken from the heap."""
        for key, expires in chain(self.overdue.items(), _lowest(self.expiring, now)):
            if self._expires_at(key) == expires:
                yield key

    def _expires_at(self, key: bytes) -> Milliseconds | None:
        """Return when the entry of a key expires, None if it does not or there is none."""
        entry = self.records.get(key)
        return None if entry is None else entry.expires

    def merge_back(self, newer: "Overlay") -> None:
        """Take in the overlay that came after this one."""
        known = set(self.keys)
        for key, existed in zip(newer.keys, newer.existed, strict=True):
            if key not in known:
                self.keys.append(key)
                self.existed.append(existed)
        self.expiring.extend(newer.expiring)
        heapify(self.expiring)
        self.overdue.update(newer.overdue)
        self.payload += newer.payload
        self.changes += newer.changes


def _lowest(heap: list[tuple[Milliseconds, bytes]], now: Milliseconds) -> Iterator[tuple[bytes, Milliseconds]]:
    """Yield the key and the time of what is due in a heap, without a look at most of the others."""
    places = [0]
    while places:
        place = places.pop()
        if place < len(heap) and heap[place][0] <= now:
            expires, key = heap[place]
            yield key, expires
            places += (2 * place + 1, 2 * place + 2)


class Overlays:
    """What can be read without the table, in `records`.

    What the table has too may be dropped; one that is dropped and wanted costs a read of the table.
    """

    def __init__(self, folded: int = 0) -> None:
        """`folded`: the revision up to which the table has all changes."""
        self.records = make_key_cache()
        self.folded = folded
        self.active = Overlay(self.records, folded)
        self.immutable: Overlay | None = None
        self.is_walked = False  # since the last fold began

    @property
    def size(self) -> int:
        """Return about how many bytes all of it takes."""
        return self.records.size

    def get_many(self, keys: Sequence[bytes]) -> tuple[list[Any], list[int]]:
        """Return the entry of each key, MISSING where only the table can tell, and the places of those."""
        found = self.records.get_many(keys)
        return found, [at for at, entry in enumerate(found) if entry is NOT_CACHED]

    # What comes in

    def update(self, rows: Sequence[Row]) -> int:
        """Take in what a commit left behind; return how many more entries there are."""
        more = self.active.update(rows)
        self.evict(len(rows))
        return more

    def cache(self, found: dict[bytes, Entry | None]) -> None:
        """Keep what the table says of keys that are missing here."""
        self.evict(len(found))
        self.records.insert(found)

    # The fold

    def begin_fold(self, revision: int) -> FoldPlan | None:
        """Set the fresh overlay, which is up to a revision, aside to be folded; return what is known of its changes."""
        self.immutable, self.active = self.active, Overlay(self.records, revision, is_walked=self.is_walked)
        self.is_walked = False
        steps = plan(self.records, self.immutable.keys, self.immutable.existed)
        return None if steps is None else FoldPlan(self.immutable.since, revision, steps)

    def end_fold(self) -> None:
        """The table has what was being folded: it may be dropped now."""
        self.folded, self.immutable = self.active.since, None

    def undo_fold(self) -> None:
        """The fold failed: what was set aside is fresh again, with what has come since."""
        assert self.immutable is not None
        self.immutable.merge_back(self.active)
        self.active, self.immutable = self.immutable, None

    # The overlay

    def overlays(self) -> list[Overlay]:
        """Return what the table does not have yet, newest first."""
        return [self.active] if self.immutable is None else [self.active, self.immutable]

    def overlay_size(self) -> int:
        """Return about how many bytes that takes."""
        return sum([overlay.size for overlay in self.overlays()])

    def covers(self, key: bytes) -> bool:
        """Return whether an overlay knows better than the table."""
        return self.records.revision(key) > self.folded

    def scan(self, below: Iterator[Found], span: Span) -> Iterator[Found]:
        """Return a walk over a span of the table with the overlays in front of it."""
        self.is_walked = self.active.is_walked = True
        for overlay in reversed(self.overlays()):
            below = merge_overlay(below, overlay, overlay.order.between(span), is_reverse=span.is_reverse)
        return below

    def due(self, now: Milliseconds) -> Iterator[bytes | None]:
        """Yield the keys in the overlays that are due, and None for each look that found none."""
        yield from self.active.due(now)
        if self.immutable is not None:
            yield from (None if key is None or key in self.active else key for key in self.immutable.due(now))

    def all_due(self, now: Milliseconds) -> set[bytes]:
        """Return all keys in the overlays that are due."""
        return {key for overlay in self.overlays() for key in overlay.all_due(now)}

    def evict(self, come: int) -> None:
        """Drop entries that the table has, until all is within the bound: some more than have come."""
        over = self.records.size - MEMORY_BYTES_MAX
        if over > 0:  # a large value takes the place of thousands of small ones
            tries = 8 * come + FORGOTTEN_AT_ONCE + over // FORGOTTEN_BYTES
            self.records.evict(MEMORY_BYTES_MAX, self.folded, tries)
