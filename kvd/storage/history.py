"""The kept changes of one key, newest first.

The journal has no index on keys. Each change stores the previous revision of its key, so most of a history is a chain
of lookups by revision (3 us each). The chain ends at a change that created the key. Earlier changes of the key can only
be found by a search through the changes of all keys (0.3 us each), which is bounded.
"""

from collections.abc import Iterator

from kvd.commands.model import KEY, PREVIOUS, REVISION, Change, Row, change_of
from kvd.errors import Corrupt
from kvd.limits import HISTORY_ROWS_MAX, REPLY_BYTES_MAX
from kvd.storage.files.journal import SELECT_ROWS, verify
from kvd.storage.files.sqlite import Connection

SELECT_ONE = f"{SELECT_ROWS} WHERE revision = ?"
SELECT_LAST = f"{SELECT_ROWS} WHERE revision > ? AND revision < ? AND key = ? ORDER BY revision DESC LIMIT 1"


class History:
    """Reads the changes of one key with revisions above `floor`. Raises Corrupt, `sqlite3.Error`."""

    def __init__(self, db: Connection, key: bytes, floor: int) -> None:
        self._db = db
        self._key = key
        self._floor = floor
        self._rows_left = HISTORY_ROWS_MAX
        self._next: int | None = None

    def page(self, before: int, newest: int, limit: int) -> tuple[list[Change], int | None]:
        """Return changes with revisions below `before`, and the `before` of the next page (None: no more).

        `newest` is the revision of the newest change of the key, 0 or less if unknown.
        """
        changes: list[Change] = []
        size = 0
        for change in self._walk(before, self._start(before, newest)):
            size += len(change.key) + len(change.value or b"")
            if len(changes) == limit or (changes and size > REPLY_BYTES_MAX):
                return changes, changes[-1].revision
            changes.append(change)
        return changes, self._next

    def _start(self, before: int, newest: int) -> int:
        """Return the revision of the newest change below `before`, 0 if unknown."""
        if 0 < newest < before:
            return newest
        row = self._db.execute(SELECT_ONE, (before,)).fetchone()
        return 0 if row is None or row[KEY] != self._key else verify(row)[PREVIOUS]

    def _walk(self, before: int, previous: int) -> Iterator[Change]:
        """Yield the changes below a revision. `previous` is the revision of the first of them, 0 if unknown."""
        while (row := self._read_link(previous) if previous else self._search_rows(before)) is not None:
            yield (change := change_of(row))
            before, previous = change.revision, change.previous

    def _read_link(self, revision: int) -> Row | None:
        """Return the change of a revision, None if it was trimmed or compacted."""
        if revision <= self._floor:
            return None
        row = self._db.execute(SELECT_ONE, (revision,)).fetchone()
        if row is None or row[KEY] != self._key:
            raise Corrupt(f"the change of revision {revision} is missing on disk", revision=revision)
        return verify(row)

    def _search_rows(self, before: int) -> Row | None:
        """Return the last change before a revision, None if there is none within the bound."""
        bottom = max(self._floor, before - 1 - self._rows_left)
        row = self._db.execute(SELECT_LAST, (bottom, before, self._key)).fetchone()
        if row is None:
            self._next = bottom + 1 if bottom > self._floor else None
            return None
        self._rows_left -= before - row[REVISION]
        return verify(row)
