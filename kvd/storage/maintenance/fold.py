"""The fold: brings the table up to the journal, in key order and in chunks. Each chunk is one transaction.

Idea: a commit only appends to the journal, and the table is updated later and in bulk. In key order each page of the
table is touched once for many changes, while a table that each commit updates would touch a page per key. This is the
merge of an LSM tree (O'Neil et al., 1996) with two levels: the overlay in memory, and one B-tree on disk.

Between two chunks the keys up to the mark's last key are folded up to a later revision than the others. Readers never
see the difference: keys that changed since the fold began are answered from memory. A fold that was interrupted by a
crash resumes at the mark, and the journal is not trimmed beyond what is folded durably.

Rejected: one transaction per fold (its WAL grows with the fold, and a restart loses all of its work); a fold in the
loop's thread (commits wait for it); more levels (a read would have to look into several tables).
The design assumes that the overlay fits into memory. If it did not, folds would have to begin earlier and be smaller.
"""

from typing import NamedTuple

from kvd.storage.files import journal, table
from kvd.storage.files.sqlite import PAGE_BYTES, Connection, sqlite_error
from kvd.storage.memory.key_cache import FoldPlan

# About how many bytes of pages a change touches at most: its page, a share of the parents and of the siblings at a
# split, and a page of the index of expiries. A value of more than a quarter of a page has its own pages.
LOCAL_BYTES = PAGE_BYTES // 5
SIZE = (
    f"{PAGE_BYTES * 5 // 4} + 6 * min(size, {LOCAL_BYTES}) + (expires IS NOT NULL) * {PAGE_BYTES}"
    f" + CASE WHEN size > {LOCAL_BYTES} THEN size + {PAGE_BYTES} ELSE 0 END"
)
# The net change of each key, in key order, so that each page of the table is touched once. With max(), SQLite takes the
# bare columns from the row that has the maximum. Only keys are sorted; values are fetched later.
NET = f"""
    INSERT INTO net(last, kind, more, size) SELECT last, kind, more, {SIZE} FROM
    (SELECT max(revision) AS last, kind, expires, length(key) + coalesce(length(value), 0) AS size,
            {journal.NET} AS more
       FROM journal.journal WHERE revision > :since AND revision <= :upto AND key > :through
      GROUP BY key ORDER BY key)"""  # noqa: S608
# The net change of one key, from memory.
INSERT_NET = f"""
    INSERT INTO net(last, kind, more, size) SELECT last, kind, more, {SIZE} FROM
    (SELECT ?1 AS last, ?2 AS kind, ?3 AS more, ?4 AS size, CASE ?5 WHEN 1 THEN 1 END AS expires)"""  # noqa: S608
SOME = "SELECT count(*), sum(size), sum(kind <> 1), sum(more) FROM net WHERE number > ? AND number <= ?"
CHANGES = """
      FROM net CROSS JOIN journal.journal AS j ON j.revision = net.last
     WHERE number > :after AND number <= :number AND net.kind"""
DELETE = f"DELETE FROM entry WHERE key IN (SELECT j.key {CHANGES} <> 1)"  # noqa: S608
# An existing key is replaced, by the conflict clause of the table's schema.
INSERT = f"""
    INSERT INTO entry (key, revision, created, expires, head, checksum, value)
    SELECT j.key, j.revision, j.created, j.expires, j.head, j.checksum, j.value {CHANGES} = 1 ORDER BY number"""
KEY = "SELECT key FROM journal.journal WHERE revision = (SELECT last FROM net WHERE number = ?)"


class FoldChunk(NamedTuple):
    """Keys of a fold after the one numbered `after`: their number, bytes to touch, deletions and net new entries."""

    after: int
    keys: int
    size: int
    deleted: int
    added: int


class Fold:
    """One fold of a table up to a revision.

    It resumes an interrupted fold first; that fold's target revision then replaces `upto`.
    """

    def __init__(self, db: Connection, upto: int, plan: FoldPlan | None = None, address: int = 0) -> None:
        """`plan` is used if it has exactly these changes. `address` is the connection's address in C, 0 if none."""
        self.db = db
        # Read from the table itself, because an earlier fold may have written some chunks and then failed.
        self.mark = table.read_mark(db)
        self.upto = upto if self.mark.target_revision == self.mark.revision else self.mark.target_revision
        db.execute("DELETE FROM net")
        span = (self.mark.revision, self.upto, self.mark.last_key)
        if address and plan is not None and (plan.since, plan.upto, b"") == span:
            _insert_plan(db, plan, address)
        else:
            db.execute(NET, {"since": self.mark.revision, "upto": self.upto, "through": self.mark.last_key})
        (self.last,) = db.execute("SELECT coalesce(max(number), 0) FROM net").fetchone()
        self.number = 0

    @property
    def is_over(self) -> bool:
        """Return whether the fold is complete."""
        return self.mark.revision == self.upto

    def step(self, bytes_max: int) -> None:
        """Fold the next chunk in one transaction. It touches at most about `bytes_max` bytes, or has one key."""
        chunk = self._next_chunk(bytes_max)
        # Not IMMEDIATE: that would lock the attached journal as well, and every commit would wait for the fold.
        self.db.execute("BEGIN")
        try:
            mark = self.fold_chunk(chunk)
            self.db.execute("COMMIT")
        except BaseException:
            if self.db.in_transaction:
                self.db.execute("ROLLBACK")
            raise
        self.number, self.mark = chunk.after + chunk.keys, mark

    def _next_chunk(self, bytes_max: int) -> FoldChunk:
        """Return the next keys that touch at most `bytes_max` bytes together, or one key if it touches more."""
        count = bytes_max // PAGE_BYTES + 1
        while True:
            sums = self.db.execute(SOME, (self.number, self.number + count)).fetchone()
            chunk = FoldChunk(self.number, *[number or 0 for number in sums])
            if chunk.size <= bytes_max or chunk.keys == 1:
                return chunk
            # A window function would need no retry, but takes 20 ms of a fold of 50,000 changes; this takes 5.
            count = max(1, chunk.keys * bytes_max // chunk.size * 7 // 8)

    def fold_chunk(self, chunk: FoldChunk) -> table.FoldMark:
        """Apply the changes of a chunk, and write and return the new mark."""
        number = chunk.after + chunk.keys
        span = {"after": chunk.after, "number": number}
        if chunk.deleted:
            self.db.execute(DELETE, span)
        self.db.execute(INSERT, span)
        entries = self.mark.entries + chunk.added
        if number == self.last:
            mark = table.FoldMark(self.mark.history, self.upto, entries, self.upto, b"")
        else:
            (through,) = self.db.execute(KEY, (number,)).fetchone()
            mark = self.mark._replace(entries=entries, target_revision=self.upto, last_key=through)
        table.write_mark(self.db, mark)
        return mark


def _insert_plan(db: Connection, plan: FoldPlan, address: int) -> None:
    """Insert the net changes of a plan into `net`. Raises `sqlite3.Error`."""
    db.execute("BEGIN")
    try:
        if failure := plan.steps.fill(address, INSERT_NET):
            raise sqlite_error(*failure)  # noqa: TRY301  # the transaction is rolled back in one place
        db.execute("COMMIT")
    except BaseException:
        if db.in_transaction:  # some errors roll it back
            db.execute("ROLLBACK")
        raise


def prepare(db: Connection) -> None:
    """Create the temporary table of a fold on a connection."""
    db.execute("PRAGMA temp_store = MEMORY")
    db.execute(
        "CREATE TEMP TABLE net(number INTEGER PRIMARY KEY, last INTEGER, kind INTEGER, more INTEGER, size INTEGER)"
    )
