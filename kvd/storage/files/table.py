"""The table: the current entry of each key, as the loop reads it. Only the fold writes it (see fold.py)."""

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
# A walk has one bound in SQL and ends in Python. To compare a key with a second bound SQLite reads the whole row:
# 0.3 ms for a value of 1 MB, instead of 2 us.
SCAN_UP = "SELECT {} FROM entry WHERE key >= ? ORDER BY key"
SCAN_DOWN = "SELECT {} FROM entry WHERE key < ? ORDER BY key DESC"
SCAN_ALL_DOWN = "SELECT {} FROM entry WHERE ? IS NULL ORDER BY key DESC"
COUNT_FROM = "SELECT count(*) FROM entry WHERE key >= ?"
COUNT_SPAN = "SELECT count(*) FROM entry WHERE key >= ? AND key < ?"
# Only entries that expire are in this index, the first to go first.
DUE = "SELECT expires, key FROM entry WHERE expires <= ? AND (expires, key) > (?, ?) ORDER BY expires, key"
SELECT_HEAD = f"SELECT {HEAD_COLUMNS} FROM entry WHERE key = ?"  # noqa: S608


@MIGRATIONS()
def m001_table(db: Database) -> None:
    """Make the first schema. Values come last: what is before them is read without their pages.

    What happens on a conflict is said here, for a statement that says it (ON CONFLICT DO UPDATE, or NOT NULL's own
    ABORT) keeps a copy in memory of each page it touches, to undo itself: 250 MB in a fold of 10 M keys.
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
    """What the table says of itself: how many entries it has, and up to which revision the journal is folded into it.

    While a fold goes on, the keys up to `through` are folded up to the revision `upto`; else that is the same revision,
    and `through` is empty.
    """

    history: str
    revision: int
    entries: int
    target_revision: int
    last_key: bytes

    def covers(self, revision: int, key: bytes) -> bool:
        """Return whether a change is folded."""
        return revision <= self.revision or (revision <= self.target_revision and key <= self.last_key)


class Table:
    """The loop's connection to the table."""

    def __init__(self, directory: Path) -> None:
        self.path = directory / FILE
        self.db: Connection
        self.db, address = connect_native(partial(connect_migrated, self.path, MIGRATIONS))
        self.compiled = native.module.Table(address, SELECT) if address else None

    def mark(self) -> FoldMark:
        """Return how far the fold has come."""
        return read_mark(self.db)

    def adopt(self, history: str) -> None:
        """Tie a new table to its journal."""
        write_mark(self.db, FoldMark(history, 0, 0, 0, b""))

    def get(self, key: bytes) -> Entry | None:
        """Return the entry of a key; raises Corrupt when it is damaged."""
        row = self.db.execute(SELECT, (key,)).fetchone()
        return None if row is None else verify(row)

    def meta(self, key: bytes) -> EntryMeta | None:
        """Return the entry of a key without its value, which is not read; raises Corrupt when it is damaged."""
        row = self.db.execute(SELECT_HEAD, (key,)).fetchone()
        return None if row is None else _verify_meta(row)

    def read_into(self, known: KeyCache, keys: list[bytes]) -> None:
        """Take what the table says of keys into what is known, but large values. Raises Corrupt."""
        if self.compiled is None or isinstance(known, PlainKeyCache) or not self.is_read(known, keys):
            known.insert(self.get_many(keys))

    def is_read(self, known: KeyCache, keys: list[bytes]) -> bool:
        """Take it in C; return whether nothing was damaged. 2.7 us a key; 4.2 if each had a transaction of its own."""
        self.db.execute("BEGIN")
        try:
            return self.compiled.read(keys, known, SMALL_BYTES)  # type: ignore[no-any-return, union-attr]
        finally:
            self.db.rollback()  # it only read

    def get_many(self, keys: Sequence[bytes]) -> dict[bytes, Entry | None]:
        """Return the entries of keys, None where there is none; those with large values are left out.

        One statement for 100 keys: 2.5 us a key in order, 7 at random, instead of 6.5 and 10.
        """
        found: dict[bytes, Entry | None] = dict.fromkeys(keys)
        for start in range(0, len(keys), MANY):
            some = keys[start : start + MANY]
            padded = [*some, *[some[-1]] * (MANY - len(some))]
            for row in self.db.execute(SELECT_MANY, (SMALL_BYTES, *padded)):
                if row[1] is None:
                    found.pop(row[0], None)  # a key that is asked for twice may come again
                else:
                    found[row[0]] = verify(row)
        return found

    def scan(self, span: Span) -> Iterator[Entry]:
        """Yield the entries of a span, in its order, as the table was when the first was asked for."""
        return map(verify, self.walk(COLUMNS, span))

    def metas(self, span: Span) -> Iterator[EntryMeta]:
        """Yield entries without their values, which are not read, as `scan` does."""
        return map(_verify_meta, self.walk(HEAD_COLUMNS, span))

    def sizes(self, span: Span) -> Iterator[Sized]:
        """Yield entries with the sizes of their values, which are not read, as `scan` does."""
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
                # A damaged key of another type comes before all bytes: whoever checks the row says so.
                yield from takewhile(lambda row: type(row[0]) is not bytes or row[0] >= start, cursor)
            elif end is not None:
                yield from takewhile(lambda row: row[0] < end, cursor)
            else:
                yield from cursor

    def count(self, prefix: bytes) -> tuple[int, FoldMark]:
        """Return how many keys begin with the prefix, and how far the fold had come then."""
        end = prefix_end(prefix)
        sql, span = (COUNT_FROM, (prefix,)) if end is None else (COUNT_SPAN, (prefix, end))
        self.db.execute("BEGIN")
        try:
            return int(self.db.execute(sql, span).fetchone()[0]), self.mark()
        finally:
            self.db.rollback()  # it only read; unlike COMMIT it works after an error too

    def end(self) -> bytes | None:
        """Return the first key that is after all there are; None when that cannot be told: it is damaged."""
        try:
            last = self.db.execute(SELECT_LAST).fetchone()
            return b"" if last is None else _verify_meta(last).key + b"\0"
        except (Corrupt, sqlite3.Error):
            return None

    def due(self, now: Milliseconds, after: tuple[Milliseconds, bytes]) -> Iterator[tuple[Milliseconds, bytes]]:
        """Yield expiry and key of what is due and behind `after`, the longest due first."""
        with closing(self.db.execute(DUE, (now, *after))) as cursor:
            yield from cursor

    def free_bytes(self) -> int:
        """Return how many bytes of the file can be used again."""
        return free_bytes(self.db)

    def close(self) -> None:
        """Close the connection."""
        if self.compiled is not None:
            self.compiled.close()
        self.db.close()


def read_mark(db: Connection) -> FoldMark:
    """Return how far the fold of a table has come; raises Corrupt."""
    *mark, seal = db.execute("SELECT history, revision, entries, upto, through, seal FROM fold").fetchone()
    try:
        is_intact = _seal_of(*mark) == seal
    except (TypeError, AttributeError):
        is_intact = False
    if not is_intact:
        raise Corrupt("what the table says of itself is damaged on disk")
    return FoldMark(*mark)


def write_mark(db: Connection, mark: FoldMark) -> None:
    """Write how far the fold has come."""
    db.execute(
        "UPDATE fold SET history = ?, revision = ?, entries = ?, upto = ?, through = ?, seal = ?",
        (*mark, _seal_of(*mark)),
    )


def _seal_of(history: str, revision: int, entries: int, upto: int, through: bytes) -> int:
    """Return what protects a mark."""
    return mark_seal(history, revision, entries, upto, crc32(through))


def verify(row: tuple[bytes, bytes, int, int, int | None, int, int]) -> Entry:
    """Return the entry in a row; raise Corrupt when the checksums do not fit."""
    key, value, revision, created, expires, head, found = row
    if not is_whole(head, found, revision, SET, key, value, created, expires):
        raise _corrupt_entry(key)
    return Entry(key, revision, created, expires, value)


def _verify_meta(row: tuple[bytes, int, int, int | None, int]) -> EntryMeta:
    """Return the entry in a row that was read without its value; raise Corrupt when the checksum does not fit."""
    key, revision, created, expires, head = row
    if not is_whole_head(head, revision, SET, key, created, expires):
        raise _corrupt_entry(key)
    return EntryMeta(key, revision, created, expires)


def _verify_size(row: tuple[bytes, int, int, int | None, int, int]) -> Sized:
    """Return the entry in a row that was read with the size of its value; raise Corrupt as `verify_meta` does."""
    *head, size = row
    found = _verify_meta(tuple(head))  # type: ignore[arg-type]  # of the same columns
    return Sized(found.key, found.revision, found.created, found.expires, size)


def _corrupt_entry(key: bytes) -> Corrupt:
    """Return the error for an entry whose checksums do not fit."""
    return Corrupt("the entry of this key is damaged on disk", key=key)
