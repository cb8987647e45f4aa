"""What keeps a store in shape beside its commits: folds, checkpoints, the journal's retention, room on the disk.

All of it is the loop's thread, which asks the fold's thread for work and takes note of what it did.
"""

import logging
from collections.abc import Callable
from functools import partial
from pathlib import Path
from queue import Empty
from time import monotonic
from typing import TypeVar

from kvd.commands.model import Milliseconds
from kvd.errors import Busy, Corrupt, Full, Refused
from kvd.limits import (
    BATCH_BYTES_MAX,
    FOLD_AGE_MS,
    FOLD_BYTES,
    FOLD_CHANGES,
    OVERLAY_BYTES_MAX,
    OVERLAY_CHANGES_MAX,
    TRIM_INTERVAL_MS,
    TRIMMED_PER_IDLE_COMMIT_MAX,
    WAL_BYTES_MAX,
    WAL_CHECK_BYTES,
    WAL_CHECKPOINT_BYTES,
)
from kvd.storage.files.journal import Journal
from kvd.storage.files.sqlite import PAGE_BYTES, to_refusal, wal_used, with_translated_errors
from kvd.storage.files.table import Table
from kvd.storage.maintenance import throttle
from kvd.storage.maintenance.disk_space import DiskSpace
from kvd.storage.maintenance.fold_thread import CheckpointJob, FoldJob, FoldThread, JobResult
from kvd.storage.maintenance.retention import Retention
from kvd.storage.maintenance.throttle import Throttle
from kvd.storage.memory.overlays import Overlay, Overlays

# What a row of the table takes besides its key and value, at most: a value of more than a quarter of a page goes into
# pages of its own.
ROW_BYTES_MAX = PAGE_BYTES + 700
LONG_S = 3_600.0
NO_SPACE = "there is no room left on the disk of the data directory: CLEAR and COMPACT, or make room"
T = TypeVar("T")

log = logging.getLogger("kvd")


class Maintenance:
    """The half of a store that nobody asks for."""

    journal: Journal
    table: Table
    overlays: Overlays
    fold_thread: FoldThread
    retention: Retention
    disk_space: DiskSpace
    revision: int
    folded: int
    durable: int
    tokens: dict[bytes, tuple[int, int]]
    next_token: int

    def begin_maintenance(self) -> None:
        """Begin, once the files are open."""
        self.checkpoint_bytes = min(WAL_CHECKPOINT_BYTES, self.journal.wal.stat().st_size // 2)
        self.wal_bytes = self.checkpoint_bytes  # unknown after a crash: the first fold asks for a checkpoint
        self.wal_unseen = 0  # of that, what is estimated
        self.table_wal = wal_used(self.table.db)
        # On a small disk the WAL stays within the room it has: the room beyond that is for the fold.
        self.wal_bytes_least = self.wal_bytes_max = min(WAL_BYTES_MAX, 2 * self.checkpoint_bytes)
        self.room_left = 0
        self.held_back = 0  # what the last attempt to fold all of it left, beside readers or for want of room
        self.fold_asked_at: Milliseconds = 0
        self.trimmed_at: Milliseconds = 0
        self.seen = self.revision  # at the last look whether somebody writes
        self.checkpoint_asked = False
        self.fold_waits = self.folds = self.fold_ms = 0
        self.fold_error: Exception | None = None
        self.throttle = Throttle()
        self.fold_began = 0.0  # on the monotonic clock
        self.is_refusing = False  # since a wait for the fold was in vain
        files = (self.journal.path, self.table.path)
        self.places = {path: _inode_of(path) for file in files for path in (file, file.with_name(f"{file.name}-wal"))}

    # Folds

    def _measure_wal(self) -> None:
        """Ask SQLite how long the journal's WAL is. Rows of 2 KB have a page each, so it may be twice the estimate."""
        self.wal_bytes = self.journal.wal_used()
        self.wal_unseen = 0

    def plan(self, written: int) -> None:
        """Ask for a fold or a checkpoint when enough has come together, after a commit of so many bytes."""
        added = _wal_bytes_of(written)
        self.wal_bytes += added
        self.wal_unseen += added
        if self.wal_unseen > WAL_CHECK_BYTES:
            self._measure_wal()
        if self.wal_bytes > self.checkpoint_bytes:
            self.begin_checkpoint()
        fresh = self.overlays.active
        if fresh.changes >= FOLD_CHANGES or fresh.size >= FOLD_BYTES:
            self.begin_fold()

    def begin_fold(self, *, is_short: bool = False) -> None:
        """Hand the fresh overlay to the fold, if it is not at work; an empty one to make the last fold durable.

        `is_short`: the disk is, so the table's WAL is to give its room back.
        """
        is_due = self.overlays.active.changes or self.durable < self.folded
        if (is_short or is_due) and self.overlays.immutable is None and self.fold_error is None:
            self.fold_began = monotonic()
            plan = self.overlays.begin_fold(self.revision)
            self.fold_thread.submit(FoldJob(self.revision, is_short, plan))

    def begin_checkpoint(self) -> None:
        """Ask for a checkpoint of the journal, unless one is under way."""
        if not self.checkpoint_asked:
            self.checkpoint_asked = True
            self.fold_thread.submit(CheckpointJob())

    def wait_for_overlay_capacity(self, size: int) -> None:
        """Wait while the fold is behind, the longer the fuller the overlay is, for a commit of so many bytes.

        Raises Full when the fold cannot go on, and Busy when it does not come on at all.
        """
        fill = self.fill()
        if fill > throttle.EASY:
            self.begin_fold()
            if fill >= 1 and self.fold_error is not None:
                raise Full(f"the table cannot take more: {self.fold_error}")
            self.fold_waits += fill >= 1  # it does not keep up
            self.wait_for_fold(self.throttle.delay_s(fill, size / OVERLAY_BYTES_MAX, self._fold_rate()))
            self._expect_overlay_capacity()
        if self.wal_bytes > self.wal_bytes_max:
            self.wait_for_checkpoint()

    def _expect_overlay_capacity(self) -> None:
        """Raise Busy when the overlay is far beyond its bound, after a wait: but one, until a fold is over."""
        if self.fill() >= throttle.LIMIT and not self.is_refusing:
            self.wait_for_fold(throttle.DELAY_S_MAX)
        self.is_refusing = self.fill() >= throttle.LIMIT
        if self.is_refusing:
            raise Busy("the disk does not keep up with what is written: try again in a moment")

    def wait_for_fold(self, seconds: float) -> None:
        """Wait until a fold is over, so long at most."""
        until = monotonic() + seconds
        while (left := until - monotonic()) > 0:
            done = self._next_done(left)
            if done is None or isinstance(done.job, FoldJob):
                return

    def _next_done(self, seconds: float) -> JobResult | None:
        """Take note of the next job that is over; None when none is within that time."""
        try:
            done = self.fold_thread.done.get(timeout=seconds)
        except Empty:
            return None
        self.finish(done)
        return done

    def wait_for_checkpoint(self) -> None:
        """Wait until the journal's WAL can be used from its start again, but not for long.

        While another program reads it, or the disk is slow, only try: the WAL grows for as long.
        """
        self.begin_checkpoint()
        is_small = self.wal_bytes_least < WAL_BYTES_MAX  # the disk: there the fold needs the room
        until = monotonic() + (LONG_S if is_small else throttle.DELAY_S_MAX)
        while self.checkpoint_asked and (left := until - monotonic()) > 0:
            self._next_done(left)
        if not self.checkpoint_asked:
            self.wal_bytes_max = max(self.wal_bytes_least, self.wal_bytes + self.checkpoint_bytes)

    def fill(self) -> float:
        """Return how full the overlay is: 1 at its bound."""
        return sum([_fill_of(overlay) for overlay in self.overlays.overlays()])

    def _fold_rate(self) -> float:
        """Return how much of the overlay's bound the fold takes away in a second."""
        folding = self.overlays.immutable
        return self.throttle.rate_now(0.0 if folding is None else _fill_of(folding), monotonic() - self.fold_began)

    def batch_bytes(self) -> int:
        """Return how many bytes a batch may stage, so that it does not wait long for the fold. Asked for each batch."""
        if self.room_left <= 0 and self.disk_space.is_near_end():
            return self.disk_space.bytes // 4  # see fit_ballast
        if self.overlays.immutable is None or (fill := self.fill()) <= throttle.EASY:
            return BATCH_BYTES_MAX
        return min(BATCH_BYTES_MAX, int(self.throttle.batch(fill, self._fold_rate()) * OVERLAY_BYTES_MAX))

    # Room on the disk

    def expect_disk_space(self, size: int, rows: int) -> None:
        """Raise Full when the disk is short for so many bytes in so many rows; what is not folded needs room too."""
        more = size + ROW_BYTES_MAX * rows
        # While there is plenty, what was so at the last look, less what came since: to look at each commit takes 4 us.
        self.room_left -= 2 * (more + _wal_bytes_of(size))
        if self.room_left > 0:
            return
        if self.disk_space.is_near_end():
            self._fit_ballast(more + _wal_bytes_of(size))
        if self._has_space_for(more, size):
            self.room_left = self.disk_space.headroom() - 2 * (self.pending() + more)
            return
        self._fold_now()
        more = max(more, self.disk_space.minimum_free // 2)  # or the last writes would wait for a fold each
        if not (self._has_space_for(more, size) or self._has_reusable_pages(more)):
            self.disk_space.release_ballast()
            raise Full(NO_SPACE)

    def _fit_ballast(self, more: int) -> None:
        """Fold and checkpoint all there is before it exceeds half of the ballast: another program may take the room.

        The ballast is then all that the fold, the checkpoint and COMPACT have, and without these CLEAR frees nothing.
        """
        waiting = self.pending() + self.wal_bytes
        self.held_back = min(self.held_back, waiting)
        if waiting > self.held_back and waiting + more > self.held_back + self.disk_space.bytes // 2:
            self.fold_all()
            self.held_back = self.pending() + self.wal_bytes

    def _has_space_for(self, more: int, size: int) -> bool:
        """Return whether there is room to fold so much more, and for the journal to take so many bytes.

        Both files take what is in their WALs, and the journal's may grow.
        """
        return self.disk_space.is_enough_for(
            self.pending() + more, self.table_wal + self.wal_bytes + 2 * _wal_bytes_of(size)
        )

    def pending(self) -> int:
        """Return how many bytes the fold has yet to write at most."""
        return sum([overlay.payload + ROW_BYTES_MAX * overlay.changes for overlay in self.overlays.overlays()])

    def _has_reusable_pages(self, more: int) -> bool:
        """Return whether what was cleared and compacted left room for so many bytes in both files."""
        return (
            min(self.journal.free_bytes(), self.table.free_bytes())
            >= self.disk_space.minimum_free + self.pending() + more
        )

    def _fold_now(self) -> None:
        """Fold and checkpoint all there is, unless that was done, and wait for it."""
        if self.pending() or not self.disk_space.is_short:
            self.fold_all()

    def prepare_compact(self) -> None:
        """While the disk is short, leave its last room to a COMPACT and what comes of it; let the WALs give theirs."""
        if self.disk_space.is_short:
            self.disk_space.release_reserve()
            self.fold_error = None
            self.fold_all()

    def fold_all(self) -> None:
        """Fold and checkpoint all there is, let the table's WAL give its room back, and wait for it."""
        self.wait_for_fold_thread()
        self.begin_fold(is_short=True)
        self.begin_checkpoint()
        self.wait_for_fold_thread()

    def wait_for_fold_thread(self) -> None:
        """Wait until neither a fold nor a checkpoint is at work."""
        while self.overlays.immutable is not None or self.checkpoint_asked:
            self.finish(self.fold_thread.done.get())

    def _check_disk_space(self) -> None:
        """Look at the disk. While it is short, what was cleared is folded at once, and the ballast taken back."""
        self.room_left = 0
        if not self.disk_space.is_short:
            if not self.disk_space.is_enough_for(0, 0):
                self.disk_space.release_ballast()
        elif not self.disk_space.restore_ballast():
            self.fold_error = None
            if self.overlays.active.changes:
                self.begin_fold(is_short=True)

    # What happens beside commits

    def tick(self, now: Milliseconds) -> None:
        """Take note of what the fold did, and start what is due. Raises Refused when the storage has failed."""
        while not self.fold_thread.done.empty():
            self.finish(self.fold_thread.done.get())
        if now - self.fold_asked_at > FOLD_AGE_MS:
            self.fold_asked_at = now
            self.fold_error = None
            self.begin_fold()
            self.forget_tokens()
            self._check_files_in_place()
        if now - self.trimmed_at >= TRIM_INTERVAL_MS:
            self._check_disk_space()
            is_idle, self.trimmed_at, self.seen = self.seen == self.revision, now, self.revision
            if is_idle:
                self._trim_idle()

    def _check_files_in_place(self) -> None:
        """Raise Corrupt when a file is no longer where a restart would look for it."""
        for path, inode in self.places.items():
            if _inode_of(path) != inode:
                raise Corrupt(f"{path} was moved or removed while it was in use: what is written now would be lost")

    def diagnose(self, error: Refused) -> Refused:
        """Return why the storage failed: that a file is gone explains whatever SQLite found."""
        try:
            self._check_files_in_place()
        except Corrupt as gone:
            return gone
        return error

    def finish(self, done: JobResult) -> None:
        """Take note of a job that is over."""
        self.durable, self.table_wal = done.durable, done.wal
        if isinstance(done.job, CheckpointJob):
            self.finish_checkpoint(done)
        elif done.error is None:
            self.folded, self.folds, self.fold_ms = done.job.upto, self.folds + 1, done.ms
            if self.overlays.immutable is not None:
                self.throttle.on_fold(_fill_of(self.overlays.immutable), monotonic() - self.fold_began)
            self.overlays.end_fold(self.table.upper_bound())
            self._plan_trim()
            log.debug("event=fold revision=%d ms=%d", self.folded, self.fold_ms)
        else:
            log.debug("event=fold_failed %s", done.error)
            self.overlays.undo_fold()
            self.fold_error = done.error
            _raise_lasting(done.error)
            if isinstance(to_refusal(done.error), Full):
                self.disk_space.release_ballast()

    def finish_checkpoint(self, done: JobResult) -> None:
        """Copy what came into the WAL meanwhile, so that it is used from its start again."""
        self.checkpoint_asked = False
        if done.error is not None:
            _raise_lasting(done.error)
        elif self.if_possible(self.journal.finish_checkpoint):
            log.debug("event=checkpoint bytes=%d ms=%d", self.wal_bytes, done.ms)
            self.wal_bytes = 0
        self.fold_thread.may_resume.set()

    def if_possible(self, work: Callable[[], T]) -> T | None:
        """Do what can wait while the disk is full or the journal busy; None when it has to."""
        try:
            with with_translated_errors():
                return work()
        except (Full, Busy):
            return None

    def _plan_trim(self) -> None:
        """Decide up to where old changes may go."""
        with with_translated_errors():
            self.retention.plan(self.revision, self.journal.used_bytes())

    def trim_target(self, least: int | None = None, most: int | None = None) -> int | None:
        """Return up to where a commit deletes rows, if it is to. The last row stays: the head revision is its own."""
        return self.retention.target(min(self.durable, self.revision - 1), least, most)

    def _trim_idle(self) -> None:
        """Delete some of the forgotten changes also when nobody writes."""
        trim = self.trim_target(least=1, most=self.retention.clamp(TRIMMED_PER_IDLE_COMMIT_MAX, 0))
        if trim is not None and self.if_possible(partial(self.journal.trim, trim)):
            self.note_trimmed(trim)

    def note_trimmed(self, upto: int) -> None:
        """Take note that rows were deleted. What that wrote to the WAL cannot be told from their number."""
        self.retention.on_trimmed(upto)
        self._measure_wal()
        if self.wal_bytes > self.checkpoint_bytes:
            self.begin_checkpoint()

    def forget_tokens(self) -> None:
        """Delete the tokens that no longer count."""
        oldest = next(iter(self.tokens.values()))[0] if self.tokens else self.next_token
        self.if_possible(partial(self.journal.forget_tokens, oldest))


def _fill_of(overlay: Overlay) -> float:
    """Return how much of the overlay's bound a part of it takes."""
    return max(overlay.changes / OVERLAY_CHANGES_MAX, overlay.size / OVERLAY_BYTES_MAX)


def _wal_bytes_of(written: int) -> int:
    """Return what a commit of so many bytes adds to the journal's WAL: the end of the journal and its parents.

    Estimated in whole pages.
    """
    return (3 + written * 21 // 20 // PAGE_BYTES) * PAGE_BYTES


def _inode_of(path: Path) -> int | None:
    """Return the number of a file, None if there is none."""
    try:
        return path.stat().st_ino
    except FileNotFoundError:
        return None


def _raise_lasting(error: Exception) -> None:
    """Raise what an error means, unless it may pass by itself."""
    refusal = to_refusal(error)
    if not isinstance(refusal, Full | Busy):
        raise refusal from error
