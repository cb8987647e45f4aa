"""The fold thread. It folds, and checkpoints both files.

It has its own connections, and two queues connect it with the loop. SQLite runs its statements without the GIL.
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
from kvd.storage.memory.key_cache import FoldPlan

# Lower priority than the loop. Otherwise, with fewer processors than busy threads, the loop would wait for the
# scheduler (50 connections, two processors: the p99 of SET was 5 times the median, and is 3 times).
NICE = 10


class FoldJob(NamedTuple):
    """Fold the changes up to `upto`. `is_short`: the disk is short, so the table's WAL is truncated."""

    upto: int
    is_short: bool = False
    plan: FoldPlan | None = None


class CheckpointJob(NamedTuple):
    """Checkpoint the journal."""


class JobResult(NamedTuple):
    """The result of a job. `durable` is the folded revision that survives a power loss; `error` is None on success.

    `wal` is the number of bytes of the table's WAL that are not checkpointed.
    """

    job: FoldJob | CheckpointJob
    durable: int
    wal: int
    error: Exception | None
    ms: int = 0  # how long it took


class CheckpointPause:
    """Skips checkpoints of the table for a growing number of chunks after each failed one."""

    def __init__(self) -> None:
        self._length = 0
        self._left = 0

    def is_over(self) -> bool:
        """Count a chunk; return whether a checkpoint may be tried before it."""
        if self._left:
            self._left -= 1
            return False
        return True

    def on_failure(self) -> None:
        """Begin a pause that is twice as long as the last one."""
        self._left = self._length
        self._length = 2 * self._length + 1


class FoldThread(threading.Thread):
    """The thread. `submit` hands over a job; its result appears in `done`."""

    def __init__(self, directory: Path, durable: int, *, sync_journal: bool) -> None:
        super().__init__(name="fold", daemon=True)
        self.directory = directory
        self.durable = durable
        self.sync_journal = sync_journal
        self.wal = 0
        self.jobs: SimpleQueue[FoldJob | CheckpointJob | None] = SimpleQueue()
        self.done: SimpleQueue[JobResult] = SimpleQueue()
        self.may_resume = threading.Event()  # set when the loop has finished a checkpoint of the journal
        self.is_stopping = False
        self.db: Connection = None
        self.address = 0  # of the connection, in C
        self.pause = CheckpointPause()  # of the current job
        self.chunk_bytes = FOLD_CHUNK_BYTES  # of the current job

    def submit(self, job: FoldJob | CheckpointJob) -> None:
        """Queue a job. Jobs run in order, except that a checkpoint of the journal runs between two chunks of a fold."""
        self.jobs.put(job)

    def stop(self) -> None:
        """Stop after the current chunk. The next start resumes an interrupted fold."""
        self.is_stopping = True
        self.jobs.put(None)
        self.may_resume.set()
        self.join()

    def run(self) -> None:
        """Run jobs until `stop`."""
        _yield_processor()
        while (job := self.jobs.get()) is not None:
            self._run_job(job)
        if self.db is not None:
            self.db.close()

    def _run_job(self, job: FoldJob | CheckpointJob) -> None:
        """Run a job. An error goes to the loop, which decides."""
        error: Exception | None = None
        began = perf_counter()
        try:
            self.db = self.db or self.open()
            self.fold_to(self.db, job) if isinstance(job, FoldJob) else checkpoint(self.db, "PASSIVE", "journal")
        except Exception as caught:  # noqa: BLE001  # the loop must see every error
            error = caught
            if isinstance(to_refusal(caught), Full):
                error = self._truncate_wal() or caught
        with suppress(sqlite3.Error):
            self.wal = wal_used(self.db) if self.db is not None else self.wal
        self.may_resume.clear()
        ms = int(1000 * (perf_counter() - began))
        self.done.put(JobResult(job, self.durable, self.wal, error, ms))
        if isinstance(job, CheckpointJob):
            # A read of the journal now would keep the loop from restarting its WAL (1.5 GiB in ten minutes).
            self.may_resume.wait(CHECKPOINT_WAIT_MS / 1000)

    def open(self) -> Connection:
        """Return a connection to the table with the journal attached."""
        """Return a connection to the table with the journal beside it."""
        db, self.address = connect_native(partial(connect, self.directory / table.FILE))
        db.execute("PRAGMA cache_size = -32768")
        db.execute("ATTACH ? AS journal", (os.fsencode(self.directory / journal.FILE),))
        db.execute("PRAGMA journal.synchronous = NORMAL")
        fold.prepare(db)
        return db

    def fold_to(self, db: Connection, job: FoldJob) -> None:
        """Fold up to the job's revision. A fold without changes makes earlier folds durable: the loop is idle."""
        if self.sync_journal:
            self._sync_journal()
        self.pause, self.chunk_bytes = CheckpointPause(), FOLD_CHUNK_BYTES
        step = self._step_if_space if job.is_short else self.step
        at = fold.Fold(db, job.upto, job.plan, self.address)
        since = at.mark.revision
        while at.mark.revision < job.upto:
            if self.is_stopping and not job.is_short:
                return
            if at.is_over:  # an interrupted fold that was resumed
                at = fold.Fold(db, job.upto)
            step(at)
        if job.is_short or job.upto == since or job.upto - self.durable > TABLE_CHECKPOINT_CHANGES:
            self._checkpoint_table(db, job.upto, "TRUNCATE" if job.is_short else "RESTART")

    def step(self, at: fold.Fold) -> None:
        """Fold a chunk. First checkpoint the table if its WAL might become too long, then the journal if requested.

        The table is not checkpointed after each chunk, because the fsync delays the commits' fsyncs.
        """
        if self.pause.is_over() and wal_used(at.db) + FOLD_CHUNK_BYTES > TABLE_WAL_BYTES_MAX:
            self._checkpoint_table(at.db, at.mark.revision, "RESTART")
        at.step(self.chunk_bytes)
        if not (at.is_over or self.jobs.empty()):
            job = self.jobs.get()
            self.jobs.put(None) if job is None else self._run_job(job)

    def _step_if_space(self, at: fold.Fold) -> None:
        """Fold a chunk that fits on the disk, and truncate the table's WAL.

        A transaction needs space for each page that it touches. Folding all deletions at once may need more space than
        the disk has left, and then nothing would be freed.
        """
        try:
            at.step(self.chunk_bytes)
        except sqlite3.Error as error:
            self.chunk_bytes //= 4
            if self.chunk_bytes < PAGE_BYTES or not isinstance(to_refusal(error), Full):
                raise
            if worse := self._truncate_wal():
                raise worse from error
        self._checkpoint_table(at.db, at.mark.revision, "TRUNCATE")

    def _checkpoint_table(self, db: Connection, folded: int, mode: str) -> None:
        """Checkpoint the table, which is folded up to a revision.

        RESTART and TRUNCATE wait briefly for readers of the WAL; without that, the WAL would rarely restart beside
        readers (1.2 GiB in ten minutes). Nobody waits for them: readers continue, and this thread is the only writer.
        A busy daemon delays a checkpoint now and then, a backup for minutes, so the pause grows after each failure.
        """
        if checkpoint(db, mode, "main"):
            self.durable = folded
        else:
            self.pause.on_failure()

    def _truncate_wal(self) -> Exception | None:
        """Free the table's WAL after the disk was full. Return an error, except that the disk is still full."""
        try:
            if self.db is not None:
                checkpoint(self.db, "TRUNCATE", "main")
        except sqlite3.Error as error:
            return None if isinstance(to_refusal(error), Full) else error
        return None

    def _sync_journal(self) -> None:
        """Sync the journal's WAL. With fsync = interval or never the table must not become durable before it."""
        fd = os.open(self.directory / f"{journal.FILE}-wal", os.O_RDONLY)
        try:
            os.fdatasync(fd)
        finally:
            os.close(fd)


def _yield_processor() -> None:
    """Lower this thread's priority. Linux has a priority for each thread; a sandbox may forbid the change."""
    if sys.platform == "linux":
        with suppress(OSError):
            os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), NICE)


def checkpoint(db: Connection, mode: str, name: str) -> bool:
    """Copy a WAL into its file and sync it. Return whether all frames are copied.

    It waits only briefly for readers of the WAL, because a backup reads for minutes and folds must continue.
    """
    db.execute(f"PRAGMA busy_timeout = {CHECKPOINT_WAIT_MS}")
    try:
        frames, done = run_checkpoint(db, mode, name)
    finally:
        db.execute(f"PRAGMA busy_timeout = {BUSY_TIMEOUT_MS}")
    return frames == done
