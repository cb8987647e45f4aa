"""The check: reads every row of a data directory, in use or not, and reports the damaged ones.

It reads through its own connections, some rows at a time, so no request waits long and no snapshot is held for long.
It writes nothing.
"""

from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any, NamedTuple

from sqlite_utils.utils import sqlite3

from kvd.commands.model import REVISION
from kvd.errors import Corrupt, StorageFailed
from kvd.storage.files import journal, table
from kvd.storage.files.sqlite import STRUCTURE, Connection, connect, on_progress
from kvd.storage.offline.recovery import FILES

ROWS_AT_ONCE = 500  # between two calls of `check_cancelled`: 1.5 ms
DAMAGES_MAX = 1_000

ENTRIES = f"SELECT {table.COLUMNS} FROM entry WHERE key > ? ORDER BY key LIMIT ?"  # noqa: S608  # constants
ROWS = f"SELECT {journal.COLUMNS} FROM journal WHERE revision > ? ORDER BY revision LIMIT ?"  # noqa: S608  # constants
TOKENS = f"SELECT id, {journal.TOKEN_COLUMNS} FROM once WHERE id > ? ORDER BY id LIMIT ?"  # noqa: S608  # constants
# A key that is not bytes any more sorts before all bytes.
COUNTS = "SELECT (SELECT count(*) FROM entry), (SELECT count(*) FROM entry WHERE key <= x'')"
SPAN = "SELECT coalesce(min(revision), 0), coalesce(max(revision), 0) FROM journal"


class Damage(NamedTuple):
    """A difference from the data as written, with the file and, if known, the key or revision."""

    file: str
    key: bytes | None
    revision: int | None
    message: str


class Report(NamedTuple):
    """The rows that a check has read, and the damage."""

    entries: int
    changes: int
    damages: list[Damage]


class Check:
    """One check. `check_cancelled` is called between chunks of rows; it may do other work, or raise."""

    def __init__(self, directory: Path, check_cancelled: Callable[[], None]) -> None:
        self.directory = directory
        self.check_cancelled = check_cancelled
        self.damages: list[Damage] = []

    def run(self) -> Report:
        """Read everything. Raises StorageFailed when a file cannot be opened."""
        for file in FILES:
            if not (self.directory / file).exists():  # a connection would create it
                raise StorageFailed(f"{self.directory / file} is missing: is it a kvd data directory, and whole?")
        with self._open_file(journal.FILE) as db:
            self._check_pages(journal.FILE, db)
            changes = self._check_changes(db)
            self._check_tokens(db)
        with self._open_file(table.FILE) as db:
            self._check_pages(table.FILE, db)
            entries = self._check_entries(db)
            self._check_count(db)
            self._compare_files(db)
        return Report(entries, changes, self.damages)

    @contextmanager
    def _open_file(self, file: str) -> Iterator[Connection]:
        """Yield a connection. An exception that interrupts one of its statements is raised again after the chunk."""
        with closing(connect(self.directory / file)) as db:
            on_progress(db, self.check_cancelled)
            yield db

    def _on_damage(self, file: str, message: str, key: bytes | None = None, revision: int | None = None) -> None:
        """Record a damage, up to DAMAGES_MAX."""
        if len(self.damages) < DAMAGES_MAX:
            self.damages.append(Damage(file, key, revision, message))

    def _check_pages(self, file: str, db: Connection) -> None:
        """Run SQLite's integrity check."""
        try:
            for (message,) in db.execute(STRUCTURE):
                if message != "ok":
                    self._on_damage(file, message)
        except sqlite3.DatabaseError as error:
            self._on_damage(file, str(error))
        self.check_cancelled()

    def _chunks(self, file: str, db: Connection, sql: str, first: Any) -> Iterator[list[Any]]:
        """Yield the readable rows after `first`, in chunks."""
        while True:
            try:
                rows = db.execute(sql, (first, ROWS_AT_ONCE)).fetchall()
            except sqlite3.DatabaseError as error:
                self._on_damage(file, f"rows after {first!r} cannot be read: {error}")
                return
            if not rows:
                return
            yield rows
            self.check_cancelled()
            if type(rows[-1][0]) is not type(first) or rows[-1][0] <= first:
                self._on_damage(file, f"rows after {first!r} are out of order")
                return
            first = rows[-1][0]

    def _check_changes(self, db: Connection) -> int:
        """Read the journal; return the number of intact changes."""
        count = 0
        last: int | None = None
        for rows in self._chunks(journal.FILE, db, ROWS, 0):
            for row in rows:
                if last is not None and row[REVISION] != last + 1 and self._is_kept(db, row[REVISION] - 1):
                    self._on_damage(
                        journal.FILE, f"the changes {last + 1} to {row[REVISION] - 1} are missing", revision=last + 1
                    )
                last = row[REVISION]
                try:
                    journal.verify(row)
                    count += 1
                except Corrupt as error:
                    self._on_damage(journal.FILE, error.message, revision=row[REVISION])
        return count

    def _is_kept(self, db: Connection, revision: int) -> bool:
        """Return whether the journal should have a revision. It may have been trimmed since the check began."""
        try:
            return bool(db.execute("SELECT min(revision) FROM journal").fetchone()[0] <= revision)
        except sqlite3.DatabaseError:
            return True

    def _check_tokens(self, db: Connection) -> None:
        """Read the tokens of ONCE and the journal's head."""
        try:
            journal.read_mark(db)
        except (Corrupt, sqlite3.DatabaseError, TypeError) as error:
            self._on_damage(journal.FILE, str(error))
        for rows in self._chunks(journal.FILE, db, TOKENS, 0):
            for row in rows:
                try:
                    journal.verify_token(row[1:])
                except Corrupt as error:
                    self._on_damage(journal.FILE, error.message)

    def _check_entries(self, db: Connection) -> int:
        """Read the table; return the number of intact entries."""
        count = 0
        for rows in self._chunks(table.FILE, db, ENTRIES, b""):
            for row in rows:
                try:
                    table.verify(row)
                    count += 1
                except Corrupt as error:
                    self._on_damage(table.FILE, error.message, key=row[0] if isinstance(row[0], bytes) else None)
        return count

    def _check_count(self, db: Connection) -> None:
        """Compare the number of entries with the mark, in one transaction."""
        db.execute("BEGIN")
        try:
            expected = table.read_mark(db).entries
            actual, lost = db.execute(COUNTS).fetchone()
            if lost:
                self._on_damage(table.FILE, f"the keys of {lost} entries are not bytes")
            if actual != expected:
                self._on_damage(table.FILE, f"it has {actual} entries and should have {expected}")
        except (Corrupt, sqlite3.DatabaseError, TypeError) as error:
            self._on_damage(table.FILE, str(error))
        finally:
            db.rollback()

    def _compare_files(self, db: Connection) -> None:
        """Compare the table's mark with the revisions in the journal. Both files may change meanwhile."""
        try:
            with closing(connect(self.directory / journal.FILE)) as changes:
                before = table.read_mark(db)
                history, _ = journal.read_mark(changes)
                first, last = changes.execute(SPAN).fetchone()
                after = table.read_mark(db)
        except (Corrupt, sqlite3.DatabaseError, TypeError):
            return  # already reported
        if before.history not in ("", history):
            self._on_damage(table.FILE, f"it belongs to another store than {journal.FILE}")
        elif last < before.target_revision or first > after.revision + 1:
            self._on_damage(
                journal.FILE,
                f"it has the changes {first} to {last}, but the table is folded up to {before.target_revision}",
            )


def check(directory: Path, check_cancelled: Callable[[], None]) -> Report:
    """Read everything in a data directory, in use or not. `check_cancelled` is called periodically and may raise."""
    return Check(directory, check_cancelled).run()
