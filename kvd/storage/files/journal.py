"""The journal: the durable list of changes, in order. It is the source of truth; the table is derived from it.

A commit appends rows at the end of one B-tree, so it dirties one or two pages regardless of the keys.
"""

import os
from collections.abc import Iterator
from contextlib import closing
from functools import partial
from itertools import islice
from pathlib import Path
from typing import Any, NamedTuple

from sqlite_utils import Database, Migrations

from kvd import native
from kvd.commands.model import KEY, REVISION, TIME, VALUE, Change, OnceRecord, Row, change_of, prefix_end
from kvd.errors import Corrupt
from kvd.limits import CHANGES_ROWS_MAX, INTEGER_MAX, MIB, REPLY_BYTES_MAX, WAL_PRESIZED_BYTES
from kvd.storage.files.checksum import (
    checksum,
    head_checksum,
    is_mark_whole,
    is_sealed,
    is_whole,
    mark_seal,
    seal,
    token_checksum,
)
from kvd.storage.files.sqlite import (
    Connection,
    connect_migrated,
    connect_native,
    free_bytes,
    run_checkpoint,
    sqlite_error,
    wal_used,
)

FILE = "journal.db"
MIGRATIONS = Migrations("kvd.journal")

COLUMNS = "revision, kind, key, value, previous, created, expires, time, head, checksum, seal"
INSERT_ROW = f"INSERT INTO journal({COLUMNS}) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)"  # noqa: S608  # constants
TOKEN_COLUMNS = "token, digest, revision, result, time, checksum"  # noqa: S105
INSERT_TOKEN = f"INSERT INTO once(id, {TOKEN_COLUMNS}) VALUES (?, ?, ?, ?, ?, ?, ?)"  # noqa: S608  # constants
SELECT_TOKEN = f"SELECT {TOKEN_COLUMNS} FROM once WHERE id = ?"  # noqa: S608  # constants
NEW_HISTORY = "SELECT lower(hex(randomblob(8)))"
SELECT_ROWS = f"SELECT {COLUMNS} FROM journal"  # noqa: S608  # constants
SELECT_BETWEEN = f"{SELECT_ROWS} WHERE revision > ? AND revision <= ? ORDER BY revision"
# A bounded walk along the primary key: 0.3 us a row that does not match, 2 us one that does.
SELECT_SPAN = f"{SELECT_ROWS} WHERE revision > ? AND revision <= ? AND key >= ? ORDER BY revision"
SELECT_SPAN_TO = f"{SELECT_ROWS} WHERE revision > ? AND revision <= ? AND key >= ? AND key < ? ORDER BY revision"

# A SET (kind 1) without a previous revision adds a key; any other kind removes one.
NET = "coalesce(sum(CASE WHEN kind <> 1 THEN -1 WHEN previous = 0 THEN 1 ELSE 0 END), 0)"
# The changes that are not in the table. The parameters are the mark's revision, target revision and last key.
NOT_FOLDED = "revision > ? AND NOT (revision <= ? AND key <= ?)"
NET_COUNT = f"SELECT {NET} FROM journal WHERE {NOT_FOLDED} AND key >= ?"  # noqa: S608  # constants

# How much a start reads at a time.
PORTION_ROWS = 10_000
PORTION_BYTES = 16 * MIB


@MIGRATIONS()
def m001_journal(db: Database) -> None:
    """Create the first schema. The value is the last column: the other columns are read without its pages."""
    db.execute(
        "CREATE TABLE journal(revision INTEGER PRIMARY KEY, kind INTEGER NOT NULL, key BLOB NOT NULL,"
        " previous INTEGER NOT NULL, created INTEGER NOT NULL, expires INTEGER, time INTEGER NOT NULL,"
        " head INTEGER NOT NULL, checksum INTEGER NOT NULL, seal INTEGER NOT NULL, value BLOB)"
    )
    db.execute(
        "CREATE TABLE once(id INTEGER PRIMARY KEY, token BLOB NOT NULL, digest BLOB NOT NULL,"
        " revision INTEGER NOT NULL, result BLOB NOT NULL, time INTEGER NOT NULL, checksum INTEGER NOT NULL)"
    )
    db.execute("CREATE TABLE head(history TEXT NOT NULL, compacted INTEGER NOT NULL, seal INTEGER NOT NULL)")
    (history,) = db.execute(NEW_HISTORY).fetchone()
    db.execute("INSERT INTO head VALUES (?, 0, ?)", (history, mark_seal(history, 0)))


class JournalState(NamedTuple):
    """The state of the journal at the start: its history, and its range of revisions."""

    history: str
    compacted: int
    first: int
    last: int
    time: int


class Journal:
    """The loop's connection to the journal."""

    def __init__(self, directory: Path, *, synchronous: str, wal_bytes: int | None = None) -> None:
        """`wal_bytes` limits the initial length of the WAL to less than WAL_PRESIZED_BYTES."""
        self.wal_bytes = WAL_PRESIZED_BYTES if wal_bytes is None else min(wal_bytes, WAL_PRESIZED_BYTES)
        self.path = directory / FILE
        self.wal = directory / f"{FILE}-wal"
        if not self.path.exists():
            with closing(connect_migrated(self.path, MIGRATIONS)) as db:
                run_checkpoint(db, "TRUNCATE")  # closing would checkpoint too, but hide a failed fsync
        self.presize_wal()
        self.db: Connection
        self.db, address = connect_native(partial(connect_migrated, self.path, MIGRATIONS, synchronous=synchronous))
        self.rows = rows_of(self.db, address)

    def presize_wal(self) -> None:
        """Create the WAL at its full length before SQLite opens it; SQLite ignores zeros.

        A growing file costs a metadata write at each fsync. It must contain real zeros; fallocate is as slow as
        growing. No other process may have the file open. (3.9 k lone commits a second without it, 8.5 k with it.)
        """
        if self.wal.exists() and self.wal.stat().st_size:
            return
        with self.wal.open("wb", buffering=0) as file:
            block = bytes(1 << 20)
            for place in range(0, self.wal_bytes, len(block)):
                file.write(block[: self.wal_bytes - place])
            os.fsync(file.fileno())

    def read_state(self) -> JournalState:
        history, compacted = read_mark(self.db)
        self.history = history
        first, last = self.db.execute(
            "SELECT (SELECT min(revision) FROM journal), (SELECT max(revision) FROM journal)"
        ).fetchone()
        if last is None:
            return JournalState(history, compacted, 1, 0, 0)
        # The row is verified because its time is the lower bound of the daemon's clock.
        row = verify(self.db.execute(f"{SELECT_ROWS} WHERE revision = ?", (last,)).fetchone())
        return JournalState(history, compacted, first, last, row[TIME])

    def append(
        self, rows: list[Row], tokens: list[tuple[int, OnceRecord]], compacted: int | None, trim: int | None
    ) -> None:
        """Commit rows, tokens, a compaction and the trimming of rows up to a revision: all or nothing, and durable.

        Raises `sqlite3.Error`. Nothing is committed then, unless the sync failed.
        """
        execute = self.db.execute
        execute("BEGIN IMMEDIATE")
        try:
            self.rows.append(rows)
            if tokens:
                kept = [(number, *record, token_checksum(*record)) for number, record in tokens]
                self.db.executemany(INSERT_TOKEN, kept)
            if compacted is not None:
                execute("UPDATE head SET compacted = ?, seal = ?", (compacted, mark_seal(self.history, compacted)))
            if trim is not None:
                execute("DELETE FROM journal WHERE revision <= ?", (trim,))
            execute("COMMIT")
        except BaseException:
            if self.db.in_transaction:
                execute("ROLLBACK")
            raise

    def trim(self, upto: int) -> bool:
        """Delete the rows up to a revision in a commit of its own. Always returns True."""
        self.append([], [], None, upto)
        return True

    def probe_write(self) -> None:
        """Begin a write transaction and roll it back. Raises sqlite3.Error when the journal is not writable."""
        self.db.execute("BEGIN IMMEDIATE")
        self.db.execute("ROLLBACK")

    def chunks_after(self, revision: int) -> Iterator[list[Row]]:
        """Yield all rows after a revision, verified, in chunks."""
        while rows := self.rows.between(revision, INTEGER_MAX, PORTION_ROWS, PORTION_BYTES):
            yield rows
            revision = rows[-1][REVISION]

    def changes(self, since: int, head: int, prefix: bytes, limit: int) -> tuple[int, list[Change]]:
        """Return the matching changes after `since`, and the revision up to which they are complete.

        The number of changes, bytes and examined rows is bounded, because all other requests wait meanwhile.
        """
        upto = min(head, since + CHANGES_ROWS_MAX)
        if not prefix:
            rows = self.rows.between(since, upto, limit, REPLY_BYTES_MAX)
            _check_contiguous(rows, since, upto)
            return rows[-1][REVISION] if rows else upto, list(map(change_of, rows))
        end = prefix_end(prefix)
        span = (since, upto, prefix) if end is None else (since, upto, prefix, end)
        changes: list[Change] = []
        size = 0
        with closing(self.db.execute(SELECT_SPAN if end is None else SELECT_SPAN_TO, span)) as cursor:
            for row in cursor:
                change = change_of(verify(row))
                size += len(change.key) + len(change.value or b"")
                if len(changes) == limit or (changes and size > REPLY_BYTES_MAX):
                    return changes[-1].revision, changes
                changes.append(change)
        return upto, changes

    def net_count(self, revision: int, upto: int, through: bytes, prefix: bytes) -> int:
        """Return the change in the number of keys with this prefix since the given fold mark."""
        end = prefix_end(prefix)
        span = (revision, upto, through, prefix)
        if end is None:
            return int(self.db.execute(NET_COUNT, span).fetchone()[0])
        return int(self.db.execute(f"{NET_COUNT} AND key < ?", (*span, end)).fetchone()[0])

    def last(self) -> int:
        return int(self.db.execute("SELECT coalesce(max(revision), 0) FROM journal").fetchone()[0])

    def tokens_after(self, time: int) -> dict[bytes, tuple[int, int]]:
        """Return the id and time of each token that is younger than `time`, oldest first."""
        rows = self.db.execute(
            "SELECT token, max(id), time FROM once WHERE time > ? GROUP BY token ORDER BY 2", (time,)
        )
        return {token: (number, at) for token, number, at in rows}

    def next_token(self) -> int:
        """Return an id that no stored token has."""
        return int(self.db.execute("SELECT coalesce(max(id), 0) + 1 FROM once").fetchone()[0])

    def find_once(self, number: int) -> OnceRecord:
        """Return one row of `once`. Raises Corrupt."""
        return verify_token(self.db.execute(SELECT_TOKEN, (number,)).fetchone())

    def delete_tokens(self, below: int) -> None:
        """Delete the tokens with ids below `below`, once there are enough to be worth a commit."""
        (count,) = self.db.execute(
            "SELECT count(*) FROM (SELECT 1 FROM once WHERE id < ? LIMIT 1000)", (below,)
        ).fetchone()
        if count == 1000:  # noqa: PLR2004  # as in the line before
            self.db.execute("DELETE FROM once WHERE id < ?", (below,))

    def used_bytes(self) -> int:
        pages, free, size = (
            self.db.execute(f"PRAGMA {name}").fetchone()[0] for name in ("page_count", "freelist_count", "page_size")
        )
        return int((pages - free) * size)

    def free_bytes(self) -> int:
        """Return how many bytes of the file are free for reuse."""
        return free_bytes(self.db)

    def wal_used(self) -> int:
        """Return the bytes of the WAL that cannot be overwritten yet: not checkpointed, or still being read."""
        return wal_used(self.db)

    def finish_checkpoint(self) -> bool:
        """Checkpoint the rest of the WAL. Return whether the next commit can reuse the WAL from its start."""
        frames, done = run_checkpoint(self.db, "PASSIVE")
        return frames == done

    def close(self) -> None:
        self.rows.close()
        self.db.close()


class PlainRows:
    """Inserts and reads rows through Python's SQLite module: the plain form."""

    def __init__(self, db: Connection) -> None:
        self.db = db

    def append(self, rows: list[Row]) -> None:
        """Insert rows. Raises `sqlite3.Error`."""
        self.db.executemany(INSERT_ROW, map(with_checksums, rows))

    def between(self, since: int, upto: int, count_max: int, bytes_max: int) -> list[Row]:
        """Return rows after a revision in order, at least one if there is any. Raises Corrupt, `sqlite3.Error`."""
        rows: list[Row] = []
        size = 0
        with closing(self.db.execute(SELECT_BETWEEN, (since, upto))) as cursor:
            for row in islice(cursor, count_max):
                whole = verify(row)
                size += len(whole[KEY]) + len(whole[VALUE] or b"")
                if rows and size > bytes_max:
                    break
                rows.append(whole)
        return rows

    def close(self) -> None:
        """Release the statements. The plain form has none."""


class CompiledRows(PlainRows):
    """Inserts and reads rows in C (native/journal.c). The plain form reads a damaged row again to raise its error."""

    def __init__(self, db: Connection, address: int) -> None:
        super().__init__(db)
        self.rows = native.module.Rows(address, INSERT_ROW, SELECT_BETWEEN)

    def append(self, rows: list[Row]) -> None:
        if failure := self.rows.append(rows):
            raise sqlite_error(*failure)

    def between(self, since: int, upto: int, count_max: int, bytes_max: int) -> list[Row]:
        rows = self.rows.between(since, upto, count_max, bytes_max)
        if type(rows) is tuple:
            raise sqlite_error(*rows)
        return super().between(since, upto, count_max, bytes_max) if rows and rows[-1] is None else rows

    def close(self) -> None:
        self.rows.close()


def rows_of(db: Connection, address: int) -> PlainRows:
    """Return rows over a connection: compiled if it has an address, else plain."""
    return CompiledRows(db, address) if address else PlainRows(db)


def read_mark(db: Connection) -> tuple[str, int]:
    """Return the history's id, and the revision up to which changes are compacted. Raises Corrupt."""
    history, compacted, seal = db.execute("SELECT history, compacted, seal FROM head").fetchone()
    if not is_mark_whole(seal, history, compacted):
        raise Corrupt("the head of the journal is damaged on disk")
    return history, compacted


def _check_contiguous(rows: list[Row], since: int, upto: int) -> None:
    """Raise Corrupt when a revision is missing between `since` and the last row.

    A damaged page may hide rows from a search.
    """
    if rows and (rows[0][REVISION], rows[-1][REVISION]) == (since + 1, since + len(rows)):
        return
    if rows or since < upto:
        raise Corrupt(f"changes after revision {since} are missing on disk", revision=since + 1)


def with_checksums(row: Row) -> tuple[Any, ...]:
    """Return a row as it is written: with the checksums of its entry and the seal of the other columns."""
    revision, kind, key, value, previous, created, expires, time = row
    head = head_checksum(revision, kind, key, created, expires)
    entry = checksum(head, value)
    return (*row, head, entry, seal(entry, previous, time))


def verify_token(row: tuple[Any, ...]) -> OnceRecord:
    """Return the record in a row of `once`. Raises Corrupt when its checksum does not match."""
    *record, stored = row
    try:
        is_intact = token_checksum(*record) == stored
    except TypeError:
        is_intact = False
    if not is_intact:
        raise Corrupt("the record of a token of ONCE is damaged on disk", token=bytes(record[0]))
    return OnceRecord(*record)


def verify(row: tuple[Any, ...]) -> Row:
    """Return a row from disk without checksums and seal. Raises Corrupt when they do not match."""
    revision, kind, key, value, previous, created, expires, time, head, entry, stored_seal = row
    is_entry_whole = is_whole(head, entry, revision, kind, key, value, created, expires)
    if not (is_entry_whole and is_sealed(stored_seal, entry, previous, time)):
        raise Corrupt(f"the change of revision {revision} is damaged on disk", revision=revision)
    return row[:-3]
