"""Salvage: of a damaged data directory, what is whole is put together anew, and what is not is told.

Every row has a checksum, so a row that is read is right or known to be damaged. Where pages do not fit together
SQLite stops reading: then the other side of the gap is looked for, from the end and by bisection.
"""

import os
import shutil
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from itertools import count, pairwise
from operator import itemgetter
from pathlib import Path
from typing import Any, NamedTuple

from sqlite_utils.utils import sqlite3

from kvd.commands.model import SET, Row
from kvd.errors import Corrupt, StorageFailed
from kvd.storage.files import journal, table
from kvd.storage.files.checksum import is_whole_head
from kvd.storage.files.directory_lock import DirectoryLock
from kvd.storage.files.sqlite import STRUCTURE, Connection, connect_read_only, open_files, sync_path
from kvd.storage.offline import new_directory
from kvd.storage.offline.check import Report, check
from kvd.storage.offline.damaged_ranges import Between, between_keys, between_numbers, rows_around_damage
from kvd.storage.offline.recovery import FILES, MOVING, Recovery, is_ahead, kept_wals

MADE = "repair.new"  # what is whole, until the files as they were are linked aside
LOSSES = "losses.txt"
REVISION_OF = "SELECT revision FROM entry WHERE key = ?"
NEWEST = f"SELECT {table.COLUMNS} FROM entry ORDER BY revision DESC LIMIT 1"  # noqa: S608  # constants
# Where pages of two moments are mixed a key may be found twice.
INSERT_NEWER = f"""
    INSERT INTO main.entry({table.COLUMNS}) SELECT ?1, ?2, ?3, ?4, ?5, ?6, ?7
     WHERE NOT EXISTS (SELECT 1 FROM main.entry WHERE key = ?1 AND revision > ?3)"""  # noqa: S608  # constants


class Salvage(NamedTuple):
    """What a salvage kept, what it says is lost, and where the files are as they were."""

    entries: int
    revision: int
    losses: list[str]
    aside: Path


@contextmanager
def at_rest(directory: Path) -> Iterator[list[str]]:
    """Hold a directory that no daemon serves, so that its files can be read; give what there is to say of its WALs.

    It stays as it was found, for the next start to recover. Raises InUse, or StorageFailed when a file is missing.
    """
    _expect_files(directory)
    lock = DirectoryLock(directory)
    notes: list[str] = []
    try:
        recovery = None if lock.left_wal_bytes is None else Recovery(directory, lock.left_wal_bytes, notes)
        with kept_wals(directory) as dbs:
            if recovery is not None:
                notes += recovery.damages(dbs)
            yield notes
        if recovery is None:
            _leave_clean(directory, lock)
    finally:
        lock.close()


def _leave_clean(directory: Path, lock: DirectoryLock) -> None:
    """Take away what reading has left where there was nothing to recover."""
    for file in FILES:
        wal = directory / f"{file}-wal"
        if wal.exists() and not wal.stat().st_size:
            wal.unlink()
            (directory / f"{file}-shm").unlink(missing_ok=True)
    lock.mark_clean()


def _expect_files(directory: Path) -> None:
    """Raise StorageFailed when there is nothing of kvd in a directory."""
    if not any((directory / file).exists() for file in FILES):
        raise StorageFailed(f"{directory} has neither {journal.FILE} nor {table.FILE}: is it a kvd data directory?")


def report_if_whole(directory: Path, breathe: Callable[[], None]) -> Report | None:
    """Return what a check reads when there is nothing to repair, else None. It changes nothing. Raises InUse."""
    if (directory / MOVING).exists():
        return None
    try:
        with at_rest(directory) as notes:
            report = check(directory, breathe)
            return None if notes or report.damages else report
    except (StorageFailed, Corrupt):
        return None


def salvage(directory: Path, name: str) -> Salvage:
    """Put together what is whole; the files as they were go into a folder of this name. Raises StartError."""
    _expect_files(directory)
    lock = DirectoryLock(directory)
    try:
        losses = _finish_moving(directory) + _lost_with_wals(directory, lock.left_wal_bytes)
        shutil.rmtree(directory / MADE, ignore_errors=True)  # of one that was interrupted
        entries, revision, found = Salvager(directory).run(directory / MADE)
        aside = _link_aside(directory, name)
        losses += found
        (aside / LOSSES).write_text("".join(f"{loss}\n" for loss in losses))
        sync_path(aside)
        (directory / MADE).rename(directory / MOVING)
        _finish_moving(directory)
        lock.mark_clean()
    except OSError as error:
        raise StorageFailed(f"{directory}: {error.strerror}") from error
    finally:
        lock.close()
    return Salvage(entries, revision, losses, aside)


def _lost_with_wals(directory: Path, journal_wal_bytes: int | None) -> list[str]:
    """Return what SQLite would pass over in silence after an end that was not clean."""
    losses: list[str] = []
    if journal_wal_bytes is not None:
        try:
            recovery = Recovery(directory, journal_wal_bytes, losses)
            with kept_wals(directory) as dbs:
                losses += recovery.damages(dbs)
        except StorageFailed as error:
            losses.append(str(error).partition(":")[0])
    return losses


def _link_aside(directory: Path, name: str) -> Path:
    """Give the files as they are a second place, in a new folder: so they are in one place at any time."""
    names = (name if number == 1 else f"{name}-{number}" for number in count(1))
    aside = next(path for each in names if not (path := directory / each).exists())
    aside.mkdir(mode=0o700)
    for path in (directory / f"{file}{end}" for file in FILES for end in ("", "-wal", "-shm")):
        if path.exists():
            os.link(path, aside / path.name)
    return aside


def _finish_moving(directory: Path) -> list[str]:
    """Put what was made into its place, if a repair has come so far; return what there is to say of it.

    No store opens meanwhile. A WAL goes first, for beside another file it would be applied to that.
    """
    made = directory / MOVING
    if not made.exists():
        return []
    sync_path(directory)
    for file in (table.FILE, journal.FILE):
        if (made / file).exists():
            for end in ("-wal", "-shm"):
                (directory / f"{file}{end}").unlink(missing_ok=True)
            (made / file).replace(directory / file)
    sync_path(directory)
    shutil.rmtree(made)
    return [f"a repair that was interrupted is finished; what it lost stands in {LOSSES} in its folder"]


class Salvager:
    """Reads both files as far as that goes."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.losses: list[str] = []
        self.last = 0  # change that is whole in the journal

    def run(self, made: Path) -> tuple[int, int, list[str]]:
        """Make a directory of what is whole; return its entries, its revision and what was lost."""
        for file in FILES:
            self.structure(file)
        rows = self.changes()
        kept: list[int] = []

        def fill(db: Connection) -> Row | None:
            db.execute("BEGIN")
            db.executemany(INSERT_NEWER, self.entries())
            self.apply(db, rows)
            newest = db.execute(NEWEST).fetchone()
            last = max([*rows[-1:], *([_row_of(newest)] if newest else [])], key=itemgetter(0), default=None)
            kept.extend([*db.execute("SELECT count(*) FROM entry").fetchone(), last[0] if last else 0])
            db.execute("COMMIT")
            return last

        new_directory.build(made, fill)
        entries, revision = kept
        return entries, revision, self.losses

    def structure(self, file: str) -> None:
        """Note how pages do not fit together: SQLite may pass over rows for that, and say nothing."""
        with self._open_source(file) as db:
            try:
                self.losses += [f"{file}: {found}" for (found,) in db.execute(STRUCTURE) if found != "ok"]
            except sqlite3.DatabaseError as error:
                self.losses.append(f"{file}: {error}")

    def apply(self, db: Connection, rows: list[Row]) -> None:
        """Bring entries up to the changes that are whole: also those whose own row in the table was lost."""
        for row in rows:
            known = db.execute(REVISION_OF, (row[2],)).fetchone()
            if known is None or known[0] < row[0]:
                new_directory.take_change(db, row)

    def changes(self) -> list[Row]:
        """Return the changes of the journal that are whole, in order."""
        kept: dict[int, Row] = {}
        damaged: dict[int, str] = {}
        with self._open_source(journal.FILE) as db:
            self._take_changes(db, kept, damaged)
            is_mixed = is_ahead(self.directory, journal.FILE, db)
        if damaged or is_mixed or len(kept) != 1 + max(kept, default=0) - min(kept, default=1):
            # A change is the same wherever it is found, so what is copied already is taken without its WAL.
            with self._open_source(journal.FILE, without_wal=True) as db:
                self._take_changes(db, kept, {})
        self.last = max(kept, default=0)
        self.losses += [loss for revision, loss in sorted(damaged.items()) if revision not in kept]
        for before, after in pairwise(sorted(kept)):
            if after != before + 1:
                self.losses.append(f"{journal.FILE}: the changes {before + 1} to {after - 1} are lost")
        return [kept[revision] for revision in sorted(kept)]

    def _take_changes(self, db: Connection, kept: dict[int, Row], damaged: dict[int, str]) -> None:
        """Take in the changes that are whole, and those that are not."""
        for found in self.rows(journal.FILE, db, ("journal", "revision", journal.COLUMNS), -1, between_numbers):
            try:
                kept[found[0]] = journal.verify(found)
            except Corrupt as error:
                damaged[found[0]] = f"{journal.FILE}: {error.message}{_key_of(found)}"

    def entries(self) -> Iterator[tuple[Any, ...]]:
        """Yield the rows of the table that are whole."""
        whole = 0
        with self._open_source(table.FILE) as db:
            # What is copied already is whole, and mixed with an older WAL it is not.
            is_mixed = is_ahead(self.directory, table.FILE, db)
        with self._open_source(table.FILE, without_wal=is_mixed) as db:
            for found in self.rows(table.FILE, db, ("entry", "key", table.COLUMNS), b"", between_keys):
                try:
                    table.verify(found)
                except Corrupt:
                    self.losses.append(f"{table.FILE}: the entry of key {found[0]!r} is damaged")
                    continue
                whole += 1
                yield found
            try:
                mark = table.read_mark(db)
                if mark.target_revision > self.last:
                    self.losses.append(
                        f"{journal.FILE}: it ends at {self.last}, and the table knows {mark.target_revision} changes"
                    )
                if whole < mark.entries:
                    self.losses.append(f"{table.FILE}: {whole} of {mark.entries} entries are whole")
            except (sqlite3.Error, Corrupt, TypeError):
                self.losses.append(f"{table.FILE}: {whole} entries are whole; how many there were cannot be told")

    def _open_source(self, file: str, *, without_wal: bool = False) -> "closing[Connection]":
        """Return a connection; one to nothing when the file cannot be opened."""
        path = self.directory / file
        try:
            db = connect_read_only(path, without_wal=without_wal)
            open_files(db, path)
            return closing(db)
        except StorageFailed as error:
            loss = f"{file}: it is missing" if not path.exists() else f"{file}: nothing can be read: {error}"
            if loss not in self.losses:
                self.losses.append(loss)
            return closing(sqlite3.connect(":memory:"))

    def rows(
        self, file: str, db: Connection, source: tuple[str, str, str], low: Any, between: Between
    ) -> Iterator[tuple[Any, ...]]:
        """Yield the rows of a table (its name, its key, its columns) that can be read, after a key."""
        name, key, columns = source
        select = f"SELECT {columns} FROM {name} WHERE {key} > ?"  # noqa: S608
        for found in rows_around_damage(db, select, key, low, between, columns.split(", ").index(key)):
            if isinstance(found, str):
                self.losses.append(f"{file}: {found}")
            else:
                yield found


def _key_of(found: tuple[Any, ...]) -> str:
    """Return whose change a damaged row was, if that much of it is whole."""
    revision, kind, key, _, _, created, expires, _, head, *_ = found
    return f" (key {key!r})" if is_whole_head(head, revision, kind, key, created, expires) else ""


def _row_of(found: tuple[Any, ...]) -> Row:
    """Return a row of the table as the change that made it."""
    key, value, revision, created, expires, _, _ = found
    return revision, SET, key, value, 0, created, expires, 0
