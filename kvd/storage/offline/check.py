"""The check: reads every row of a data directory, beside a daemon or without one, and tells what is damaged.

It works with connections of its own, some rows at a time, so that nobody waits long for it and no snapshot is
held for long. It writes nothing.
"""

from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any, NamedTuple

from sqlite_utils.utils import sqlite3

from kvd.errors import Corrupt, StorageFailed
from kvd.storage.files import journal, table
from kvd.storage.files.sqlite import STRUCTURE, Connection, connect, on_progress
from kvd.storage.offline.recovery import FILES

ROWS_AT_ONCE = 500  # 1.5 ms without letting others run
DAMAGES_MAX = 1_000

ENTRIES = f"SELECT {table.COLUMNS} FROM entry WHERE key > ? ORDER BY key LIMIT ?"  # noqa: S608  # constants
ROWS = f"SELECT {journal.COLUMNS} FROM journal WHERE revision > ? ORDER BY revision LIMIT ?"  # noqa: S608  # constants
TOKENS = f"SELECT id, {journal.TOKEN_COLUMNS} FROM once WHERE id > ? ORDER BY id LIMIT ?"  # noqa: S608  # constants
# What is not bytes comes before all that are.
COUNTS = "SELECT (SELECT count(*) FROM entry), (SELECT count(*) FROM entry WHERE key <= x'')"
SPAN = "SELECT coalesce(min(revision), 0), coalesce(max(revision), 0) FROM journal"


class Damage(NamedTuple):
    """Something that is not as it was written: in which file, at which key or revision if that is known."""

    file: str
    key: bytes | None
    revision: int | None
    message: str


class Report(NamedTuple):
    """What a check has read, and what it found."""

    entries: int
    changes: int
    damages: list[Damage]


class Check:
    """One check. `breathe` is called between portions of rows: whoever has other work does it there, or raises."""

    def __init__(self, directory: Path, breathe: Callable[[], None]) -> None:
        self.directory = directory
        self.breathe = breathe
        self.damages: list[Damage] = []

    def run(self) -> Report:
        """Read everything. Raises StorageFailed when a file cannot be opened at all."""
        for file in FILES:
            if not (self.directory / file).exists():  # a connection would make it
                raise StorageFailed(f"{self.directory / file} is missing: is it a kvd data directory, and whole?")
        with self._open_file(journal.FILE) as db:
            self.pages(journal.FILE, db)
            changes = self.changes(db)
            self.tokens(db)
        with self._open_file(table.FILE) as db:
            self.pages(table.FILE, db)
            entries = self.entries(db)
            self.count(db)
            self.compare(db)
        return Report(entries, changes, self.damages)

    @contextmanager
    def _open_file(self, file: str) -> Iterator[Connection]:
        """Give a connection. What ends one of its statements ends the check at the next breath."""
        with closing(connect(self.directory / file)) as db:
            on_progress(db, self.breathe)
            yield db

    def _on_damage(self, file: str, message: str, key: bytes | None = None, revision: int | None = None) -> None:
        """Take note of a damage."""
        if len(self.damages) < DAMAGES_MAX:
            self.damages.append(Damage(file, key, revision, message))

    def pages(self, file: str, db: Connection) -> None:
        """Let SQLite see whether the pages fit together."""
        try:
            for (message,) in db.execute(STRUCTURE):
                if message != "ok":
                    self._on_damage(file, message)
        except sqlite3.DatabaseError as error:
            self._on_damage(file, str(error))
        self.breathe()

    def chunks(self, file: str, db: Connection, sql: str, first: Any) -> Iterator[list[Any]]:
        """Yield rows after `first`, some at a time, as far as they can be read."""
        while True:
            try:
                rows = db.execute(sql, (first, ROWS_AT_ONCE)).fetchall()
            except sqlite3.DatabaseError as error:
                self._on_damage(file, f"after {first!r} nothing can be read: {error}")
                return
            if not rows:
                return
            yield rows
            self.breathe()
            if type(rows[-1][0]) is not type(first) or rows[-1][0] <= first:
                self._on_damage(file, f"after {first!r} the rows have lost their order")
                return
            first = rows[-1][0]

    def changes(self, db: Connection) -> int:
        """Read the journal; return how many changes are whole."""
        count = 0
        last: int | None = None
        for rows in self.chunks(journal.FILE, db, ROWS, 0):
            for row in rows:
                if last is not None and row[0] != last + 1 and self._is_kept(db, row[0] - 1):
                    self._on_damage(
                        journal.FILE, f"the changes {last + 1} to {row[0] - 1} are missing", revision=last + 1
                    )
                last = row[0]
                try:
                    journal.verify(row)
                    count += 1
                except Corrupt as error:
                    self._on_damage(journal.FILE, error.message, revision=row[0])
        return count

    def _is_kept(self, db: Connection, revision: int) -> bool:
        """Return whether a change should be there now: it may have been trimmed since the check began."""
        try:
            return bool(db.execute("SELECT min(revision) FROM journal").fetchone()[0] <= revision)
        except sqlite3.DatabaseError:
            return True

    def tokens(self, db: Connection) -> None:
        """Read what is kept of ONCE, and the journal's head."""
        try:
            journal.read_mark(db)
        except (Corrupt, sqlite3.DatabaseError, TypeError) as error:
            self._on_damage(journal.FILE, str(error))
        for rows in self.chunks(journal.FILE, db, TOKENS, 0):
            for row in rows:
                try:
                    journal.verify_token(row[1:])
                except Corrupt as error:
                    self._on_damage(journal.FILE, error.message)

    def entries(self, db: Connection) -> int:
        """Read the table; return how many entries are whole."""
        count = 0
        for rows in self.chunks(table.FILE, db, ENTRIES, b""):
            for row in rows:
                try:
                    table.verify(row)
                    count += 1
                except Corrupt as error:
                    self._on_damage(table.FILE, error.message, key=row[0] if isinstance(row[0], bytes) else None)
        return count

    def count(self, db: Connection) -> None:
        """Compare how many entries there are with how many there should be, at one moment."""
        db.execute("BEGIN")
        try:
            expected = table.read_mark(db).entries
            found, lost = db.execute(COUNTS).fetchone()
            if lost:
                self._on_damage(table.FILE, f"the keys of {lost} entries are no keys any more")
            if found != expected:
                self._on_damage(table.FILE, f"there are {found} entries where {expected} should be")
        except (Corrupt, sqlite3.DatabaseError, TypeError) as error:
            self._on_damage(table.FILE, str(error))
        finally:
            db.rollback()

    def compare(self, db: Connection) -> None:
        """Compare up to where the table says it has come with what the journal has. Both may go on meanwhile."""
        try:
            with closing(connect(self.directory / journal.FILE)) as changes:
                before = table.read_mark(db)
                history, _ = journal.read_mark(changes)
                first, last = changes.execute(SPAN).fetchone()
                after = table.read_mark(db)
        except (Corrupt, sqlite3.DatabaseError, TypeError):
            return  # told already
        if before.history not in ("", history):
            self._on_damage(table.FILE, f"it is not of the same store as {journal.FILE}")
        elif last < before.target_revision or first > after.revision + 1:
            self._on_damage(
                journal.FILE,
                f"it has the changes {first} to {last}, and the table those up to {before.target_revision}",
            )


def check(directory: Path, check_cancelled: Callable[[], None]) -> Report:
    """Read everything in a data directory, in use or not. `breathe` is called now and then; it may raise."""
    return Check(directory, check_cancelled).run()
