"""The fold's thread, which also checkpoints both files.

It works with connections of its own and talks to the loop by two queues. Its statements run without the GIL.
"""

import os
import sys
import threading
from contextlib import suppress
from functools import partial
from pathlib import Path
from queue import SimpleQueue
from time import perf_counter
from typing import NamedTuple

from sqlite_utils.utils import sqlite3

from kvd.errors import Full
from kvd.limits import (
    BUSY_TIMEOUT_MS,
    CHECKPOINT_WAIT_MS,
    FOLD_CHUNK_BYTES,
    TABLE_CHECKPOINT_CHANGES,
    TABLE_WAL_BYTES_MAX,
)
from kvd.storage.files import journal, table
from kvd.storage.files.sqlite import (
    PAGE_BYTES,
    Connection,
    connect,
    connect_native,
    run_checkpoint,
    to_refusal,
    wal_used,
)
from kvd.storage.maintenance import fold

# Where there are fewer processors than threads at work, the loop would wait for the scheduler: with 50 connections on
# two processors the p99 of SET was 5 times the median, and is 3 times it.
NICE = 10


class FoldJob(NamedTuple):
    """Fold the changes up to `upto`. When the disk is short, the table's WAL gives its room back."""

    upto: int
    is_short: bool = False
    plan: fold.FoldPlan | None = None


class CheckpointJob(NamedTuple):
    """Copy the journal's WAL into its file."""


class JobResult(NamedTuple):
    """A job is over. `durable` is the folded revision that no power loss can take back; `error` says why it failed.

    `wal` is how many bytes the table's WAL has that are not in its file yet.
    """

    job: FoldJob | CheckpointJob
    durable: int
    wal: int
    error: Exception | None
    ms: int = 0  # how long it took


class FoldThread(threading.Thread):
    """The thread. Give it jobs by `ask`; find what it did in `done`."""

    def __init__(self, directory: Path, durable: int, *, sync_journal: bool) -> None:
        super().__init__(name="fold", daemon=True)
        self.directory = directory
        self.durable = durable
        self.sync_journal = sync_journal
        self.wal = 0
        self.jobs: SimpleQueue[FoldJob | CheckpointJob | None] = SimpleQueue()
        self.done: SimpleQueue[JobResult] = SimpleQueue()
        self.may_read = threading.Event()  # once the loop has finished a checkpoint of the journal
        self.is_stopping = False
        self.db: Connection = None
        self.address = 0  # of it, in C
        # In this job: how often who reads the table has held up a checkpoint, how many portions go by before the next
        # try, and how much there is room for at once.
        self.failed, self.skipped, self.portion_bytes = 0, 0, FOLD_CHUNK_BYTES

    def submit(self, job: FoldJob | CheckpointJob) -> None:
        """Hand over a job; they are done in order, but a checkpoint of the journal between two portions of a fold."""
        self.jobs.put(job)

    def stop(self) -> None:
        """End after the portion at hand: a fold that is interrupted goes on at the next start."""
        self.is_stopping = True
        self.jobs.put(None)
        self.may_read.set()
        self.join()

    def run(self) -> None:
        """Do jobs until told to stop."""
        _yield_processor()
        while (job := self.jobs.get()) is not None:
            self._run_job(job)
        if self.db is not None:
            self.db.close()

    def _run_job(self, job: FoldJob | CheckpointJob) -> None:
        """Do a job; an error is handed to the loop, which decides."""
        error: Exception | None = None
        began = perf_counter()
        try:
            self.db = self.db or self.open()
            self.fold_up(self.db, job) if isinstance(job, FoldJob) else checkpoint(self.db, "PASSIVE", "journal")
        except Exception as caught:  # noqa: BLE001  # whatever it is, the loop must hear of it
            error = caught
            if isinstance(to_refusal(caught), Full):
                error = self._release_memory() or caught
        with suppress(sqlite3.Error):
            self.wal = wal_used(self.db) if self.db is not None else self.wal
        self.may_read.clear()
        ms = int(1000 * (perf_counter() - began))
        self.done.put(JobResult(job, self.durable, self.wal, error, ms))
        if isinstance(job, CheckpointJob):
            # Who reads the journal now keeps the loop from beginning its WAL anew (1.5 GiB in ten minutes).
            self.may_read.wait(CHECKPOINT_WAIT_MS / 1000)

    def open(self) -> Connection:
        """Return a connection to the table with the journal beside it."""
        db, self.address = connect_native(partial(connect, self.directory / table.FILE))
        db.execute("PRAGMA cache_size = -32768")
        db.execute("ATTACH ? AS journal", (os.fsencode(self.directory / journal.FILE),))
        db.execute("PRAGMA journal.synchronous = NORMAL")
        fold.prepare(db)
        return db

    def fold_up(self, db: Connection, job: FoldJob) -> None:
        """Bring the table up to a revision. Makes that durable when there was nothing to bring: the loop is idle."""
        if self.sync_journal:
            self.sync()
        self.failed, self.skipped, self.portion_bytes = 0, 0, FOLD_CHUNK_BYTES
        step = self._step_if_space if job.is_short else self.step
        at = fold.Fold(db, job.upto, job.plan, self.address)
        since = at.mark.revision
        while at.mark.revision < job.upto:
            if self.is_stopping and not job.is_short:
                return
            if at.is_over:  # it was one that was interrupted
                at = fold.Fold(db, job.upto)
            step(at)
        if job.is_short or job.upto == since or job.upto - self.durable > TABLE_CHECKPOINT_CHANGES:
            self.checkpoint(db, job.upto, "TRUNCATE" if job.is_short else "RESTART")

    def step(self, at: fold.Fold) -> None:
        """Fold a portion; before it checkpoint if the table's WAL might become too long, after it the journal if asked.

        Not after each portion: its fsync holds up the commits'.
        """
        if self.skipped:
            self.skipped -= 1
        elif wal_used(at.db) + FOLD_CHUNK_BYTES > TABLE_WAL_BYTES_MAX:
            self.checkpoint(at.db, at.mark.revision, "RESTART")
        at.step(self.portion_bytes)
        if not (at.is_over or self.jobs.empty()):
            job = self.jobs.get()
            self.jobs.put(None) if job is None else self._run_job(job)

    def _step_if_space(self, at: fold.Fold) -> None:
        """Fold as much at once as the disk has room for, and let the table's WAL give its room back.

        A transaction needs room for each page it touches: to fold what was cleared all at once may take more than is
        left, and then nothing would ever become free.
        """
        try:
            at.step(self.portion_bytes)
        except sqlite3.Error as error:
            self.portion_bytes //= 4
            if self.portion_bytes < PAGE_BYTES or not isinstance(to_refusal(error), Full):
                raise
            if worse := self._release_memory():
                raise worse from error
        self.checkpoint(at.db, at.mark.revision, "TRUNCATE")

    def checkpoint(self, db: Connection, folded: int, how: str) -> None:
        """Checkpoint the table, which is folded up to a revision.

        RESTART and TRUNCATE wait a moment for who reads from the WAL, or it would rarely begin anew beside readers
        (1.2 GiB in ten minutes). They keep nobody waiting: readers go on, and we alone write to the table. A daemon
        that reads much is in the way now and then, a backup for minutes: so after each failure a longer pause is made.
        """
        if checkpoint(db, how, "main"):
            self.durable = folded
        else:
            self.skipped = self.failed
            self.failed = 2 * self.failed + 1

    def _release_memory(self) -> Exception | None:
        """Give back what a fold that found the disk full wrote of its WAL; return what went wrong but a full disk."""
        try:
            if self.db is not None:
                checkpoint(self.db, "TRUNCATE", "main")
        except sqlite3.Error as error:
            return None if isinstance(to_refusal(error), Full) else error
        return None

    def sync(self) -> None:
        """Make the journal durable: with fsync = interval or never, the table must not get ahead of it."""
        fd = os.open(self.directory / f"{journal.FILE}-wal", os.O_RDONLY)
        try:
            os.fdatasync(fd)
        finally:
            os.close(fd)


def _yield_processor() -> None:
    """Let other threads go first. Linux has a priority for each thread; a sandbox may forbid it."""
    if sys.platform == "linux":
        with suppress(OSError):
            os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), NICE)


def checkpoint(db: Connection, how: str, name: str) -> bool:
    """Copy a WAL into its file, synced; return whether all of it is there.

    Who reads from the WAL is waited for only for a moment: a backup reads for minutes, and folds must go on.
    """
    db.execute(f"PRAGMA busy_timeout = {CHECKPOINT_WAIT_MS}")
    try:
        frames, done = run_checkpoint(db, how, name)
    finally:
        db.execute(f"PRAGMA busy_timeout = {BUSY_TIMEOUT_MS}")
    return frames == done
