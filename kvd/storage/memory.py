"""Entries in memory: the overlay, which is what the table does not have yet, and a bounded cache of the table.

One dict holds the newest of both, so a read looks once (with a dict for each generation of the cache it was three
or four times). The overlays are dicts besides: walks, folds and expiries need to know what is not in the table.
"""

from bisect import bisect_left
from collections.abc import Iterator, Sequence
from heapq import heapify, heappop, heappush, merge
from itertools import islice, repeat
from typing import Any

from kvd.commands.entry import Entry, Found, Milliseconds, overlaid, span_of
from kvd.limits import ENTRY_OVERHEAD_BYTES, MEMORY_BYTES_MAX

MISSING: Any = object()
JOINED_AT_ONCE = 1_000


def payload(entries: dict[bytes, Entry | None]) -> int:
    """Return how many bytes keys and values have."""
    return sum(map(len, entries)) + sum([len(entry.value) for entry in entries.values() if entry is not None])


class Order:
    """The keys of a dict, which never loses one, in byte order: sorted when a walk asks, and then only what is new.

    A page of a walk would sort all of the overlay otherwise, 10 ms at 50,000 keys.
    """

    def __init__(self, entries: dict[bytes, Entry | None]) -> None:
        self.entries = entries
        self.sorted: list[bytes] = []
        self.recent: list[bytes] = []  # sorted too, and short: those that have come since

    def between(self, prefix: bytes, after: bytes | None) -> Iterator[bytes]:
        """Return the keys that begin with the prefix and come after `after`."""
        self.catch_up()
        start, end = span_of(prefix, after)
        return merge(part(self.sorted, start, end), part(self.recent, start, end))

    def catch_up(self) -> None:
        """Take in the keys that are new: they are the last of the dict."""
        count = len(self.entries) - len(self.sorted) - len(self.recent)
        if count:
            self.recent += islice(reversed(self.entries), count)
            self.recent.sort()
        if len(self.recent) > len(self.sorted) // 8:
            self.sorted += self.recent
            self.sorted.sort()
            self.recent = []


def part(keys: list[bytes], start: bytes, end: bytes | None) -> Iterator[bytes]:
    """Yield those of sorted keys that are not before `start`, and before `end`."""
    for at in range(bisect_left(keys, start), len(keys) if end is None else bisect_left(keys, end)):
        yield keys[at]


class Overlay:
    """Entries that are not folded yet: a dict of key to entry, None where the key has ended.

    Besides: how many changes made them, the bytes of all keys and values that came, and which of them expire.
    """

    def __init__(self) -> None:
        self.entries: dict[bytes, Entry | None] = {}
        self.payload = 0
        self.changes = 0
        self.expiring: list[tuple[Milliseconds, bytes]] = []
        self.overdue: dict[bytes, Milliseconds] = {}  # taken from the heap, and not ended yet
        self.order = Order(self.entries)

    @property
    def size(self) -> int:
        """Return about how many bytes it takes; from above, since what a key had before is still counted."""
        return ENTRY_OVERHEAD_BYTES * len(self.entries) + self.payload

    def update(self, entries: dict[bytes, Entry | None], changes: int) -> None:
        """Take in what so many changes left behind."""
        self.entries.update(entries)
        self.changes += changes
        self.payload += payload(entries)
        for entry in entries.values():
            if entry is not None and entry.expires is not None:
                heappush(self.expiring, (entry.expires, entry.key))

    def due(self, now: Milliseconds) -> Iterator[bytes]:
        """Yield the keys whose time has come and of which this overlay still says so."""
        while self.expiring and self.expiring[0][0] <= now:
            expires, key = heappop(self.expiring)
            self.overdue[key] = expires
        for key, expires in list(self.overdue.items()):
            if self.expires_at(key) == expires:
                yield key
            else:
                del self.overdue[key]

    def expires_at(self, key: bytes) -> Milliseconds | None:
        """Return when the entry here expires, None if it does not or there is none."""
        entry = self.entries.get(key)
        return None if entry is None else entry.expires


class Cached:
    """Keys whose entries may be dropped, for the table has them; and the bytes of what came with them."""

    def __init__(self) -> None:
        self.keys: set[bytes] = set()
        self.payload = 0

    def add(self, entries: dict[bytes, Entry | None]) -> int:
        """Take in keys; return the bytes that came with them."""
        size = payload(entries)
        self.keys.update(entries)
        self.payload += size
        return size


class Joining:
    """Entries of a fold that is done, on their way to the cached; not all at once, for 50,000 take 8 ms."""

    def __init__(self, overlay: Overlay) -> None:
        self.items = iter(overlay.entries.items())
        self.payload = overlay.payload

    def move(self, cached: Cached, most: int | None) -> None:
        """Let so many of them join (None: all that are left)."""
        some = dict(islice(self.items, most))
        if some:
            self.payload -= cached.add(some)
        else:
            self.payload = 0  # what was left were the bytes of values that others of the same keys replaced


class Memory:
    """What can be read without the table, in `entries`: None where a key has ended or never was.

    What the table has too may be dropped: `old` goes first, in no order, and when it is empty `young` takes its
    place. A key that is written or read from disk is young; one that is dropped and wanted costs a read of the table.
    """

    def __init__(self) -> None:
        self.entries: dict[bytes, Entry | None] = {}
        self.fresh = Overlay()
        self.folding: Overlay | None = None
        self.young = Cached()
        self.old = Cached()
        self.joining = Joining(Overlay())

    @property
    def size(self) -> int:
        """Return about how many bytes all of it takes.

        From above: a key written again counts once with its overhead, but with the bytes of both values until the
        older is forgotten. To look at the size of what is replaced costs 0.4 us a SET.
        """
        cached = self.young.payload + self.old.payload + self.joining.payload
        return ENTRY_OVERHEAD_BYTES * len(self.entries) + cached + sum([overlay.payload for overlay in self.overlays()])

    def get_many(self, keys: Sequence[bytes]) -> tuple[list[Any], list[int]]:
        """Return the entry of each key, MISSING where only the table can tell, and the places of those."""
        found = list(map(self.entries.get, keys, repeat(MISSING)))
        return found, [at for at, entry in enumerate(found) if entry is MISSING]

    # What comes in

    def update(self, entries: dict[bytes, Entry | None], changes: int) -> None:
        """Take in what a commit of so many changes left behind."""
        self.fresh.update(entries, changes)
        self.entries.update(entries)
        self.evict()

    def keep(self, found: dict[bytes, Entry | None]) -> None:
        """Keep what the table says of keys that are missing here."""
        self.evict()
        self.entries.update(found)
        self.young.add(found)

    # The fold

    def begin_fold(self) -> None:
        """Set the fresh overlay aside to be folded."""
        self.folding, self.fresh = self.fresh, Overlay()

    def end_fold(self) -> None:
        """The table has what was being folded: it may be dropped now."""
        assert self.folding is not None
        self.joining.move(self.young, None)
        self.joining = Joining(self.folding)
        self.folding = None

    def undo_fold(self) -> None:
        """The fold failed: what was set aside is fresh again, below what has come since."""
        old = self.folding
        assert old is not None
        old.entries.update(self.fresh.entries)
        old.expiring.extend(self.fresh.expiring)
        heapify(old.expiring)
        old.overdue.update(self.fresh.overdue)
        old.payload += self.fresh.payload
        old.changes += self.fresh.changes
        self.fresh, self.folding = old, None

    # The overlay

    def overlays(self) -> list[Overlay]:
        """Return what the table does not have yet, newest first."""
        return [self.fresh] if self.folding is None else [self.fresh, self.folding]

    def overlay_size(self) -> int:
        """Return about how many bytes that takes."""
        return sum([overlay.size for overlay in self.overlays()])

    def covers(self, key: bytes) -> bool:
        """Return whether an overlay knows better than the table."""
        return key in self.fresh.entries or (self.folding is not None and key in self.folding.entries)

    def scan(self, below: Iterator[Found], prefix: bytes, after: bytes | None) -> Iterator[Found]:
        """Return a walk over the table with the overlays in front of it."""
        for overlay in reversed(self.overlays()):
            below = overlaid(below, overlay.entries, overlay.order.between(prefix, after))
        return below

    def due(self, now: Milliseconds) -> Iterator[bytes]:
        """Yield the keys in the overlays whose time has come."""
        yield from self.fresh.due(now)
        if self.folding is not None:
            yield from (key for key in self.folding.due(now) if key not in self.fresh.entries)

    def evict(self) -> None:
        """Drop entries that the table has, until all is within the bound: about as many as have come.

        Many at a time, in comprehensions: 0.3 us each instead of 1.
        """
        self.joining.move(self.young, JOINED_AT_ONCE)
        while (excess := self.size - MEMORY_BYTES_MAX) > 0:
            if not self.old.keys:
                if not self.young.keys:
                    return
                self.old, self.young = self.young, Cached()
                continue
            some = min(len(self.old.keys), 1 + excess // (2 * ENTRY_OVERHEAD_BYTES))
            keys = [self.old.keys.pop() for _ in range(some)]
            # What an overlay has becomes young when it is folded.
            for newer in (self.young.keys, *[overlay.entries for overlay in self.overlays()]):
                keys = [key for key in keys if key not in newer]
            self.old.payload -= payload({key: self.entries.pop(key) for key in keys if key in self.entries})
