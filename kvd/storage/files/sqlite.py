"""Connections to SQLite: the library, the pragmas, the schema and the translation of errors."""

import os
import platform
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import Any
from urllib.parse import quote

from sqlite_utils import Database, Migrations
from sqlite_utils.utils import sqlite3

from kvd import native
from kvd.errors import Busy, Corrupt, Full, Internal, NewerDatabase, Refused, StorageFailed, UnfitSQLite
from kvd.limits import BUSY_TIMEOUT_MS

PROGRESS_STEPS = 100_000  # of SQLite's virtual machine: some ms
STRUCTURE = "PRAGMA integrity_check(20)"  # yields one row per inconsistency, or a single row that says ok
PAGE_BYTES = 4096  # SQLite's default
WAL_FRAME_HEAD_BYTES = 24
Connection = Any  # pysqlite3 carries no types

# SQLite 3.7.0 to 3.51.2 can corrupt a WAL database when two connections write or checkpoint at the same
# time, as the loop and the fold do (https://sqlite.org/wal.html#walresetbug; fixed in 3.51.3).
SQLITE_FIXED = (3, 51, 3)
PYSQLITE3_WHEELS = frozenset({("linux", "x86_64")})  # as in pyproject.toml
BUSY, LOCKED, CORRUPT, FULL, CONSTRAINT, NOT_A_DATABASE = 5, 6, 11, 13, 19, 26

# pysqlite3 asks every bytes and every None that it binds for an adapter, and raises two AttributeErrors inside.
# An adapter that returns the same object avoids that. Binding a journal row then takes 2.1 us instead of 4.5.
sqlite3.register_adapter(bytes, bytes)
sqlite3.register_adapter(type(None), {}.get)  # type: ignore[arg-type]  # returns None for None


def check_library() -> None:
    """Raise UnfitSQLite when the library has the WAL-reset bug."""
    if sqlite3.sqlite_version_info < SQLITE_FIXED:
        raise UnfitSQLite(
            f"SQLite {sqlite3.sqlite_version}, the version of {sqlite3.__name__}, can corrupt data "
            f"(WAL-reset bug, fixed in 3.51.3): {_how_to_install_sqlite()}"
        )


def _how_to_install_sqlite() -> str:
    """Return how to install an SQLite without the bug on this platform."""
    if (sys.platform, platform.machine()) in PYSQLITE3_WHEELS:
        return "pip install --upgrade pysqlite3 installs a newer one"
    return (
        f"run a Python with 3.51.3 or newer in its sqlite3 module, or build the package pysqlite3 with one; "
        f"pysqlite3 has no wheel for {sys.platform} on {platform.machine()}. Clients need no SQLite"
    )


def library_path() -> str:
    """Return the path of the extension module that contains SQLite. Raises OSError if it is not a file."""
    module = sys.modules.get(f"{sqlite3.__name__}._sqlite3") or sys.modules.get("_sqlite3")
    path = getattr(module, "__file__", None)
    if path is None:
        raise OSError("SQLite is not loaded from a file")
    return str(path)


def connect_native(connect: Callable[[], Connection]) -> tuple[Connection, int]:
    """Return a new connection and its address in C. The address is 0 in the plain form or if SQLite is not found."""
    if native.module is None:
        return connect(), 0
    try:
        native.module.load_sqlite(library_path())
    except OSError:
        return connect(), 0
    return native.module.connect(connect)  # type: ignore[no-any-return]


def sqlite_error(code: int, sentence: str) -> Exception:
    """Return the error that the sqlite3 module would raise for an error code."""
    kind = sqlite3.IntegrityError if code & 0xFF == CONSTRAINT else sqlite3.OperationalError
    error: Exception = kind(sentence)
    error.sqlite_errorcode, error.sqlite_errorname = code, f"SQLite's code {code}"  # type: ignore[attr-defined]
    return error


def connect(path: Path, *, synchronous: str = "NORMAL") -> Connection:
    """Return a connection in WAL mode. It never checkpoints by itself, and the caller begins its transactions."""
    with start_errors(path, f" `kvd check --repair {path.parent}` keeps what is left"), ExitStack() as undo:
        db = sqlite3.connect(
            str(path),
            isolation_level=None,
            timeout=BUSY_TIMEOUT_MS / 1000,
            check_same_thread=False,
            cached_statements=64,
        )
        undo.callback(db.close)  # now: the exception would keep the connection, and its late close would remove a WAL
        db.execute("PRAGMA journal_mode = WAL")
        db.execute(f"PRAGMA synchronous = {synchronous}")
        db.execute("PRAGMA wal_autocheckpoint = 0")
        db.execute("PRAGMA journal_size_limit = -1")
        undo.pop_all()
    return db


def connect_migrated(path: Path, migrations: Migrations, *, synchronous: str = "NORMAL") -> Connection:
    """Return a connection after creating the schema or bringing it up to date. Raises NewerDatabase too."""
    with ExitStack() as undo:
        db = connect(path, synchronous=synchronous)
        undo.callback(db.close)
        _migrate(db, migrations, path)
        undo.pop_all()
    return db


def connect_read_only(path: Path, *, without_wal: bool = False) -> Connection:
    """Return a connection that changes nothing: closing it leaves the WAL in place.

    While it is open, other connections of this process do not remove the WAL either, because none of them is the last.
    `without_wal` reads the database file alone. SQLite opens the files at the first read.
    """
    with start_errors(path):
        option = "immutable=1" if without_wal else "mode=ro"
        return sqlite3.connect(f"file:{quote(os.fsencode(path))}?{option}", uri=True, isolation_level=None)


def open_files(db: Connection, path: Path) -> None:
    """Make SQLite open the connection's files. Raises StorageFailed when it cannot."""
    with start_errors(path):
        db.execute("PRAGMA schema_version")


def _migrate(db: Connection, migrations: Migrations, path: Path) -> None:
    """Bring the schema up to date. Raises NewerDatabase when a newer version has written it."""
    with start_errors(path):
        database = Database(db, execute_plugins=False)
        known = {migration.name for migration in migrations.applied(database) + migrations.pending(database)}
        ours = {migration.name for migration in migrations._migrations}  # noqa: SLF001  # no public list of names
        newer = sorted(known - ours)
        if newer:
            raise NewerDatabase(
                f"{path} was written by a newer kvd (it has {newer[-1]}): install that version or later"
            )
        migrations.apply(database)


def run_checkpoint(db: Connection, how: str, name: str = "main") -> tuple[int, int]:
    """Checkpoint a database in a mode (NOOP only looks). Return the frames of its WAL, and how many are in the file."""
    _, frames, done = db.execute(f"PRAGMA {name}.wal_checkpoint({how})").fetchone()
    return frames, done


def wal_used(db: Connection) -> int:
    """Return the bytes of a WAL that cannot be reused yet: not checkpointed, or still being read. It takes 5 us."""
    frames, done = run_checkpoint(db, "NOOP")
    return 0 if frames == done else frames * (PAGE_BYTES + WAL_FRAME_HEAD_BYTES)


def on_progress(db: Connection, check_cancelled: Callable[[], None]) -> list[BaseException]:
    """Call `check_cancelled` periodically while statements run.

    When it raises, the statement fails with SQLite's error, and the exception is stored in the returned list.
    """
    raised: list[BaseException] = []

    def progress() -> int:
        try:
            check_cancelled()
        except BaseException as error:  # noqa: BLE001  # SQLite would drop it
            raised.append(error)
        return len(raised)

    db.set_progress_handler(progress, PROGRESS_STEPS)
    return raised


def free_bytes(db: Connection) -> int:
    """Return how many bytes of a database's file are free for reuse. It takes 3 us."""
    return int(db.execute("PRAGMA freelist_count").fetchone()[0]) * PAGE_BYTES


def sync_path(path: Path) -> None:
    """Sync a file, or a directory's list of files. SQLite syncs directories but ignores a failure."""
    fd = os.open(path, os.O_RDONLY)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)


def bytes_of(path: Path) -> int:
    """Return a file's length, or 0 if it does not exist."""
    with suppress(FileNotFoundError):
        return path.stat().st_size
    return 0


@contextmanager
def start_errors(path: Path, advice: str = "") -> Iterator[None]:
    """Translate SQLite's errors to StorageFailed. `advice` is added when the file is damaged."""
    try:
        yield
    except sqlite3.Error as error:
        remedy = f"is it a kvd database, whole and readable?{advice}" if _is_damage(error) else _how_to_open(path)
        raise StorageFailed(f"{path}: {error}; {remedy}") from error


def _is_damage(error: Exception) -> bool:
    """Return whether an error means that a file is damaged or not a database. Only then a repair helps."""
    code = getattr(error, "sqlite_errorcode", 0) & 0xFF
    return isinstance(error, Corrupt) or code in (CORRUPT, NOT_A_DATABASE)


def advice(directory: Path, error: Exception) -> str:
    """Return what to do about a directory that cannot be opened."""
    if _is_damage(error):
        return f"is it a kvd data directory, whole and readable? `kvd check {directory}` reports what is damaged"
    return _how_to_open(directory / "journal.db")


def _how_to_open(path: Path) -> str:
    """Return what to check when a file cannot be opened but may be whole."""
    return f"look at its owner and permissions (ls -l {path.parent}), and at the disk"


@contextmanager
def with_translated_errors() -> Iterator[None]:
    """Translate SQLite's errors to the errors of a running daemon."""
    try:
        yield
    except sqlite3.Error as error:
        raise to_refusal(error) from error


def to_refusal(error: Exception) -> Refused:
    """Return a client's error for one of SQLite's. After an Internal the store must not be used any more."""
    code = getattr(error, "sqlite_errorcode", 0) & 0xFF
    if code == FULL:
        return Full("the disk of the data directory is full: CLEAR and COMPACT, or free disk space")
    if code in (BUSY, LOCKED):
        return Busy(f"another program holds the database for more than {BUSY_TIMEOUT_MS} ms: try again")
    if code in (CORRUPT, NOT_A_DATABASE):
        return Corrupt(f"the database is damaged: {error}")
    return Internal(f"the storage failed: {error} ({getattr(error, 'sqlite_errorname', type(error).__name__)})")
