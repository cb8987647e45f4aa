"""Salvage: builds a new data directory from the intact rows of a damaged one, and reports the losses.

Every row has a checksum, so each row that is read is either right or known to be damaged. SQLite stops at a damaged
page, so the rows behind it are read from the end and by bisection (see damaged_ranges.py).
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

from kvd.commands.model import KEY, REVISION, SET, Row
from kvd.errors import Corrupt, StorageFailed
from kvd.storage.files import journal, table
from kvd.storage.files.checksum import is_whole_head
from kvd.storage.files.directory_lock import DirectoryLock
from kvd.storage.files.sqlite import STRUCTURE, Connection, connect_read_only, open_files, sync_path
from kvd.storage.offline import new_directory
from kvd.storage.offline.check import Report, check
from kvd.storage.offline.damaged_ranges import Between, between_keys, between_numbers, rows_around_damage
from kvd.storage.offline.recovery import FILES, MOVING, Recovery, is_ahead, kept_wals

MADE = "repair.new"  # the repaired files, until the damaged ones are linked aside
LOSSES = "losses.txt"
REVISION_OF = "SELECT revision FROM entry WHERE key = ?"
NEWEST = f"SELECT {table.COLUMNS} FROM entry ORDER BY revision DESC LIMIT 1"  # noqa: S608  # constants
# A key may appear twice where pages of two points in time are mixed.
INSERT_NEWER = f"""
    INSERT INTO main.entry({table.COLUMNS}) SELECT ?1, ?2, ?3, ?4, ?5, ?6, ?7
     WHERE NOT EXISTS (SELECT 1 FROM main.entry WHERE key = ?1 AND revision > ?3)"""  # noqa: S608  # constants


class Salvage(NamedTuple):
    """The result of a salvage: the entries and revision it kept, its losses, and the folder of the damaged files."""

    entries: int
    revision: int
    losses: list[str]
    aside: Path


@contextmanager
def at_rest(directory: Path) -> Iterator[list[str]]:
    """Lock a directory that no daemon serves, so that its files can be read. Yields sentences about its WALs.

    The directory stays as it is, for the next start to recover. Raises InUse, or StorageFailed when a file is missing.
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
    """Remove the empty WALs that reading has left, where there was nothing to recover."""
    for file in FILES:
        wal = directory / f"{file}-wal"
        if wal.exists() and not wal.stat().st_size:
            wal.unlink()
            (directory / f"{file}-shm").unlink(missing_ok=True)
    lock.mark_clean()


def _expect_files(directory: Path) -> None:
    """Raise StorageFailed when a directory has none of kvd's files."""
    if not any((directory / file).exists() for file in FILES):
        raise StorageFailed(f"{directory} has neither {journal.FILE} nor {table.FILE}: is it a kvd data directory?")


def report_if_whole(directory: Path, check_cancelled: Callable[[], None]) -> Report | None:
    """Return a check's report if there is nothing to repair, else None. It changes nothing. Raises InUse."""
    if (directory / MOVING).exists():
        return None
    try:
        with at_rest(directory) as notes:
            report = check(directory, check_cancelled)
            return None if notes or report.damages else report
    except (StorageFailed, Corrupt):
        return None


def salvage(directory: Path, name: str) -> Salvage:
    """Repair a directory. The damaged files are moved into a folder of this name. Raises StartError."""
    _expect_files(directory)
    lock = DirectoryLock(directory)
    try:
        losses = _finish_moving(directory) + _lost_with_wals(directory, lock.left_wal_bytes)
        shutil.rmtree(directory / MADE, ignore_errors=True)  # left by an interrupted repair
        entries, revision, row_losses = Salvager(directory).run(directory / MADE)
        aside = _link_aside(directory, name)
        losses += row_losses
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
    """Return the losses that SQLite would not report after an unclean shutdown."""
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
    """Link the damaged files into a new folder, so that each of them exists somewhere at any time."""
    names = (name if number == 1 else f"{name}-{number}" for number in count(1))
    aside = next(path for each in names if not (path := directory / each).exists())
    aside.mkdir(mode=0o700)
    for path in (directory / f"{file}{end}" for file in FILES for end in ("", "-wal", "-shm")):
        if path.exists():
            os.link(path, aside / path.name)
    return aside


def _finish_moving(directory: Path) -> list[str]:
    """Move the repaired files into place, if a repair has got this far. Return sentences to report.

    No store can be opened meanwhile. The WALs are removed first, because SQLite would apply them to the new files.
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
    return [f"an interrupted repair is finished; its losses are in {LOSSES} in its folder"]


class Salvager:
    """Reads the intact rows of both files."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.losses: list[str] = []
        self.last = 0  # intact change of the journal

    def run(self, made: Path) -> tuple[int, int, list[str]]:
        """Build a directory of the intact rows. Return its number of entries, its revision and the losses."""
        for file in FILES:
            self._note_structure(file)
        rows = self._read_changes()
        kept: list[int] = []

        def fill(db: Connection) -> Row | None:
            db.execute("BEGIN")
            db.executemany(INSERT_NEWER, self._read_entries())
            self._apply_changes(db, rows)
            newest = db.execute(NEWEST).fetchone()
            last = max([*rows[-1:], *([_row_of(newest)] if newest else [])], key=itemgetter(REVISION), default=None)
            kept.extend([*db.execute("SELECT count(*) FROM entry").fetchone(), last[REVISION] if last else 0])
            db.execute("COMMIT")
            return last

        new_directory.build(made, fill)
        entries, revision = kept
        return entries, revision, self.losses

    def _note_structure(self, file: str) -> None:
        """Note inconsistent pages, because SQLite may skip rows of them without an error."""
        with self._open_source(file) as db:
            try:
                self.losses += [f"{file}: {message}" for (message,) in db.execute(STRUCTURE) if message != "ok"]
            except sqlite3.DatabaseError as error:
                self.losses.append(f"{file}: {error}")

    def _apply_changes(self, db: Connection, rows: list[Row]) -> None:
        """Apply the intact changes to older entries, and to entries that the table has lost."""
        for row in rows:
            entry = db.execute(REVISION_OF, (row[KEY],)).fetchone()
            if entry is None or entry[0] < row[REVISION]:
                new_directory.apply_change(db, row)

    def _read_changes(self) -> list[Row]:
        """Return the intact changes of the journal, in order."""
        kept: dict[int, Row] = {}
        damaged: dict[int, str] = {}
        with self._open_source(journal.FILE) as db:
            self._take_changes(db, kept, damaged)
            is_mixed = is_ahead(self.directory, journal.FILE, db)
        if damaged or is_mixed or len(kept) != 1 + max(kept, default=0) - min(kept, default=1):
            # A change is the same in the file and in its WAL, so checkpointed ones are read without the WAL.
            with self._open_source(journal.FILE, without_wal=True) as db:
                self._take_changes(db, kept, {})
        self.last = max(kept, default=0)
        self.losses += [loss for revision, loss in sorted(damaged.items()) if revision not in kept]
        for before, after in pairwise(sorted(kept)):
            if after != before + 1:
                self.losses.append(f"{journal.FILE}: the changes {before + 1} to {after - 1} are lost")
        return [kept[revision] for revision in sorted(kept)]

    def _take_changes(self, db: Connection, kept: dict[int, Row], damaged: dict[int, str]) -> None:
        """Add the intact changes to `kept`, and a sentence for each other one to `damaged`."""
        for row in self._readable_rows(journal.FILE, db, ("journal", "revision", journal.COLUMNS), -1, between_numbers):
            try:
                kept[row[REVISION]] = journal.verify(row)
            except Corrupt as error:
                damaged[row[REVISION]] = f"{journal.FILE}: {error.message}{_key_of(row)}"

    def _read_entries(self) -> Iterator[tuple[Any, ...]]:
        """Yield the intact rows of the table."""
        whole = 0
        with self._open_source(table.FILE) as db:
            # Checkpointed pages are whole; mixed with an older WAL they are not.
            is_mixed = is_ahead(self.directory, table.FILE, db)
        with self._open_source(table.FILE, without_wal=is_mixed) as db:
            for row in self._readable_rows(table.FILE, db, ("entry", "key", table.COLUMNS), b"", between_keys):
                try:
                    table.verify(row)
                except Corrupt:
                    self.losses.append(f"{table.FILE}: the entry of key {row[0]!r} is damaged")
                    continue
                whole += 1
                yield row
            try:
                mark = table.read_mark(db)
                if mark.target_revision > self.last:
                    self.losses.append(
                        f"{journal.FILE}: it ends at {self.last}, but the table is folded up to {mark.target_revision}"
                    )
                if whole < mark.entries:
                    self.losses.append(f"{table.FILE}: {whole} of {mark.entries} entries are whole")
            except (sqlite3.Error, Corrupt, TypeError):
                self.losses.append(f"{table.FILE}: {whole} entries are whole; their former number is unknown")

    def _open_source(self, file: str, *, without_wal: bool = False) -> "closing[Connection]":
        """Return a connection, to an empty database when the file cannot be opened."""
        path = self.directory / file
        try:
            db = connect_read_only(path, without_wal=without_wal)
            open_files(db, path)
            return closing(db)
        except StorageFailed as error:
            loss = f"{file}: it is missing" if not path.exists() else f"{file}: it cannot be read: {error}"
            if loss not in self.losses:
                self.losses.append(loss)
            return closing(sqlite3.connect(":memory:"))

    def _readable_rows(
        self, file: str, db: Connection, source: tuple[str, str, str], low: Any, between: Between
    ) -> Iterator[tuple[Any, ...]]:
        """Yield the readable rows of a table after a key, and note the gaps. `source`: its name, key and columns."""
        name, key, columns = source
        select = f"SELECT {columns} FROM {name} WHERE {key} > ?"  # noqa: S608
        for row in rows_around_damage(db, select, key, low, between, columns.split(", ").index(key)):
            if isinstance(row, str):
                self.losses.append(f"{file}: {row}")
            else:
                yield row


def _key_of(row: tuple[Any, ...]) -> str:
    """Return the key of a damaged row for a sentence, if that part of the row is intact."""
    revision, kind, key, _, _, created, expires, _, head, *_ = row
    return f" (key {key!r})" if is_whole_head(head, revision, kind, key, created, expires) else ""


def _row_of(entry: tuple[Any, ...]) -> Row:
    """Return the journal row of the change that made a table row."""
    key, value, revision, created, expires, _, _ = entry
    return revision, SET, key, value, 0, created, expires, 0
