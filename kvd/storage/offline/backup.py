"""Backups: one SQLite file with the entries of one commit, made beside a daemon that writes; and what is made of it.

A backup is the table as it was folded, and the journal's changes after that: both read in snapshots, so it is a
real commit point. Rows keep their checksums.
"""

import fcntl
import os
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager, suppress
from pathlib import Path
from typing import NamedTuple

from sqlite_utils.utils import sqlite3

from kvd.commands.model import Milliseconds, Row
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
    """What a backup holds: the revision and time (Unix ms) of its last change, how many entries, its bytes."""

    revision: int
    time: Milliseconds
    entries: int
    bytes: int


def back_up(directory: Path, destination: Path, check_cancelled: Callable[[], None]) -> Backup:
    """Copy a data directory, in use or not, into one file; it has its name when it is whole and durable.

    `breathe` is called now and then; when it raises, so does this, and the file is not there. Raises StorageFailed.
    """
    aside = destination.with_name(destination.name + PARTIAL)
    try:
        if destination.exists():
            raise StorageFailed(f"{destination} is there already: choose another name, or move it away")
        if destination.suffix == PARTIAL:
            raise StorageFailed(
                f"{destination}: what ends in {PARTIAL} is a backup that is not whole: choose another name"
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
    """Make an empty file that is ours until it is removed at the end. Raises StorageFailed when it is another's."""
    with suppress(FileNotFoundError), _lock_file(aside, os.O_RDONLY):
        aside.unlink()  # of one that was interrupted; it may be the same file as a backup that has its name
    with _lock_file(aside, os.O_WRONLY | os.O_CREAT | os.O_EXCL):
        try:
            yield
        finally:
            aside.unlink(missing_ok=True)


@contextmanager
def _lock_file(aside: Path, flags: int) -> Iterator[None]:
    """Hold a file that has this name. Raises StorageFailed when another process does."""
    fd = os.open(aside, flags | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
    try:
        if not _is_ours(fd, aside):
            raise StorageFailed(f"{aside} is written by another process: wait for it, or choose another name")
        yield
    finally:
        os.close(fd)


def _is_ours(fd: int, aside: Path) -> bool:
    """Lock an open file; return whether that went well, and it still has this name."""
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return os.path.samestat(os.fstat(fd), aside.stat())


def copy(directory: Path, aside: Path, breathe: Callable[[], None]) -> Backup:
    """Copy until both files were caught at moments that fit together."""
    for _ in range(ATTEMPTS_MAX):
        with _attach(directory / table.FILE, aside, breathe) as entries:
            entries.executescript(SCHEMA)
            entries.execute("BEGIN")
            mark = table.read_mark(entries)  # from here on the table stands still for us
            with _attach(directory / journal.FILE, aside, breathe) as changes:
                history, _ = journal.read_mark(changes)
                changes.execute(COPY_CHANGES, (mark.revision,))
            count, last, time = entries.execute(
                "SELECT count(*), coalesce(max(revision), 0), coalesce(max(time), 0) FROM backup.changes"
            ).fetchone()
            if count == max(last - mark.revision, int(last > 0)):  # else changes were trimmed that a later fold has
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
    """Return how many more entries there are after the changes of a backup than the table had."""
    sql = f"SELECT {journal.NET} FROM backup.changes WHERE {journal.NOT_FOLDED}"  # noqa: S608  # constants
    return int(db.execute(sql, (mark.revision, mark.target_revision, mark.last_key)).fetchone()[0])


@contextmanager
def _attach(path: Path, backup: Path, breathe: Callable[[], None]) -> Iterator[Connection]:
    """Give a connection to a database with a backup beside it, not journaled: it is thrown away if it fails."""
    with closing(connect(path)) as db:
        db.execute("ATTACH ? AS backup", (os.fsencode(backup),))
        db.execute("PRAGMA backup.journal_mode = OFF")
        db.execute("PRAGMA backup.synchronous = OFF")
        raised = on_progress(db, breathe)
        try:
            yield db
        except sqlite3.OperationalError:
            if raised:
                raise raised[0] from None
            raise


def restore(source: Path, directory: Path) -> Backup:
    """Make a data directory of a backup, with a history of its own. Raises StorageFailed, Corrupt."""
    if not source.is_file():
        raise StorageFailed(f"{source} is not a file: name a backup that `kvd backup` or BACKUP made")
    found: list[Backup] = []

    def fill(db: Connection) -> Row | None:
        with start_errors(source):
            db.execute("ATTACH ? AS backup", (os.fsencode(source),))
            db.execute("BEGIN")
            rows, folded, expected = _read_changes(db, source)
            db.execute(RESTORE_ENTRIES)
        for row in rows:
            if row[0] > folded:
                new_directory.take_change(db, row)
        _check_entries(db)
        (count,) = db.execute("SELECT count(*) FROM main.entry").fetchone()
        if count != expected:
            raise Corrupt(f"{source} is damaged: {count} of {expected} entries are there")
        db.execute("COMMIT")
        db.execute("DETACH backup")
        last = rows[-1] if rows else None
        found.append(Backup(last[0] if last else 0, last[7] if last else 0, count, source.stat().st_size))
        return last

    new_directory.build(directory, fill)
    return found[0]


def _read_changes(db: Connection, source: Path) -> tuple[list[Row], int, int]:
    """Return the changes of a backup, checked; the revision that its entries reflect; how many there are in the end."""
    (version,) = db.execute("SELECT version FROM backup.about").fetchone()
    if version != VERSION:
        raise StorageFailed(f"{source} was made by a newer kvd (format {version}): restore it with that version")
    _, history, folded, last, time, entries, seal = db.execute("SELECT * FROM backup.about").fetchone()
    if not is_mark_whole(seal, history, folded, last, time, entries):
        raise Corrupt(f"{source} is damaged: what it says of itself is not what was written")
    rows = [journal.verify(row) for row in db.execute(READ_CHANGES)]
    if [row[0] for row in rows if row[0] > folded] != list(range(folded + 1, last + 1)):
        raise Corrupt(f"{source} is damaged: changes are missing")
    if (rows[-1][0] if rows else 0) != last:
        raise Corrupt(f"{source} is damaged: its last change is not the one it should be")
    return rows, folded, entries


def _check_entries(db: Connection) -> None:
    """Raise Corrupt unless every entry of a table is whole."""
    for row in db.execute(f"SELECT {table.COLUMNS} FROM main.entry"):  # noqa: S608  # constants
        table.verify(row)
