"""Which keys are due: their time has come, and no change has ended them yet. Found a bounded number of looks at once.

Looks that find nothing are bounded too. After 100,000 keys of the table have been ended, their rows are in the table,
and in its index of what expires, until the next fold. To pass them all again for each 50 keys would take 50 ms. So the
place up to which all rows are ended is kept until a fold has changed the table.
"""

from collections.abc import Container, Iterator

from kvd.commands.model import Milliseconds
from kvd.storage.files.table import Table
from kvd.storage.memory.overlays import Overlays

LOOKS_PER_KEY = 4
LOOKS_MIN = 100
BEGIN = (0, b"")  # before every expiry and key


class Due:
    """Finds the keys that are due."""

    def __init__(self, memory: Overlays, table: Table) -> None:
        self.is_cut = False  # whether the last search ended before it had looked at all
        self._memory = memory
        self._table = table
        self._passed = BEGIN
        self._folded = memory.folded

    def keys(self, now: Milliseconds, limit: int, skip: Container[bytes]) -> list[bytes]:
        """Return at most `limit` keys, those due the longest first within memory and disk. Raises `sqlite3.Error`."""
        found: list[bytes] = []
        looks = LOOKS_MIN + LOOKS_PER_KEY * limit
        self.is_cut = False
        for key in self._looks(now, skip):
            looks -= 1
            if key is not None and key not in skip:
                found.append(key)
            if len(found) == limit or not looks:
                self.is_cut = True
                break
        return found

    def _looks(self, now: Milliseconds, skip: Container[bytes]) -> Iterator[bytes | None]:
        """Yield the keys that are due, and None for each look that found none."""
        yield from self._memory.due(now)
        if self._folded != self._memory.folded:
            self._passed, self._folded = BEGIN, self._memory.folded
        is_passing = True
        for place in self._table.due(now, self._passed):
            key = place[1]
            is_over = self._memory.covers(key) or key in skip
            is_passing = is_passing and is_over
            if is_passing:
                self._passed = place
            yield None if is_over else key
