"""Finds the keys that are due: they have expired, and no change has removed them yet. Each search is bounded.

Searches that find nothing are bounded too. When 100,000 expired keys have been deleted, their rows stay in the table
and in its index of expiries until the next fold. A search from the start for each 50 keys would take 50 ms. So `Due`
remembers the position up to which all rows are covered by the overlay, until a fold changes the table.
"""

from collections.abc import Container, Iterator

from kvd.commands.model import Milliseconds
from kvd.storage.files.table import Table
from kvd.storage.memory.overlays import Overlays

LOOKS_PER_KEY = 4
LOOKS_MIN = 100
BEGIN = (0, b"")  # before every expiry and key


class Due:
    """The search for keys that are due."""

    def __init__(self, memory: Overlays, table: Table) -> None:
        self.is_cut = False  # whether the last search stopped at its bound
        self._memory = memory
        self._table = table
        self._position = BEGIN
        self._folded = memory.folded

    def keys(self, now: Milliseconds, limit: int, skip: Container[bytes]) -> list[bytes]:
        """Return at most `limit` keys, the longest due first within memory and disk. Raises `sqlite3.Error`."""
        keys: list[bytes] = []
        looks = LOOKS_MIN + LOOKS_PER_KEY * limit
        self.is_cut = False
        for key in self._candidates(now, skip):
            looks -= 1
            if key is not None and key not in skip:
                keys.append(key)
            if len(keys) == limit or not looks:
                self.is_cut = True
                break
        return keys

    def _candidates(self, now: Milliseconds, skip: Container[bytes]) -> Iterator[bytes | None]:
        """Yield the keys that are due, and None for each expiry that no longer counts."""
        yield from self._memory.due(now)
        if self._folded != self._memory.folded:
            self._position, self._folded = BEGIN, self._memory.folded
        is_advancing = True
        for position in self._table.due(now, self._position):
            key = position[1]
            is_over = self._memory.covers(key) or key in skip
            is_advancing = is_advancing and is_over
            if is_advancing:
                self._position = position
            yield None if is_over else key
