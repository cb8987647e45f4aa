"""The fold: what brings the table up to the journal, in key order and by portions, each a transaction.

Between two portions the keys up to one are folded up to a later revision than those after it; the table's mark says so.
Who is asked for a key that changed since the fold began has it in memory, so nobody else sees the difference.
"""

from typing import Any, NamedTuple

from kvd.storage.files import journal, table
from kvd.storage.files.sqlite import PAGE_BYTES, Connection, sqlite_error

# How many bytes of pages a change touches at most, about: the page it is in and its share of those above, of its
# neighbours when that is split, one of the index of what expires; a value of more than a quarter of a page has its own.
LOCAL_BYTES = PAGE_BYTES // 5
SIZE = (
    f"{PAGE_BYTES * 5 // 4} + 6 * min(size, {LOCAL_BYTES}) + (expires IS NOT NULL) * {PAGE_BYTES}"
    f" + CASE WHEN size > {LOCAL_BYTES} THEN size + {PAGE_BYTES} ELSE 0 END"
)
# The net change of each key, in key order, so that the table's pages are touched once each. SQLite takes columns that
# stand alone from the row that has the maximum. Only keys are sorted; values are fetched when it is their turn.
NET = f"""
    INSERT INTO net(last, kind, more, size) SELECT last, kind, more, {SIZE} FROM
    (SELECT max(revision) AS last, kind, expires, length(key) + coalesce(length(value), 0) AS size,
            {journal.NET} AS more
       FROM journal.journal WHERE revision > :since AND revision <= :upto AND key > :through
      GROUP BY key ORDER BY key)"""  # noqa: S608
# The same of one key, from memory.
INSERT_NET = f"""
    INSERT INTO net(last, kind, more, size) SELECT last, kind, more, {SIZE} FROM
    (SELECT ?1 AS last, ?2 AS kind, ?3 AS more, ?4 AS size, CASE ?5 WHEN 1 THEN 1 END AS expires)"""  # noqa: S608
SOME = "SELECT count(*), sum(size), sum(kind <> 1), sum(more) FROM net WHERE number > ? AND number <= ?"
CHANGES = """
      FROM net CROSS JOIN journal.journal AS j ON j.revision = net.last
     WHERE number > :after AND number <= :number AND net.kind"""
DELETE = f"DELETE FROM entry WHERE key IN (SELECT j.key {CHANGES} <> 1)"  # noqa: S608
# A key that is there is replaced: the table's schema says so.
INSERT = f"""
    INSERT INTO entry (key, revision, created, expires, head, checksum, value)
    SELECT j.key, j.revision, j.created, j.expires, j.head, j.checksum, j.value {CHANGES} = 1 ORDER BY number"""
KEY = "SELECT key FROM journal.journal WHERE revision = (SELECT last FROM net WHERE number = ?)"


class FoldPlan(NamedTuple):
    """The net changes after `since` up to `upto`, as memory knows them (see native/plan.c)."""

    since: int
    upto: int
    steps: Any


class FoldChunk(NamedTuple):
    """Keys of a fold after those numbered `after`: how many, the bytes they touch, how many end, how many more."""

    after: int
    keys: int
    size: int
    ended: int
    more: int


class Fold:
    """One fold of a table up to a revision. Goes on with one that was interrupted, which is then up to its revision."""

    def __init__(self, db: Connection, upto: int, plan: FoldPlan | None = None, address: int = 0) -> None:
        """`plan` helps if it is of just these changes; `address` is that of the connection in C, 0 if it has none."""
        self.db = db
        # Asked of the table itself: an earlier fold may have come far and then failed.
        self.mark = table.read_mark(db)
        self.upto = upto if self.mark.target_revision == self.mark.revision else self.mark.target_revision
        db.execute("DELETE FROM net")
        span = (self.mark.revision, self.upto, self.mark.last_key)
        if address and plan is not None and (plan.since, plan.upto, b"") == span:
            fill(db, plan, address)
        else:
            db.execute(NET, {"since": self.mark.revision, "upto": self.upto, "through": self.mark.last_key})
        (self.last,) = db.execute("SELECT coalesce(max(number), 0) FROM net").fetchone()
        self.number = 0

    @property
    def is_over(self) -> bool:
        """Return whether all is folded."""
        return self.mark.revision == self.upto

    def step(self, bytes_max: int) -> None:
        """Fold some more keys in one transaction that touches no more bytes of pages, about, but one key at least."""
        portion = self._next_chunk(bytes_max)
        # Not IMMEDIATE: that would lock the attached journal as well, and every commit would wait for the fold.
        self.db.execute("BEGIN")
        try:
            mark = self.fold(portion)
            self.db.execute("COMMIT")
        except BaseException:
            if self.db.in_transaction:
                self.db.execute("ROLLBACK")
            raise
        self.number, self.mark = portion.after + portion.keys, mark

    def _next_chunk(self, bytes_max: int) -> FoldChunk:
        """Return the next keys that touch no more bytes together, but one at least unless there is none."""
        count = bytes_max // PAGE_BYTES + 1
        while True:
            sums = self.db.execute(SOME, (self.number, self.number + count)).fetchone()
            portion = FoldChunk(self.number, *[number or 0 for number in sums])
            if portion.size <= bytes_max or portion.keys == 1:
                return portion
            # A window function would tell at once, but takes 20 ms of a fold of 50,000 changes, and this 5.
            count = max(1, portion.keys * bytes_max // portion.size * 7 // 8)

    def fold(self, portion: FoldChunk) -> table.FoldMark:
        """Bring the entries of some keys up to the journal; return the mark that says so, written."""
        number = portion.after + portion.keys
        span = {"after": portion.after, "number": number}
        if portion.ended:
            self.db.execute(DELETE, span)
        self.db.execute(INSERT, span)
        entries = self.mark.entries + portion.more
        if number == self.last:
            mark = table.FoldMark(self.mark.history, self.upto, entries, self.upto, b"")
        else:
            (through,) = self.db.execute(KEY, (number,)).fetchone()
            mark = self.mark._replace(entries=entries, target_revision=self.upto, last_key=through)
        table.write_mark(self.db, mark)
        return mark


def fill(db: Connection, plan: FoldPlan, address: int) -> None:
    """Take the net changes from a plan. Raises `sqlite3.Error`."""
    db.execute("BEGIN")
    try:
        if failure := plan.steps.fill(address, INSERT_NET):
            raise sqlite_error(*failure)  # noqa: TRY301  # the transaction ends in one place
        db.execute("COMMIT")
    except BaseException:
        if db.in_transaction:  # some errors end it
            db.execute("ROLLBACK")
        raise


def prepare(db: Connection) -> None:
    """Give a connection what a fold works with."""
    db.execute("PRAGMA temp_store = MEMORY")
    db.execute(
        "CREATE TEMP TABLE net(number INTEGER PRIMARY KEY, last INTEGER, kind INTEGER, more INTEGER, size INTEGER)"
    )
