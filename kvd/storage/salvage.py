"""Salvage: of a damaged data directory, what is whole is put together anew, and what is not is told.

Every row has a checksum, so a row that is read is right or known to be damaged. Where pages do not fit together
SQLite stops reading: then the other side of the gap is looked for, from the end and by bisection.
"""

import shutil
from collections.abc import Callable, Iterator
from contextlib import closing, suppress
from itertools import pairwise
from operator import itemgetter
from pathlib import Path
from typing import Any, NamedTuple

from sqlite_utils.utils import sqlite3

from kvd.commands.entry import SET, Row
from kvd.errors import Corrupt, StartError, StorageFailed
from kvd.storage import build, journal, table
from kvd.storage.database import Connection, connect
from kvd.storage.gaps import Between, between_keys, between_numbers, rows_around_gaps
from kvd.storage.lock import DirectoryLock
from kvd.storage.recovery import Recovery

FILES = [f"{file}{end}" for file in (journal.FILE, table.FILE) for end in ("", "-wal", "-shm")]
REVISION_OF = "SELECT revision FROM entry WHERE key = ?"
DELETE = "DELETE FROM entry WHERE key = ?"
NEWEST = f"SELECT {table.COLUMNS} FROM entry ORDER BY revision DESC LIMIT 1"  # noqa: S608  # constants


class Salvage(NamedTuple):
    """What a salvage kept, what it says is lost, and where the files are as they were."""

    entries: int
    revision: int
    losses: list[str]
    aside: Path


def at_rest(directory: Path) -> Callable[[], None]:
    """Take a directory that no daemon serves, so that its files can be opened and closed; return how to let it go.

    Raises InUse, or StorageFailed when a WAL is missing.
    """
    lock = DirectoryLock(directory)
    try:
        if lock.left_wal_bytes is not None:
            Recovery(directory, (journal.FILE, table.FILE), 0, [])
        lock.mark_clean()  # SQLite recovers them, and removes their WALs when they are closed
    except StartError:
        lock.close()
        raise
    return lock.close


def salvage(directory: Path, name: str) -> Salvage:
    """Put together what is whole; the files as they were go into a folder of this name. Raises StartError."""
    if not any((directory / file).exists() for file in (journal.FILE, table.FILE)):
        raise StorageFailed(f"{directory} has neither {journal.FILE} nor {table.FILE}: is it a kvd data directory?")
    lock = DirectoryLock(directory)
    try:
        aside = directory / name
        aside.mkdir(mode=0o700)
        for file in FILES:  # SQLite writes into what it opens: the WALs are copied before
            if file.endswith("-wal") and (directory / file).exists():
                shutil.copy2(directory / file, aside / file)
        found = Salvager(directory).run(directory / f"{name}.new")
        put_in_place(directory, directory / f"{name}.new", aside)
        lock.mark_clean()
    except OSError as error:
        raise StorageFailed(f"{directory}: {error.strerror}") from error
    finally:
        lock.close()
    return Salvage(*found, aside)


def put_in_place(directory: Path, made: Path, aside: Path) -> None:
    """Move the damaged files aside and the new ones into their place; the journal last, for without it none starts."""
    for file in FILES:
        if (directory / file).exists():
            (directory / file).rename(aside / f"{file}.opened" if (aside / file).exists() else aside / file)
    for file in (table.FILE, journal.FILE):
        (made / file).rename(directory / file)
    shutil.rmtree(made)


class Salvager:
    """Reads both files as far as that goes."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.losses: list[str] = []

    def run(self, made: Path) -> tuple[int, int, list[str]]:
        """Make a directory of what is whole; return its entries, its revision and what was lost."""
        rows = self.changes()
        kept: list[int] = []

        def fill(db: Connection) -> Row | None:
            db.execute("BEGIN")
            db.executemany(build.INSERT_ENTRY, self.entries())
            self.apply(db, rows)
            newest = db.execute(NEWEST).fetchone()
            last = max([*rows[-1:], *([row_of(newest)] if newest else [])], key=itemgetter(0), default=None)
            kept.extend([*db.execute("SELECT count(*) FROM entry").fetchone(), last[0] if last else 0])
            db.execute("COMMIT")
            return last

        build.build(made, fill)
        entries, revision = kept
        return entries, revision, self.losses

    def apply(self, db: Connection, rows: list[Row]) -> None:
        """Bring entries up to the changes that are whole: also those whose own row in the table was lost."""
        for row in rows:
            known = db.execute(REVISION_OF, (row[2],)).fetchone()
            if known is None or known[0] < row[0]:
                db.execute(DELETE, (row[2],))
                if row[1] == SET:
                    db.execute(build.INSERT_ENTRY, build.entry_row(row))

    def changes(self) -> list[Row]:
        """Return the changes of the journal that are whole, in order."""
        rows: list[Row] = []
        with self.opened(journal.FILE) as db:
            for found in self.rows(journal.FILE, db, ("journal", "revision", journal.COLUMNS), -1, between_numbers):
                try:
                    rows.append(journal.checked(found))
                except Corrupt as error:
                    self.losses.append(f"{journal.FILE}: {error.message}")
        rows.sort()
        for before, after in pairwise(rows):
            if after[0] != before[0] + 1:
                self.losses.append(f"{journal.FILE}: the changes {before[0] + 1} to {after[0] - 1} are lost")
        return rows

    def entries(self) -> Iterator[tuple[Any, ...]]:
        """Yield the rows of the table that are whole."""
        whole = 0
        with self.opened(table.FILE) as db:
            for found in self.rows(table.FILE, db, ("entry", "key", table.COLUMNS), b"", between_keys):
                try:
                    table.checked(found)
                except Corrupt:
                    self.losses.append(f"{table.FILE}: the entry of key {found[0]!r} is damaged")
                    continue
                whole += 1
                yield found
            with suppress(sqlite3.Error, Corrupt, TypeError):
                expected = table.read_fold(db).entries
                if whole < expected:
                    self.losses.append(f"{table.FILE}: {whole} of {expected} entries are whole")

    def opened(self, file: str) -> "closing[Connection]":
        """Return a connection; one to nothing when the file cannot be opened."""
        try:
            return closing(connect(self.directory / file))
        except StorageFailed as error:
            self.losses.append(f"{file}: nothing can be read: {error}")
            return closing(sqlite3.connect(":memory:"))

    def rows(
        self, file: str, db: Connection, source: tuple[str, str, str], low: Any, between: Between
    ) -> Iterator[tuple[Any, ...]]:
        """Yield the rows of a table (its name, its key, its columns) that can be read, after a key."""
        name, key, columns = source
        select = f"SELECT {columns} FROM {name} WHERE {key} > ?"  # noqa: S608
        for found in rows_around_gaps(db, select, key, low, between, columns.split(", ").index(key)):
            if isinstance(found, str):
                self.losses.append(f"{file}: {found}")
            else:
                yield found


def row_of(found: tuple[Any, ...]) -> Row:
    """Return a row of the table as the change that made it."""
    key, value, revision, created, expires, _, _ = found
    return revision, SET, key, value, 0, created, expires, 0
