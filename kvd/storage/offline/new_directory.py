"""Creates a data directory from entries and a last change, for a restore or a repair.

The directory gets a new history, so that followers of the old one notice. It is built under another name and renamed
when it is complete and durable.
"""

import shutil
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

from kvd.commands.model import KEY, KIND, REVISION, SET, Row
from kvd.errors import StorageFailed
from kvd.storage.files import journal, table
from kvd.storage.files.checksum import mark_seal
from kvd.storage.files.sqlite import Connection, connect_migrated, run_checkpoint, start_errors, sync_path

INSERT_ENTRY = f"INSERT INTO main.entry({table.COLUMNS}) VALUES (?, ?, ?, ?, ?, ?, ?)"  # noqa: S608  # constants
DELETE_ENTRY = "DELETE FROM main.entry WHERE key = ?"

Fill = Callable[[Connection], Row | None]


def build(directory: Path, fill: Fill) -> None:
    """Create a directory with the table that `fill` fills. `fill` returns the last change, None if there was none.

    Raises StorageFailed when the directory exists and is not empty, or cannot be written.
    """
    aside = directory.with_name(f"{directory.name}.partial")
    try:
        if directory.exists() and any(directory.iterdir()):
            raise StorageFailed(f"{directory} is not empty: name a directory that is empty or does not exist")
        shutil.rmtree(aside, ignore_errors=True)  # left by an interrupted build
        aside.mkdir(mode=0o700, parents=True)
        with start_errors(aside):
            _make_files(aside, fill)
        sync_path(aside)
        aside.rename(directory)
        sync_path(directory.parent)
    except OSError as error:
        raise StorageFailed(f"cannot make {directory}: {error.strerror}") from error


def _make_files(directory: Path, fill: Fill) -> None:
    """Create both files durably."""
    journal_path, table_path = directory / journal.FILE, directory / table.FILE
    with (
        closing(connect_migrated(journal_path, journal.MIGRATIONS)) as journal_db,
        closing(connect_migrated(table_path, table.MIGRATIONS)) as table_db,
    ):
        table_db.execute("PRAGMA journal_mode = OFF")  # an incomplete file is deleted, never recovered
        last = fill(table_db)
        history, _ = journal.read_mark(journal_db)
        revision = last[REVISION] if last else 0
        if last is not None:
            journal_db.execute(journal.INSERT_ROW, journal.with_checksums(last))
            journal_db.execute("UPDATE head SET compacted = ?, seal = ?", (revision, mark_seal(history, revision)))
        (entries,) = table_db.execute("SELECT count(*) FROM entry").fetchone()
        table.write_mark(table_db, table.FoldMark(history, revision, entries, revision, b""))
        table_db.execute("PRAGMA journal_mode = WAL")
        run_checkpoint(journal_db, "TRUNCATE")  # closing would checkpoint too, but hide a failed fsync
    sync_path(journal_path)
    sync_path(table_path)


def apply_change(db: Connection, row: Row) -> None:
    """Apply a change to the entry of its key."""
    db.execute(DELETE_ENTRY, (row[KEY],))
    if row[KIND] == SET:
        db.execute(INSERT_ENTRY, entry_row(row))


def entry_row(row: Row) -> tuple[object, ...]:
    """Return a journal row in the table's columns."""
    revision, _, key, value, _, created, expires, _ = row
    *_, head, entry, _ = journal.with_checksums(row)
    return key, value, revision, created, expires, head, entry
