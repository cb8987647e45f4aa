"""What an end that was not clean has left behind: a write-ahead log that is missing, cut or damaged.

SQLite opens such files as if the lost part had never been written. Here it is noticed, and told.
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
MOVING = "repair.moving"  # what a repair made, while it is moved into its place
# How many rows a file has, how many it should have.
ROWS = {
    journal.FILE: "SELECT count(*), coalesce(max(revision) - min(revision) + 1, 0) FROM journal",
    table.FILE: "SELECT (SELECT count(*) FROM entry), (SELECT entries FROM fold)",
}


@contextmanager
def kept_wals(directory: Path) -> Iterator[dict[str, Connection]]:
    """Let connections be closed without SQLite recovering and removing the WALs; give one to each file that opens.

    One that does not open is held all the same: another connection that finds it damaged would remove its WAL.
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
    """Raise StorageFailed when a start would make a file anew that has been there, or a repair has not ended."""
    if (directory / MOVING).exists():
        raise StorageFailed(f"a repair of {directory} was interrupted: `kvd check --repair {directory}` finishes it")
    if (directory / table.FILE).exists() and not (directory / journal.FILE).exists():
        raise StorageFailed(
            f"{directory / journal.FILE} is missing beside {table.FILE}: put it back; or "
            f"`kvd check --repair {directory}` makes a store of what the table has"
        )


class Recovery:
    """Looks at the WALs of a directory before they are opened, and compares with what SQLite made of them."""

    def __init__(self, directory: Path, journal_wal_bytes: int, notes: list[str]) -> None:
        """Raise StorageFailed when a file is missing. `journal_wal_bytes`: how long the journal's WAL was.

        What there is to say goes into `notes`.
        """
        self.directory = directory
        self.notes = notes
        self.wals = {file: directory / f"{file}-wal" for file in FILES}
        for path in (*(directory / file for file in FILES), *self.wals.values()):
            if not path.exists():
                self._refuse(f"{path} is missing, though kvd did not end cleanly")
        if journal_wal_bytes and not self.wals[journal.FILE].stat().st_size:  # it would be made anew
            self._refuse(f"{self.wals[journal.FILE]} was cut from {journal_wal_bytes} to 0 bytes")
        self.written = {file: scan_wal(wal, directory / f"{file}-shm") for file, wal in self.wals.items()}
        journal_wal = self.wals[journal.FILE]
        if (found := journal_wal.stat().st_size) < journal_wal_bytes:
            self.notes.append(f"{journal_wal} was cut from {journal_wal_bytes} to {found} bytes")

    def _refuse(self, reason: str) -> NoReturn:
        """Raise StorageFailed."""
        raise StorageFailed(
            f"{reason}: what it held would be lost. Put it back; "
            f"or `kvd check --repair {self.directory}` keeps what is left"
        )

    def damages(self, dbs: dict[str, Connection]) -> list[str]:
        """Compare all, note what was dropped, and return what is damaged."""
        found = []
        for file, db in dbs.items():
            try:
                self.compare(file, db)
            except (Corrupt, sqlite3.DatabaseError) as error:
                found.append(f"{file}: {error}")
        return found

    def compare(self, file: str, db: Connection) -> None:
        """Note what of a file's WAL was dropped. Raises Corrupt when the database is no longer one without it."""
        whole, _ = run_checkpoint(db, "NOOP")
        frames, committed = self.written[file]
        if whole < frames:
            self.notes.append(
                f"{self.wals[file]}: of {frames} pages the first {whole} are whole; what came after is dropped: "
                + ("acknowledged changes may be lost" if whole < committed else "a commit that was interrupted")
            )
        # After a mere kill all commits are whole; else the file itself may have got pages of later ones already.
        if whole < committed or (self.notes and file == journal.FILE):
            _check_structure(file, db)
        if is_ahead(self.directory, file, db):
            raise Corrupt(f"{file} has got changes of which its WAL, as it is now, knows nothing")


def _check_structure(file: str, db: Connection) -> None:
    """Raise Corrupt when a database's pages do not fit together, or it has not the rows it should have."""
    (found,) = db.execute("PRAGMA quick_check(1)").fetchone()
    if found != "ok":
        raise Corrupt(f"{file} is damaged: {found}")
    rows, expected = db.execute(ROWS[file]).fetchone()
    if rows != expected:
        raise Corrupt(f"{file} is damaged: it has {rows} rows where {expected} should be")


def is_ahead(directory: Path, file: str, db: Connection) -> bool:
    """Return whether a file alone tells more than with its WAL: then the WAL has lost what was copied from it."""
    try:
        with closing(connect_read_only(directory / file, without_wal=True)) as alone:
            copied = _last_revision(file, alone)
        return copied > _last_revision(file, db)
    except (sqlite3.DatabaseError, StorageFailed, Corrupt, TypeError):
        return False  # not all of it is there yet, so nothing was lost; or it is damaged, which others tell


def _last_revision(file: str, db: Connection) -> tuple[Any, ...]:
    """Return how far a file has come, to be compared. Raises Corrupt when that is damaged.

    Where a power loss has torn a page in the middle of a checkpoint, the file alone tells nonsense: hence the checks.
    """
    if file == table.FILE:
        mark = table.read_mark(db)
        return mark.revision, mark.target_revision, mark.last_key
    last = db.execute(f"{journal.SELECT_ROWS} ORDER BY revision DESC LIMIT 1").fetchone()
    return (0,) if last is None else journal.verify(last)[:1]
