"""Floors: the key from which the search for the first live key of a prefix starts.

The workers of a queue delete its first keys, and a deleted key stays in front of the next live one until it is folded.
A search from the start of the prefix would pass all of them, at 0.5 us a key. Every key of the prefix before its floor
is dead, so the search starts at the floor. A floor rises to the key that a search returns, and sinks when a key before
it is set. No clock, no I/O.
"""

from collections.abc import Sequence

from kvd.commands.model import SET, Entry, Row
from kvd.limits import FLOORS_MAX, KEY_BYTES_MAX

BEYOND = b"\xff" * (KEY_BYTES_MAX + 1)


class Floors:
    """The floors of the prefixes searched last, at most FLOORS_MAX."""

    def __init__(self) -> None:
        self._floors: dict[bytes, bytes] = {}
        self._seen = 0  # rows of the batch

    def __bool__(self) -> bool:
        """Return whether any floor is known."""
        return bool(self._floors)

    def of(self, prefix: bytes, rows: Sequence[Row]) -> bytes:
        """Remove and return the floor of a prefix, lowered to the rows staged since."""
        self._sink(rows)
        return self._floors.pop(prefix, prefix)

    def keep(self, prefix: bytes, entry: Entry | None) -> None:
        """Store the result of a search as the floor of its prefix."""
        self._floors[prefix] = BEYOND if entry is None else entry.key
        if len(self._floors) > FLOORS_MAX:
            del self._floors[next(iter(self._floors))]

    def follow(self, rows: Sequence[Row], *, is_committed: bool) -> None:
        """Take note of the end of a batch. When it was not committed, the keys it deleted are back."""
        if is_committed:
            self._sink(rows)
            self._seen = 0
        else:
            self.forget()

    def forget(self) -> None:
        """Drop all floors: deleted keys may be back."""
        self._floors.clear()
        self._seen = 0

    def _sink(self, rows: Sequence[Row]) -> None:
        """Lower the floors to the keys set since the last call."""
        lengths = {len(prefix) for prefix in self._floors}
        for row in rows[self._seen :]:
            for length in lengths if row[1] == SET else ():
                prefix = row[2][:length]
                if row[2] < self._floors.get(prefix, b""):
                    self._floors[prefix] = row[2]
        self._seen = len(rows)
