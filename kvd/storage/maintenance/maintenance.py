"""Background maintenance of a store: folds, checkpoints, trimming and disk space, around commits and between them.

All of it runs in the loop's thread and hands slow work to the fold thread (fold_jobs.py). Commits pay for it in small
steps: before one, back-pressure and the space budget may delay or refuse it; after one, a job may begin.

Rejected: a scheduler of its own with a thread for each task. Its tasks would have to lock the overlays and the journal
against the loop, and a commit that needs a fold would wait for the scheduler.
"""

from functools import partial
from pathlib import Path
from typing import Any

from kvd.commands.model import KIND, SET, Milliseconds, StagedChanges
from kvd.errors import Corrupt, Full, Refused
from kvd.limits import (
    ENTRY_OVERHEAD_BYTES,
    FOLD_AGE_MS,
    FOLD_BYTES,
    FOLD_CHANGES,
    TRIM_INTERVAL_MS,
    TRIMMED_PER_IDLE_COMMIT_MAX,
)
from kvd.storage.files.sqlite import bytes_of
from kvd.storage.maintenance.back_pressure import BackPressure
from kvd.storage.maintenance.fold_jobs import FoldJobs, run_if_possible
from kvd.storage.maintenance.parts import StoreParts
from kvd.storage.maintenance.space_budget import SpaceBudget
from kvd.storage.maintenance.wal_size import WalSize

ROW_HEADER_BYTES = 64  # of the journal, about


class Maintenance:
    """The maintenance of one store. The store calls it around each commit, and the loop calls `tick`."""

    def __init__(self, parts: StoreParts) -> None:
        self.parts = parts
        self.wal = WalSize(parts.journal)
        self.jobs = FoldJobs(parts, self.wal)
        self.pressure = BackPressure(parts.overlays, self.jobs, self.wal)
        self.space = SpaceBudget(parts, self.jobs, self.wal)
        self._fold_due_at: Milliseconds = 0
        self._trim_due_at: Milliseconds = 0
        self._idle_revision = parts.overlays.revision  # at the last check for an idle loop
        files = (parts.journal.path, parts.table.path)
        self._inodes = {path: _inode_of(path) for file in files for path in (file, file.with_name(f"{file.name}-wal"))}

    # Around a commit

    def batch_bytes(self) -> int:
        """Return how many bytes a batch may stage without a long delay. The loop calls it for each batch."""
        limit = self.space.batch_bytes()
        return self.pressure.batch_bytes() if limit is None else limit

    def before_commit(self, batch: StagedChanges) -> int | None:
        """Delay or refuse a batch if necessary. Return the revision up to which its commit deletes rows, if any.

        Raises Full, Busy.
        """
        size, rows = batch.payload, len(batch.rows)
        self.pressure.wait(size + ENTRY_OVERHEAD_BYTES * rows)
        # Twice the batch: otherwise the journal would grow as long as large commits come.
        trim = self.trim_target(most=self.parts.retention.clamp(2 * rows, 2 * size))
        if any(row[KIND] == SET for row in batch.rows):
            self.space.expect(size, rows)
        if batch.compacted is not None:
            self.space.prepare_compact()
        return trim

    def on_commit_refused(self, refusal: Refused) -> None:
        """Release the ballast when a commit has filled the disk."""
        if isinstance(refusal, Full):
            self.parts.disk_space.release_ballast()

    def after_commit(self, batch: StagedChanges, trim: int | None) -> None:
        """Account for a commit, and begin a fold or a checkpoint when it is due."""
        if batch.compacted is not None:
            self.parts.retention.on_compacted(batch.compacted)
        if trim is not None:
            self._on_trimmed(trim)
        self.wal.on_commit(batch.payload + ROW_HEADER_BYTES * len(batch.rows))
        if self.wal.is_checkpoint_due:
            self.jobs.begin_checkpoint()
        active = self.parts.overlays.active
        if active.changes >= FOLD_CHANGES or active.size >= FOLD_BYTES:
            self.jobs.begin_fold()

    # Between commits

    def tick(self, now: Milliseconds) -> None:
        """Handle completed jobs, and do what is due. Raises Refused when the storage has failed."""
        self.jobs.finish_completed()
        if now > self._fold_due_at:
            self._fold_due_at = now + FOLD_AGE_MS
            self.jobs.allow_retry()
            self.jobs.begin_fold()
            run_if_possible(self.parts.tokens.delete_expired)
            self._check_files_in_place()
        if now >= self._trim_due_at:
            self._trim_due_at = now + TRIM_INTERVAL_MS
            self.space.check()
            revision = self.parts.overlays.revision
            is_idle, self._idle_revision = self._idle_revision == revision, revision
            if is_idle:
                self._trim_idle()

    def diagnose(self, error: Refused) -> Refused:
        """Return the reason of a storage failure: a file that was removed explains any error of SQLite."""
        try:
            self._check_files_in_place()
        except Corrupt as removed:
            return removed
        return error

    def _check_files_in_place(self) -> None:
        """Raise Corrupt when a restart would not find one of the files."""
        for path, inode in self._inodes.items():
            if _inode_of(path) != inode:
                raise Corrupt(f"{path} was moved or removed while it was in use: new writes would be lost")

    # Trimming

    def trim_target(self, least: int | None = None, most: int | None = None) -> int | None:
        """Return the revision up to which to delete rows, if any. The last row stays: it has the head revision."""
        return self.parts.retention.target(min(self.jobs.durable, self.parts.overlays.revision - 1), least, most)

    def _trim_idle(self) -> None:
        """Delete old rows while nobody writes."""
        trim = self.trim_target(least=1, most=self.parts.retention.clamp(TRIMMED_PER_IDLE_COMMIT_MAX, 0))
        if trim is not None and run_if_possible(partial(self.parts.journal.trim, trim)):
            self._on_trimmed(trim)

    def _on_trimmed(self, upto: int) -> None:
        """Account for deleted rows. Their number does not determine the growth of the WAL, so it is measured."""
        self.parts.retention.on_trimmed(upto)
        self.wal.measure()
        if self.wal.is_checkpoint_due:
            self.jobs.begin_checkpoint()

    def facts(self, wal_bytes: int) -> dict[str, Any]:
        """Return the fields of INFO about maintenance. `wal_bytes` is the length of the journal's WAL."""
        table = self.parts.table.path
        return {
            "folds": self.jobs.count,
            "fold_last_ms": self.jobs.last_ms,
            "fold_waits": self.pressure.waits,
            "tokens": len(self.parts.tokens),
            "disk_free": self.parts.disk_space.free(),
            "disk_is_short": self.parts.disk_space.is_short,
            "wal_bytes": wal_bytes,
            "wal_used_bytes": self.wal.used,
            "table_wal_bytes": bytes_of(table.with_name(f"{table.name}-wal")),
        }


def _inode_of(path: Path) -> int | None:
    """Return the inode of a file, None if it does not exist."""
    try:
        return path.stat().st_ino
    except FileNotFoundError:
        return None
