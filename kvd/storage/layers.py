"""Entries in memory, newest layer first: what is not folded yet, what is being folded, and a bounded cache.

A layer is a dict of key to entry, None where the key has ended. When a fold is done its layer becomes a
generation of the cache as it is: no copying, no stall, and what was written lately stays warm.
"""

from collections.abc import Iterator, Sequence
from heapq import heapify, heappop, heappush
from itertools import repeat
from typing import Any

from kvd.commands.entry import Entry, Milliseconds, overlaid
from kvd.limits import CACHE_BYTES_MAX, ENTRY_OVERHEAD_BYTES

MISSING: Any = object()
GENERATION_BYTES_MAX = CACHE_BYTES_MAX // 2


def weight(key: bytes, entry: Entry | None) -> int:
    """Return about how many bytes of memory an entry takes: measured 290 to 320 besides key and value."""
    return ENTRY_OVERHEAD_BYTES + len(key) + (0 if entry is None else len(entry.value))


class Layer:
    """Entries, about how many bytes of memory they take, how many changes made them, and which of them expire."""

    def __init__(self) -> None:
        self.entries: dict[bytes, Entry | None] = {}
        self.bytes = 0
        self.changes = 0
        self.expiring: list[tuple[Milliseconds, bytes]] = []
        self.overdue: dict[bytes, Milliseconds] = {}  # taken from the heap, and not ended yet

    def update(self, entries: dict[bytes, Entry | None], changes: int) -> None:
        """Cover what is below with what so many changes left behind."""
        self.entries.update(entries)
        self.changes += changes
        # `weight` of each, summed up in C: 0.1 us an entry instead of 0.4.
        kept = [entry for entry in entries.values() if entry is not None]
        self.bytes += ENTRY_OVERHEAD_BYTES * len(entries) + sum(map(len, entries)) + sum([len(e.value) for e in kept])
        for entry in kept:
            if entry.expires is not None:
                heappush(self.expiring, (entry.expires, entry.key))

    def forget(self, key: bytes, entry: Entry | None) -> None:
        """Drop what moves to another layer."""
        del self.entries[key]
        self.bytes -= weight(key, entry)

    def due(self, now: Milliseconds) -> Iterator[bytes]:
        """Yield the keys whose time has come and which this layer still says so."""
        while self.expiring and self.expiring[0][0] <= now:
            expires, key = heappop(self.expiring)
            self.overdue[key] = expires
        for key, expires in list(self.overdue.items()):
            if self.expires_at(key) == expires:
                yield key
            else:
                del self.overdue[key]

    def expires_at(self, key: bytes) -> Milliseconds | None:
        """Return when the entry of this layer expires, None if it does not or there is none."""
        entry = self.entries.get(key)
        return None if entry is None else entry.expires


class Layers:
    """The stack of layers above the table."""

    def __init__(self) -> None:
        self.fresh = Layer()
        self.folding: Layer | None = None
        self.cache: list[Layer] = [Layer()]
        self.hits = 0
        self.misses = 0
        self.restack()

    def restack(self) -> None:
        """Note the order in which to look, after a layer has come or gone."""
        self.stack = [layer.entries for layer in (*self.unfolded(), *self.cache)]
        self.oldest = self.cache[-1] if len(self.cache) > 1 else None

    def get(self, key: bytes) -> Any:
        """Return the newest entry of a key, None if it has ended, MISSING if only the table can tell."""
        for entries in self.stack:
            entry = entries.get(key, MISSING)
            if entry is not MISSING:
                self.hits += 1
                if self.oldest is not None and entries is self.oldest.entries:
                    self.oldest.forget(key, entry)
                    self.keep(key, entry)
                return entry
        self.misses += 1
        return MISSING

    def get_many(self, keys: Sequence[bytes]) -> tuple[list[Any], Sequence[int]]:
        """Return the newest entry of each key as `get` does, and the places of those that only the table can tell.

        A layer at a time, which costs a third of a key at a time. Nothing moves to the newest generation.
        """
        found: list[Any] = [MISSING] * len(keys)
        missing: Sequence[int] = range(len(keys))
        for entries in self.stack:
            if not entries:
                continue
            here = list(map(entries.get, [keys[at] for at in missing], repeat(MISSING)))
            if len(here) == len(keys):
                found = here
            else:
                for at, entry in zip(missing, here, strict=True):
                    found[at] = entry
            missing = [at for at in missing if found[at] is MISSING]
            if not missing:
                break
        self.hits += len(keys) - len(missing)
        self.misses += len(missing)
        return found, missing

    def keep(self, key: bytes, entry: Entry | None) -> None:
        """Put into the cache what the table said, or what was found in the generation that goes next."""
        newest = self.cache[0]
        newest.entries[key] = entry
        newest.bytes += weight(key, entry)
        if newest.bytes > GENERATION_BYTES_MAX:
            self.cache.insert(0, Layer())
            self.evict()

    def begin_fold(self) -> None:
        """Set the fresh layer aside to be folded."""
        self.folding, self.fresh = self.fresh, Layer()
        self.restack()

    def end_fold(self) -> None:
        """The table has what was being folded: it becomes the newest of the cache."""
        layer = self.folding
        assert layer is not None
        self.folding = None
        layer.expiring.clear()
        layer.overdue.clear()
        newest = self.cache[0]
        if newest.bytes + layer.bytes <= GENERATION_BYTES_MAX:
            newest.entries.update(layer.entries)
            newest.bytes += layer.bytes
        else:
            self.cache.insert(0, layer)
        self.evict()

    def undo_fold(self) -> None:
        """The fold failed: what was set aside is fresh again, below what has come since."""
        old = self.folding
        assert old is not None
        old.entries.update(self.fresh.entries)
        old.expiring.extend(self.fresh.expiring)
        heapify(old.expiring)
        old.overdue.update(self.fresh.overdue)
        old.bytes += self.fresh.bytes
        old.changes += self.fresh.changes
        self.fresh, self.folding = old, None
        self.restack()

    def evict(self) -> None:
        """Drop the oldest generations until the cache is within its bound."""
        while len(self.cache) > 1 and self.cache_bytes() > CACHE_BYTES_MAX:
            self.cache.pop()
        self.restack()

    def cache_bytes(self) -> int:
        """Return about how many bytes the cache takes."""
        return sum(layer.bytes for layer in self.cache)

    def unfolded(self) -> list[Layer]:
        """Return the layers that the table does not have yet, newest first."""
        return [self.fresh] if self.folding is None else [self.fresh, self.folding]

    def covers(self, key: bytes) -> bool:
        """Return whether an unfolded layer knows better than the table."""
        return any(key in layer.entries for layer in self.unfolded())

    def scan(self, below: Iterator[Entry], prefix: bytes, after: bytes | None) -> Iterator[Entry]:
        """Return the walk over the table with the unfolded layers in front of it."""
        for layer in reversed(self.unfolded()):
            below = overlaid(below, layer.entries, prefix, after)
        return below

    def due(self, now: Milliseconds) -> Iterator[bytes]:
        """Yield the keys of unfolded entries whose time has come."""
        yield from self.fresh.due(now)
        if self.folding is not None:
            yield from (key for key in self.folding.due(now) if key not in self.fresh.entries)
