"""Folds and checkpoints, as the loop sees them: it begins jobs, waits for them and handles their results."""

import logging
from collections.abc import Callable
from queue import Empty
from time import monotonic
from typing import TypeVar

from kvd.errors import Busy, Full
from kvd.storage.files.sqlite import to_refusal, wal_used, with_translated_errors
from kvd.storage.maintenance import throttle
from kvd.storage.maintenance.fill import overlay_fill
from kvd.storage.maintenance.fold_thread import CheckpointJob, FoldJob, JobResult
from kvd.storage.maintenance.parts import StoreParts
from kvd.storage.maintenance.throttle import Throttle
from kvd.storage.maintenance.wal_size import WalSize

LONG_S = 3_600.0
T = TypeVar("T")

log = logging.getLogger("kvd")


class FoldJobs:
    """The jobs of one store. At most one fold and one checkpoint of the journal run at a time."""

    def __init__(self, parts: StoreParts, wal: WalSize) -> None:
        self._parts = parts
        self._wal = wal
        self.throttle = Throttle()
        self.durable = 0  # the folded revision that survives a power loss
        self.table_wal_bytes = wal_used(parts.table.db)
        self.is_checkpointing = False
        self.error: Exception | None = None  # of the last fold; no other one begins until `allow_retry`
        self.count = self.last_ms = 0  # folds, and the duration of the last one
        self._began = 0.0  # the current fold, on the monotonic clock

    def begin_fold(self, *, is_short: bool = False) -> None:
        """Begin to fold the active overlay, unless a fold is running. An empty fold makes the last one durable.

        `is_short` means that the disk is short, so the table's WAL is truncated.
        """
        overlays = self._parts.overlays
        is_due = overlays.active.changes or self.durable < overlays.folded
        if (is_short or is_due) and overlays.immutable is None and self.error is None:
            self._began = monotonic()
            plan = overlays.begin_fold(overlays.revision)
            self._parts.fold_thread.submit(FoldJob(overlays.revision, is_short, plan))

    def begin_checkpoint(self) -> None:
        """Begin a checkpoint of the journal, unless one is running."""
        if not self.is_checkpointing:
            self.is_checkpointing = True
            self._parts.fold_thread.submit(CheckpointJob())

    def allow_retry(self) -> None:
        """Allow folds again after one that failed."""
        self.error = None

    def fold_all(self) -> None:
        """Fold and checkpoint everything, truncate the table's WAL, and wait for it."""
        self.wait_for_all()
        self.begin_fold(is_short=True)
        self.begin_checkpoint()
        self.wait_for_all()

    # Waiting

    def finish_completed(self) -> None:
        """Handle the results of all completed jobs."""
        while not self._parts.fold_thread.done.empty():
            self.finish(self._parts.fold_thread.done.get())

    def wait_for_all(self) -> None:
        """Wait until no job is running."""
        while self._parts.overlays.immutable is not None or self.is_checkpointing:
            self.finish(self._parts.fold_thread.done.get())

    def wait_for_fold(self, seconds: float) -> None:
        """Wait until a fold is complete, but not longer than `seconds`."""
        until = monotonic() + seconds
        while (left := until - monotonic()) > 0:
            result = self._finish_next(left)
            if result is None or isinstance(result.job, FoldJob):
                return

    def wait_for_checkpoint(self) -> None:
        """Wait for a checkpoint so that SQLite can reuse the WAL from its start.

        The wait is short: while another program reads the WAL, or the disk is slow, the WAL grows instead. On a small
        disk it is long, because the fold needs the space.
        """
        self.begin_checkpoint()
        until = monotonic() + (LONG_S if self._wal.is_disk_small else throttle.DELAY_S_MAX)
        while self.is_checkpointing and (left := until - monotonic()) > 0:
            self._finish_next(left)
        if not self.is_checkpointing:
            self._wal.adjust_limit()

    def _finish_next(self, seconds: float) -> JobResult | None:
        """Handle the next result; return None when there is none within `seconds`."""
        try:
            result = self._parts.fold_thread.done.get(timeout=seconds)
        except Empty:
            return None
        self.finish(result)
        return result

    def fold_rate(self) -> float:
        """Return how much of the overlay's bound the fold removes in a second."""
        folding = self._parts.overlays.immutable
        return self.throttle.rate_now(0.0 if folding is None else overlay_fill(folding), monotonic() - self._began)

    # Results

    def finish(self, result: JobResult) -> None:
        """Handle the result of a job. Raises Refused when the storage has failed."""
        self.durable, self.table_wal_bytes = result.durable, result.wal
        if isinstance(result.job, CheckpointJob):
            self._finish_checkpoint(result)
        elif result.error is None:
            self._finish_fold(result)
        else:
            log.debug("event=fold_failed %s", result.error)
            self._parts.overlays.undo_fold()
            self.error = result.error
            _raise_lasting(result.error)
            if isinstance(to_refusal(result.error), Full):
                self._parts.disk_space.release_ballast()

    def _finish_fold(self, result: JobResult) -> None:
        """Drop the folded overlay, and plan which rows of the journal are no longer needed."""
        parts = self._parts
        self.count, self.last_ms = self.count + 1, result.ms
        if parts.overlays.immutable is not None:
            self.throttle.on_fold(overlay_fill(parts.overlays.immutable), monotonic() - self._began)
        parts.overlays.end_fold(parts.table.upper_bound())
        with with_translated_errors():
            parts.retention.plan(parts.overlays.revision, parts.journal.used_bytes())
        log.debug("event=fold revision=%d ms=%d", parts.overlays.folded, self.last_ms)

    def _finish_checkpoint(self, result: JobResult) -> None:
        """Checkpoint the commits that came meanwhile, so that the next one starts at the beginning of the WAL."""
        self.is_checkpointing = False
        if result.error is not None:
            _raise_lasting(result.error)
        elif run_if_possible(self._parts.journal.finish_checkpoint):
            log.debug("event=checkpoint bytes=%d ms=%d", self._wal.used, result.ms)
            self._wal.on_checkpoint()
        self._parts.fold_thread.may_resume.set()


def run_if_possible(work: Callable[[], T]) -> T | None:
    """Run work that can be postponed. Return None when the disk is full or the journal busy."""
    try:
        with with_translated_errors():
            return work()
    except (Full, Busy):
        return None


def _raise_lasting(error: Exception) -> None:
    """Raise the refusal for an error, unless a retry may succeed."""
    refusal = to_refusal(error)
    if not isinstance(refusal, Full | Busy):
        raise refusal from error
