"""The table: the current entry of each key, as the loop reads it. Only the fold writes to it (see fold.py)."""

from collections.abc import Iterator, Sequence
from contextlib import closing
from functools import partial
from itertools import takewhile
from pathlib import Path
from typing import Any, NamedTuple
from zlib import crc32

from sqlite_utils import Database, Migrations
from sqlite_utils.utils import sqlite3

from kvd import native
from kvd.commands.model import SET, Entry, EntryMeta, Milliseconds, Sized, Span, prefix_end
from kvd.errors import Corrupt
from kvd.storage.files.checksum import is_whole, is_whole_head, mark_seal
from kvd.storage.files.sqlite import Connection, connect_migrated, connect_native, free_bytes
from kvd.storage.memory.key_cache import KeyCache, PlainKeyCache

FILE = "table.db"
MIGRATIONS = Migrations("kvd.table")

COLUMNS = "key, value, revision, created, expires, head, checksum"
HEAD_COLUMNS = "key, revision, created, expires, head"
SIZE_COLUMNS = f"{HEAD_COLUMNS}, length(value)"  # of a blob SQLite reads the length from the row's head
SELECT = f"SELECT {COLUMNS} FROM entry WHERE key = ?"  # noqa: S608  # 5-7 us
SELECT_LAST = f"SELECT {HEAD_COLUMNS} FROM entry ORDER BY key DESC LIMIT 1"  # noqa: S608
MANY = 100
SMALL_BYTES = 4096
SELECT_MANY = (
    "SELECT key, CASE WHEN length(value) <= ? THEN value END, revision, created, expires, head, checksum"  # noqa: S608
    f" FROM entry WHERE key IN ({', '.join('?' * MANY)})"
)
# A walk has one bound in SQL and checks the other in Python. To compare a key with a second bound SQLite would read
# the whole row (0.3 ms for a value of 1 MB instead of 2 us).
SCAN_UP = "SELECT {} FROM entry WHERE key >= ? ORDER BY key"
SCAN_DOWN = "SELECT {} FROM entry WHERE key < ? ORDER BY key DESC"
SCAN_ALL_DOWN = "SELECT {} FROM entry WHERE ? IS NULL ORDER BY key DESC"
COUNT_FROM = "SELECT count(*) FROM entry WHERE key >= ?"
COUNT_SPAN = "SELECT count(*) FROM entry WHERE key >= ? AND key < ?"
# The index contains only entries that expire, the earliest first.
DUE = "SELECT expires, key FROM entry WHERE expires <= ? AND (expires, key) > (?, ?) ORDER BY expires, key"
SELECT_HEAD = f"SELECT {HEAD_COLUMNS} FROM entry WHERE key = ?"  # noqa: S608


@MIGRATIONS()
def m001_table(db: Database) -> None:
    """Create the first schema. The value is the last column: the other columns are read without its pages.

    The schema decides what happens on a conflict. If a statement decided it (ON CONFLICT DO UPDATE, or NOT NULL's own
    ABORT), SQLite would keep a copy of each page that it touches, to undo the statement (250 MB for 10 M keys).
    """
    whole = "NOT NULL ON CONFLICT ROLLBACK"
    db.execute(
        f"CREATE TABLE entry(key BLOB {whole} PRIMARY KEY ON CONFLICT REPLACE, revision INTEGER {whole},"
        f" created INTEGER {whole}, expires INTEGER, head INTEGER {whole}, checksum INTEGER {whole},"
        f" value BLOB {whole}) WITHOUT ROWID"
    )
    db.execute("CREATE INDEX entry_expires ON entry(expires) WHERE expires IS NOT NULL")
    db.execute(
        "CREATE TABLE fold(history TEXT NOT NULL, revision INTEGER NOT NULL, entries INTEGER NOT NULL,"
        " upto INTEGER NOT NULL, through BLOB NOT NULL, seal INTEGER NOT NULL)"
    )
    db.execute("INSERT INTO fold VALUES ('', 0, 0, 0, x'', ?)", (_seal_of("", 0, 0, 0, b""),))


class FoldMark(NamedTuple):
    """How far the journal is folded into the table: the number of entries, and the revision.

    During a fold, the keys up to `last_key` are folded up to `target_revision`. Otherwise `target_revision` equals
    `revision`, and `last_key` is empty.
    """

    history: str
    revision: int
    entries: int
    target_revision: int
    last_key: bytes

    def covers(self, revision: int, key: bytes) -> bool:
        return revision <= self.revision or (revision <= self.target_revision and key <= self.last_key)


class Table:
    """The loop's connection to the table."""

    def __init__(self, directory: Path) -> None:
        self.path = directory / FILE
        self.db: Connection
        self.db, address = connect_native(partial(connect_migrated, self.path, MIGRATIONS))
        self.compiled = native.module.Table(address, SELECT) if address else None

    def mark(self) -> FoldMark:
        return read_mark(self.db)

    def adopt(self, history: str) -> None:
        """Assign a new table to a journal."""
        write_mark(self.db, FoldMark(history, 0, 0, 0, b""))

    def get(self, key: bytes) -> Entry | None:
        """Return the entry of a key. Raises Corrupt when it is damaged."""
        row = self.db.execute(SELECT, (key,)).fetchone()
        return None if row is None else verify(row)

    def meta(self, key: bytes) -> EntryMeta | None:
        """Return the entry of a key without reading its value. Raises Corrupt when it is damaged."""
        row = self.db.execute(SELECT_HEAD, (key,)).fetchone()
        return None if row is None else _verify_meta(row)

    def read_into(self, cache: KeyCache, keys: list[bytes]) -> None:
        """Insert the entries of keys into the cache, except large values. Raises Corrupt."""
        if self.compiled is None or isinstance(cache, PlainKeyCache) or not self._read_compiled(cache, keys):
            cache.insert(self.get_many(keys))

    def _read_compiled(self, cache: KeyCache, keys: list[bytes]) -> bool:
        """Read keys in C; return False when a row is damaged. 2.7 us a key, or 4.2 with a transaction for each."""
        self.db.execute("BEGIN")
        try:
            return self.compiled.read(keys, cache, SMALL_BYTES)  # type: ignore[no-any-return, union-attr]
        finally:
            self.db.rollback()  # it only read

    def get_many(self, keys: Sequence[bytes]) -> dict[bytes, Entry | None]:
        """Return the entries of keys, None for a key without one. Keys with large values are left out.

        One statement reads 100 keys. (2.5 us a key in order and 7 at random, instead of 6.5 and 10.)
        """
        entries: dict[bytes, Entry | None] = dict.fromkeys(keys)
        for start in range(0, len(keys), MANY):
            some = keys[start : start + MANY]
            padded = [*some, *[some[-1]] * (MANY - len(some))]
            for row in self.db.execute(SELECT_MANY, (SMALL_BYTES, *padded)):
                if row[1] is None:
                    entries.pop(row[0], None)  # a key that is listed twice may come again
                else:
                    entries[row[0]] = verify(row)
        return entries

    def scan(self, span: Span) -> Iterator[Entry]:
        """Yield the entries of a span, in its order, as the table is at the first one."""
        return map(verify, self.walk(COLUMNS, span))

    def metas(self, span: Span) -> Iterator[EntryMeta]:
        """Yield the entries as `scan` does, without reading their values."""
        return map(_verify_meta, self.walk(HEAD_COLUMNS, span))

    def sizes(self, span: Span) -> Iterator[Sized]:
        """Yield the entries as `metas` does, with the sizes of their values."""
        return map(_verify_size, self.walk(SIZE_COLUMNS, span))

    def walk(self, columns: str, span: Span) -> Iterator[Any]:
        """Yield the rows of a span, in its order. The key is the first column."""
        start, end, is_reverse = span
        if is_reverse:
            sql, bound = SCAN_ALL_DOWN if end is None else SCAN_DOWN, end
        else:
            sql, bound = SCAN_UP, start
        with closing(self.db.execute(sql.format(columns), (bound,))) as cursor:
            if is_reverse:
                # A damaged key of another type sorts before all bytes. The caller's checksum reports it.
                yield from takewhile(lambda row: type(row[0]) is not bytes or row[0] >= start, cursor)
            elif end is not None:
                yield from takewhile(lambda row: row[0] < end, cursor)
            else:
                yield from cursor

    def count(self, prefix: bytes) -> tuple[int, FoldMark]:
        """Return how many keys begin with the prefix, and the mark at that moment."""
        end = prefix_end(prefix)
        sql, span = (COUNT_FROM, (prefix,)) if end is None else (COUNT_SPAN, (prefix, end))
        self.db.execute("BEGIN")
        try:
            return int(self.db.execute(sql, span).fetchone()[0]), self.mark()
        finally:
            self.db.rollback()  # it only read; unlike COMMIT it works after an error too

    def upper_bound(self) -> bytes | None:
        """Return the smallest key above all keys of the table; None when the last key is damaged."""
        try:
            last = self.db.execute(SELECT_LAST).fetchone()
            return b"" if last is None else _verify_meta(last).key + b"\0"
        except (Corrupt, sqlite3.Error):
            return None

    def due(self, now: Milliseconds, after: tuple[Milliseconds, bytes]) -> Iterator[tuple[Milliseconds, bytes]]:
        """Yield expiry and key of the entries that are due and come behind `after`, the longest due first."""
        with closing(self.db.execute(DUE, (now, *after))) as cursor:
            yield from cursor

    def free_bytes(self) -> int:
        """Return how many bytes of the file are free for reuse."""
        return free_bytes(self.db)

    def close(self) -> None:
        if self.compiled is not None:
            self.compiled.close()
        self.db.close()


def read_mark(db: Connection) -> FoldMark:
    """Return the mark of a table. Raises Corrupt."""
    *mark, seal = db.execute("SELECT history, revision, entries, upto, through, seal FROM fold").fetchone()
    try:
        is_intact = _seal_of(*mark) == seal
    except (TypeError, AttributeError):
        is_intact = False
    if not is_intact:
        raise Corrupt("the mark of the table is damaged on disk")
    return FoldMark(*mark)


def write_mark(db: Connection, mark: FoldMark) -> None:
    db.execute(
        "UPDATE fold SET history = ?, revision = ?, entries = ?, upto = ?, through = ?, seal = ?",
        (*mark, _seal_of(*mark)),
    )


def _seal_of(history: str, revision: int, entries: int, upto: int, through: bytes) -> int:
    return mark_seal(history, revision, entries, upto, crc32(through))


def verify(row: tuple[bytes, bytes, int, int, int | None, int, int]) -> Entry:
    """Return the entry in a row. Raises Corrupt when the checksums do not match."""
    key, value, revision, created, expires, head, entry = row
    if not is_whole(head, entry, revision, SET, key, value, created, expires):
        raise _corrupt_entry(key)
    return Entry(key, revision, created, expires, value)


def _verify_meta(row: tuple[bytes, int, int, int | None, int]) -> EntryMeta:
    """Return the entry in a row without a value. Raises Corrupt when the checksum does not match."""
    key, revision, created, expires, head = row
    if not is_whole_head(head, revision, SET, key, created, expires):
        raise _corrupt_entry(key)
    return EntryMeta(key, revision, created, expires)


def _verify_size(row: tuple[bytes, int, int, int | None, int, int]) -> Sized:
    """Return the entry in a row with the size of the value. Raises Corrupt as `_verify_meta` does."""
    *head, size = row
    meta = _verify_meta(tuple(head))  # type: ignore[arg-type]  # of the same columns
    return Sized(meta.key, meta.revision, meta.created, meta.expires, size)


def _corrupt_entry(key: bytes) -> Corrupt:
    return Corrupt("the entry of this key is damaged on disk", key=key)
