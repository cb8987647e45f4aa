"""The fold: one thread that brings the table up to the journal, and the checkpoints of both files.

It works with connections of its own and talks to the loop by two queues. Its statements run without the GIL.
"""

import os
import sys
import threading
from contextlib import suppress
from pathlib import Path
from queue import SimpleQueue
from typing import NamedTuple

from sqlite_utils.utils import sqlite3

from kvd.errors import Full
from kvd.limits import BUSY_TIMEOUT_MS, CHECKPOINT_WAIT_MS, TABLE_CHECKPOINT_BYTES, TABLE_CHECKPOINT_CHANGES
from kvd.storage import journal, table
from kvd.storage.checksum import mark_seal
from kvd.storage.database import PAGE_BYTES, Connection, checkpointed, connect, refusal_of

# In key order, so that the table's pages are touched once each; only keys are sorted, values are fetched after.
# A key that is there is replaced: the table's schema says so.
LAST = "SELECT max(revision) AS last FROM journal.journal WHERE revision > :since AND revision <= :upto GROUP BY key"
INSERT = f"""
    INSERT INTO entry (key, revision, created, expires, head, checksum, value)
    SELECT j.key, j.revision, j.created, j.expires, j.head, j.checksum, j.value
      FROM ({LAST} ORDER BY key) CROSS JOIN journal.journal AS j ON j.revision = last WHERE j.kind = 1"""  # noqa: S608
DELETE = f"""
    DELETE FROM entry WHERE key IN
    (SELECT j.key FROM ({LAST}) CROSS JOIN journal.journal AS j ON j.revision = last WHERE j.kind <> 1)"""  # noqa: S608
# A change that begins a key has no previous revision; one that is not a SET (kind 1) ends one.
NET = """
    SELECT coalesce(sum(kind <> 1), 0), coalesce(sum(kind = 1 AND previous = 0), 0)
      FROM journal.journal WHERE revision > :since AND revision <= :upto"""
MARK = "UPDATE fold SET revision = :upto, entries = :entries, seal = :seal"

# Where there are fewer processors than threads at work, the loop would wait for the scheduler: with 50 connections on
# two processors the p99 of SET was 5 times the median, and is 3 times it.
NICE = 10


class FoldJob(NamedTuple):
    """Fold the changes up to `upto`. When the disk is short, the table's WAL gives its room back."""

    upto: int
    is_short: bool = False


class CheckpointJob(NamedTuple):
    """Copy the journal's WAL into its file."""


class Done(NamedTuple):
    """A job is over. `durable` is the folded revision that no power loss can take back; `error` says why it failed."""

    job: FoldJob | CheckpointJob
    durable: int
    error: Exception | None


class Folder(threading.Thread):
    """The thread. Give it jobs by `ask`; find what it did in `done`."""

    def __init__(self, directory: Path, durable: int, *, sync_journal: bool) -> None:
        super().__init__(name="fold", daemon=True)
        self.directory = directory
        self.durable = durable
        self.sync_journal = sync_journal
        self.jobs: SimpleQueue[FoldJob | CheckpointJob | None] = SimpleQueue()
        self.done: SimpleQueue[Done] = SimpleQueue()

    def ask(self, job: FoldJob | CheckpointJob) -> None:
        """Hand over a job; they are done in order."""
        self.jobs.put(job)

    def stop(self) -> None:
        """End after the job at hand."""
        self.jobs.put(None)
        self.join()

    def run(self) -> None:
        """Do jobs until told to stop; an error is handed to the loop, which decides."""
        yield_processor()
        db: Connection = None
        while (job := self.jobs.get()) is not None:
            error: Exception | None = None
            try:
                db = db or self.open()
                self.fold(db, job) if isinstance(job, FoldJob) else checkpoint(db, "PASSIVE", "journal")
            except Exception as caught:  # noqa: BLE001  # whatever it is, the loop must hear of it
                error = caught
                give_back(db, caught)
            self.done.put(Done(job, self.durable, error))
        if db is not None:
            db.close()

    def open(self) -> Connection:
        """Return a connection to the table with the journal beside it."""
        db = connect(self.directory / table.FILE)
        db.execute("PRAGMA cache_size = -32768")
        db.execute("ATTACH ? AS journal", (str(self.directory / journal.FILE),))
        db.execute("PRAGMA journal.synchronous = NORMAL")
        return db

    def fold(self, db: Connection, job: FoldJob) -> None:
        """Bring the table up to a revision.

        Makes that durable when the WAL is long, or there was nothing to bring: the loop asks so when it is idle.
        """
        if self.sync_journal:
            self.sync()
        if job.is_short:
            self.fold_in_portions(db, job.upto)
            return
        since = fold_to(db, job.upto)
        is_due = job.upto == since or job.upto - self.durable > TABLE_CHECKPOINT_CHANGES or is_long(db)
        # RESTART waits a moment for who reads from the WAL, or it would rarely begin anew beside readers (1.2 GiB in
        # ten minutes). It keeps nobody waiting: readers go on, and we alone write to the table.
        if is_due and checkpoint(db, "RESTART", "main"):
            self.durable = job.upto

    def fold_in_portions(self, db: Connection, upto: int) -> None:
        """Fold as many changes at once as the disk has room for, and let the table's WAL give its room back each time.

        A transaction needs room for each page it touches: to fold what was cleared all at once may take more than is
        left, and then nothing would ever become free.
        """
        portion = upto
        while True:
            since = table.read_fold(db).revision
            target = min(upto, since + portion)
            try:
                fold_to(db, target)
                if checkpoint(db, "TRUNCATE", "main"):
                    self.durable = target
                if target == upto:
                    return
            except sqlite3.Error as error:
                portion = (target - since) // 4
                if not (portion and isinstance(refusal_of(error), Full)):
                    raise
                with suppress(sqlite3.Error):  # what it wrote without a commit is in the way
                    checkpoint(db, "TRUNCATE", "main")

    def sync(self) -> None:
        """Make the journal durable: with fsync = interval or never, the table must not get ahead of it."""
        fd = os.open(self.directory / f"{journal.FILE}-wal", os.O_RDONLY)
        try:
            os.fdatasync(fd)
        finally:
            os.close(fd)


def fold_to(db: Connection, upto: int) -> int:
    """Bring the table up to a revision in one transaction; return where it was."""
    # Not IMMEDIATE: that would lock the attached journal as well, and every commit would wait for the fold.
    db.execute("BEGIN")
    try:
        # Asked of the table itself: an earlier job may have folded and then failed to checkpoint.
        history, since, entries = table.read_fold(db)
        span = {"since": since, "upto": upto}
        ended, begun = db.execute(NET, span).fetchone()
        if ended:  # else the keys need not be sorted twice: a fold of 50,000 changes takes 165 ms instead of 250
            db.execute(DELETE, span)
        db.execute(INSERT, span)
        entries += begun - ended
        db.execute(MARK, {"upto": upto, "entries": entries, "seal": mark_seal(history, upto, entries)})
        db.execute("COMMIT")
    except BaseException:
        if db.in_transaction:
            db.execute("ROLLBACK")
        raise
    return since


def yield_processor() -> None:
    """Let other threads go first. Linux has a priority for each thread; a sandbox may forbid it."""
    if sys.platform == "linux":
        with suppress(OSError):
            os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), NICE)


def is_long(db: Connection) -> bool:
    """Return whether the table's WAL is to be checkpointed. Not after each fold: its fsync holds up the commits'."""
    frames, done = checkpointed(db, "NOOP")
    return (frames - done) * PAGE_BYTES > TABLE_CHECKPOINT_BYTES


def give_back(db: Connection | None, error: Exception) -> None:
    """After a fold that found the disk full, give back what it wrote of its WAL: that may be what fills it."""
    if db is not None and isinstance(refusal_of(error), Full):
        with suppress(sqlite3.Error):
            checkpoint(db, "TRUNCATE", "main")


def checkpoint(db: Connection, how: str, name: str) -> bool:
    """Copy a WAL into its file, synced; return whether all of it is there.

    Who reads from the WAL is waited for only for a moment: a backup reads for minutes, and folds must go on.
    """
    db.execute(f"PRAGMA busy_timeout = {CHECKPOINT_WAIT_MS}")
    try:
        frames, done = checkpointed(db, how, name)
    finally:
        db.execute(f"PRAGMA busy_timeout = {BUSY_TIMEOUT_MS}")
    return frames == done
