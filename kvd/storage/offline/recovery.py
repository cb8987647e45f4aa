"""Recovery after an unclean shutdown: finds a write-ahead log that is missing, truncated or damaged.

SQLite opens such files as if the lost part had never been written. This module detects and reports the loss.
"""

from collections.abc import Iterator
from contextlib import ExitStack, closing, contextmanager, suppress
from pathlib import Path
from typing import Any, NoReturn

from sqlite_utils.utils import sqlite3

from kvd.errors import Corrupt, StorageFailed
from kvd.storage.files import journal, table
from kvd.storage.files.sqlite import Connection, connect_read_only, open_files, run_checkpoint
from kvd.storage.files.wal_scan import scan_wal

FILES = (journal.FILE, table.FILE)
MOVING = "repair.moving"  # the repaired files while they are moved into place
# The number of rows of a file, and the number it should have.
ROWS = {
    journal.FILE: "SELECT count(*), coalesce(max(revision) - min(revision) + 1, 0) FROM journal",
    table.FILE: "SELECT (SELECT count(*) FROM entry), (SELECT entries FROM fold)",
}


@contextmanager
def kept_wals(directory: Path) -> Iterator[dict[str, Connection]]:
    """Keep the WALs in place while other connections open and close. Yields a connection for each file that opens.

    A damaged file stays open too: another connection that finds it damaged would remove its WAL.
    """
    with ExitStack() as stack:
        dbs = {}
        for file in FILES:
            path = directory / file
            if path.exists():
                with suppress(StorageFailed):
                    db = stack.enter_context(closing(connect_read_only(path)))
                    open_files(db, path)
                    dbs[file] = db
        yield dbs


def expect_whole_directory(directory: Path) -> None:
    """Raise StorageFailed when a start would create a file that went missing, or a repair was interrupted."""
    if (directory / MOVING).exists():
        raise StorageFailed(f"a repair of {directory} was interrupted: `kvd check --repair {directory}` finishes it")
    if (directory / table.FILE).exists() and not (directory / journal.FILE).exists():
        raise StorageFailed(
            f"{directory / journal.FILE} is missing beside {table.FILE}: put it back; or "
            f"`kvd check --repair {directory}` makes a store of what the table has"
        )


class Recovery:
    """Scans the WALs of a directory before SQLite opens them, and compares them with the result."""

    def __init__(self, directory: Path, journal_wal_bytes: int, notes: list[str]) -> None:
        """Raise StorageFailed when a file is missing. `journal_wal_bytes` is the recorded length of the journal's WAL.

        Sentences about losses are appended to `notes`.
        """
        self.directory = directory
        self.notes = notes
        self.wals = {file: directory / f"{file}-wal" for file in FILES}
        for path in (*(directory / file for file in FILES), *self.wals.values()):
            if not path.exists():
                self._refuse(f"{path} is missing, though kvd did not shut down cleanly")
        if journal_wal_bytes and not self.wals[journal.FILE].stat().st_size:  # the start would create a new one
            self._refuse(f"{self.wals[journal.FILE]} was truncated from {journal_wal_bytes} to 0 bytes")
        self.written = {file: scan_wal(wal, directory / f"{file}-shm") for file, wal in self.wals.items()}
        journal_wal = self.wals[journal.FILE]
        if (size := journal_wal.stat().st_size) < journal_wal_bytes:
            self.notes.append(f"{journal_wal} was truncated from {journal_wal_bytes} to {size} bytes")

    def _refuse(self, reason: str) -> NoReturn:
        """Raise StorageFailed."""
        raise StorageFailed(
            f"{reason}: its changes would be lost. Put it back; "
            f"or `kvd check --repair {self.directory}` keeps what is left"
        )

    def damages(self, dbs: dict[str, Connection]) -> list[str]:
        """Compare all files and note the dropped pages. Return a sentence for each damaged file."""
        damages = []
        for file, db in dbs.items():
            try:
                self.compare(file, db)
            except (Corrupt, sqlite3.DatabaseError) as error:
                damages.append(f"{file}: {error}")
        return damages

    def compare(self, file: str, db: Connection) -> None:
        """Note the dropped pages of a file's WAL. Raises Corrupt when the database is inconsistent without them."""
        whole, _ = run_checkpoint(db, "NOOP")
        frames, committed = self.written[file]
        if whole < frames:
            self.notes.append(
                f"{self.wals[file]}: of {frames} pages the first {whole} are whole; the rest is dropped: "
                + ("acknowledged changes may be lost" if whole < committed else "a commit that was interrupted")
            )
        # After a kill alone all commits are whole. Otherwise the file may contain pages of later commits.
        if whole < committed or (self.notes and file == journal.FILE):
            _check_structure(file, db)
        if is_ahead(self.directory, file, db):
            raise Corrupt(f"{file} contains changes that are not in its WAL as it is now")


def _check_structure(file: str, db: Connection) -> None:
    """Raise Corrupt when a database is inconsistent, or has lost rows."""
    (result,) = db.execute("PRAGMA quick_check(1)").fetchone()
    if result != "ok":
        raise Corrupt(f"{file} is damaged: {result}")
    rows, expected = db.execute(ROWS[file]).fetchone()
    if rows != expected:
        raise Corrupt(f"{file} is damaged: it has {rows} rows and should have {expected}")


def is_ahead(directory: Path, file: str, db: Connection) -> bool:
    """Return whether a file alone is newer than with its WAL: then the WAL has lost pages that were checkpointed."""
    try:
        with closing(connect_read_only(directory / file, without_wal=True)) as alone:
            copied = _last_revision(file, alone)
        return copied > _last_revision(file, db)
    except (sqlite3.DatabaseError, StorageFailed, Corrupt, TypeError):
        return False  # the file alone is incomplete, so nothing was lost; or it is damaged, which is reported elsewhere


def _last_revision(file: str, db: Connection) -> tuple[Any, ...]:
    """Return a file's progress in a form that can be compared. Raises Corrupt when its last row or mark is damaged.

    A power loss during a checkpoint can tear a page, and then the file alone is not valid.
    """
    if file == table.FILE:
        mark = table.read_mark(db)
        return mark.revision, mark.target_revision, mark.last_key
    last = db.execute(f"{journal.SELECT_ROWS} ORDER BY revision DESC LIMIT 1").fetchone()
    return (0,) if last is None else journal.verify(last)[:1]
