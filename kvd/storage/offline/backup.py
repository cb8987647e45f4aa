"""Backups: one SQLite file with the entries of one commit, made while a daemon writes, and its restore.

A backup contains the folded table and the journal's changes after it. Both are read in snapshots, so the backup is the
state of one commit. Rows keep their checksums.
"""

import fcntl
import os
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager, suppress
from pathlib import Path
from typing import NamedTuple

from sqlite_utils.utils import sqlite3

from kvd.commands.model import REVISION, TIME, Milliseconds, Row
from kvd.errors import Corrupt, StorageFailed
from kvd.storage.files import journal, table
from kvd.storage.files.checksum import is_mark_whole, mark_seal
from kvd.storage.files.sqlite import Connection, connect, on_progress, start_errors, sync_path
from kvd.storage.offline import new_directory

VERSION = 1
PARTIAL = ".partial"
ATTEMPTS_MAX = 10
SCHEMA = f"""
    CREATE TABLE backup.about(version INTEGER, history TEXT, folded INTEGER, revision INTEGER, time INTEGER,
                              entries INTEGER, seal INTEGER);
    CREATE TABLE backup.changes({journal.COLUMNS});
    CREATE TABLE backup.entry({table.COLUMNS}, PRIMARY KEY(key)) WITHOUT ROWID;
"""
COPY_CHANGES = f"""
    INSERT INTO backup.changes SELECT {journal.COLUMNS} FROM main.journal
     WHERE revision > ? OR revision = (SELECT max(revision) FROM main.journal) ORDER BY revision"""  # noqa: S608
COPY_ENTRIES = f"INSERT INTO backup.entry SELECT {table.COLUMNS} FROM main.entry ORDER BY key"  # noqa: S608
READ_CHANGES = f"SELECT {journal.COLUMNS} FROM backup.changes ORDER BY revision"  # noqa: S608
RESTORE_ENTRIES = f"INSERT INTO main.entry({table.COLUMNS}) SELECT {table.COLUMNS} FROM backup.entry ORDER BY key"  # noqa: S608


class Backup(NamedTuple):
    """Facts about a backup: the revision and time (Unix ms) of its last change, its number of entries and its size."""

    revision: int
    time: Milliseconds
    entries: int
    bytes: int


def back_up(directory: Path, destination: Path, check_cancelled: Callable[[], None]) -> Backup:
    """Copy a data directory, in use or not, into one file. The file gets its name when it is complete and durable.

    `check_cancelled` is called periodically; when it raises, no file is left. Raises StorageFailed.
    """
    aside = destination.with_name(destination.name + PARTIAL)
    try:
        if destination.exists():
            raise StorageFailed(f"{destination} exists already: choose another name, or move it away")
        if destination.suffix == PARTIAL:
            raise StorageFailed(
                f"{destination}: a name that ends in {PARTIAL} is for incomplete backups: choose another name"
            )
        with _claim(aside):
            with start_errors(aside):
                backup = copy(directory, aside, check_cancelled)
            sync_path(aside)
            os.link(aside, destination)  # unlike a rename it never replaces a file
        sync_path(destination.parent)
    except OSError as error:
        raise StorageFailed(f"cannot write {destination}: {error.strerror}") from error
    return backup


@contextmanager
def _claim(aside: Path) -> Iterator[None]:
    """Create an empty file, and remove it at the end. Raises StorageFailed when another process uses it."""
    with suppress(FileNotFoundError), _lock_file(aside, os.O_RDONLY):
        aside.unlink()  # left by an interrupted backup; it may be a second link to a complete one
    with _lock_file(aside, os.O_WRONLY | os.O_CREAT | os.O_EXCL):
        try:
            yield
        finally:
            aside.unlink(missing_ok=True)


@contextmanager
def _lock_file(aside: Path, flags: int) -> Iterator[None]:
    """Open and lock a file. Raises StorageFailed when another process has locked it."""
    fd = os.open(aside, flags | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
    try:
        if not _is_ours(fd, aside):
            raise StorageFailed(f"{aside} is written by another process: wait for it, or choose another name")
        yield
    finally:
        os.close(fd)


def _is_ours(fd: int, aside: Path) -> bool:
    """Lock an open file. Return False if it is locked already or no longer has this name."""
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return os.path.samestat(os.fstat(fd), aside.stat())


def copy(directory: Path, aside: Path, check_cancelled: Callable[[], None]) -> Backup:
    """Copy both files; retry until their snapshots match."""
    for _ in range(ATTEMPTS_MAX):
        with _attach(directory / table.FILE, aside, check_cancelled) as entries:
            entries.executescript(SCHEMA)
            entries.execute("BEGIN")
            mark = table.read_mark(entries)  # starts the snapshot of the table
            with _attach(directory / journal.FILE, aside, check_cancelled) as changes:
                history, _ = journal.read_mark(changes)
                changes.execute(COPY_CHANGES, (mark.revision,))
            count, last, time = entries.execute(
                "SELECT count(*), coalesce(max(revision), 0), coalesce(max(time), 0) FROM backup.changes"
            ).fetchone()
            if count == max(last - mark.revision, int(last > 0)):  # else a later fold let the daemon trim some of them
                entries.execute(COPY_ENTRIES)
                total = mark.entries + _net(entries, mark)
                about = (mark.revision, last, time, total)
                seal = mark_seal(history, *about)
                entries.execute(
                    "INSERT INTO backup.about VALUES (?, ?, ?, ?, ?, ?, ?)", (VERSION, history, *about, seal)
                )
                entries.execute("COMMIT")
                return Backup(last, time, total, aside.stat().st_size)
            entries.rollback()
        os.truncate(aside, 0)
    raise StorageFailed(f"{directory}: the journal was trimmed faster than it could be read: try again")


def _net(db: Connection, mark: table.FoldMark) -> int:
    """Return the change in the number of entries that the changes of a backup make."""
    sql = f"SELECT {journal.NET} FROM backup.changes WHERE {journal.NOT_FOLDED}"  # noqa: S608  # constants
    return int(db.execute(sql, (mark.revision, mark.target_revision, mark.last_key)).fetchone()[0])


@contextmanager
def _attach(path: Path, backup: Path, check_cancelled: Callable[[], None]) -> Iterator[Connection]:
    """Yield a connection to a database with the backup attached. A failed backup is deleted, so it has no journal."""
    with closing(connect(path)) as db:
        db.execute("ATTACH ? AS backup", (os.fsencode(backup),))
        db.execute("PRAGMA backup.journal_mode = OFF")
        db.execute("PRAGMA backup.synchronous = OFF")
        raised = on_progress(db, check_cancelled)
        try:
            yield db
        except sqlite3.OperationalError:
            if raised:
                raise raised[0] from None
            raise


def restore(source: Path, directory: Path) -> Backup:
    """Create a data directory from a backup, with a new history. Raises StorageFailed, Corrupt."""
    if not source.is_file():
        raise StorageFailed(f"{source} is not a file: name a backup that `kvd backup` or BACKUP made")
    restored: list[Backup] = []

    def fill(db: Connection) -> Row | None:
        with start_errors(source):
            db.execute("ATTACH ? AS backup", (os.fsencode(source),))
            db.execute("BEGIN")
            rows, folded, expected = _read_changes(db, source)
            db.execute(RESTORE_ENTRIES)
        for row in rows:
            if row[REVISION] > folded:
                new_directory.apply_change(db, row)
        _check_entries(db)
        (count,) = db.execute("SELECT count(*) FROM main.entry").fetchone()
        if count != expected:
            raise Corrupt(f"{source} is damaged: it has {count} of {expected} entries")
        db.execute("COMMIT")
        db.execute("DETACH backup")
        last = rows[-1] if rows else None
        restored.append(Backup(last[REVISION] if last else 0, last[TIME] if last else 0, count, source.stat().st_size))
        return last

    new_directory.build(directory, fill)
    return restored[0]


def _read_changes(db: Connection, source: Path) -> tuple[list[Row], int, int]:
    """Return the verified changes of a backup, the revision of its entries, and the final number of entries."""
    (version,) = db.execute("SELECT version FROM backup.about").fetchone()
    if version != VERSION:
        raise StorageFailed(f"{source} was made by a newer kvd (format {version}): restore it with that version")
    _, history, folded, last, time, entries, seal = db.execute("SELECT * FROM backup.about").fetchone()
    if not is_mark_whole(seal, history, folded, last, time, entries):
        raise Corrupt(f"{source} is damaged: its description does not match its seal")
    rows = [journal.verify(row) for row in db.execute(READ_CHANGES)]
    if [row[REVISION] for row in rows if row[REVISION] > folded] != list(range(folded + 1, last + 1)):
        raise Corrupt(f"{source} is damaged: changes are missing")
    if (rows[-1][REVISION] if rows else 0) != last:
        raise Corrupt(f"{source} is damaged: its last change has the wrong revision")
    return rows, folded, entries


def _check_entries(db: Connection) -> None:
    """Raise Corrupt unless every entry of the table matches its checksum."""
    for row in db.execute(f"SELECT {table.COLUMNS} FROM main.entry"):  # noqa: S608  # constants
        table.verify(row)
