"""Where the search for the first key of a prefix begins: before its floor there is no live key.

In a queue, workers end the first keys, and what has ended stays in front of the next one until it is folded: a search
from the prefix on would pass all of it, 0.5 us a key. Floors rise when a search ends and sink when a key before them
is set. No clock, no I/O.
"""

from collections.abc import Sequence

from kvd.commands.model import KEY, KIND, SET, Entry, Row
from kvd.limits import FLOORS_MAX, KEY_BYTES_MAX

BEYOND = b"\xff" * (KEY_BYTES_MAX + 1)


class Floors:
    """The floors of the prefixes searched last, at most FLOORS_MAX."""

    def __init__(self) -> None:
        self._floors: dict[bytes, bytes] = {}
        self._seen = 0  # rows of the batch

    def __bool__(self) -> bool:
        """Return whether there is any."""
        return bool(self._floors)

    def of(self, prefix: bytes, rows: Sequence[Row]) -> bytes:
        """Return the floor of a prefix, with the rows of the batch taken into account."""
        self._sink(rows)
        return self._floors.pop(prefix, prefix)

    def keep(self, prefix: bytes, found: Entry | None) -> None:
        """Keep what a search has found: nothing before it is live."""
        self._floors[prefix] = BEYOND if found is None else found.key
        if len(self._floors) > FLOORS_MAX:
            del self._floors[next(iter(self._floors))]

    def follow(self, rows: Sequence[Row], *, is_committed: bool) -> None:
        """The batch is over. When it was not committed, what had ended in it has not."""
        if is_committed:
            self._sink(rows)
            self._seen = 0
        else:
            self.forget()

    def forget(self) -> None:
        """Forget all: keys that had ended are back."""
        self._floors.clear()
        self._seen = 0

    def _sink(self, rows: Sequence[Row]) -> None:
        """Lower the floors to the keys set since the last call."""
        lengths = {len(prefix) for prefix in self._floors}
        for row in rows[self._seen :]:
            for length in lengths if row[KIND] == SET else ():
                prefix = row[KEY][:length]
                if row[KEY] < self._floors.get(prefix, b""):
                    self._floors[prefix] = row[KEY]
        self._seen = len(rows)
