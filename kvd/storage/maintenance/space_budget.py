"""The disk space that commits may use: refuses writes before the fold, a checkpoint or COMPACT would lack space."""

from kvd.errors import Full
from kvd.storage.files.sqlite import PAGE_BYTES
from kvd.storage.maintenance.fold_jobs import FoldJobs
from kvd.storage.maintenance.parts import StoreParts
from kvd.storage.maintenance.wal_size import WalSize, wal_growth

# Upper bound of a table row's size without key and value. A value of more than a quarter of a page has its own pages.
ROW_BYTES_MAX = PAGE_BYTES + 700
NO_SPACE = "the disk of the data directory is full: CLEAR and COMPACT, or free disk space"


class SpaceBudget:
    """The budget of one store."""

    def __init__(self, parts: StoreParts, jobs: FoldJobs, wal: WalSize) -> None:
        self._parts = parts
        self._jobs = jobs
        self._wal = wal
        self.room_left = 0  # bytes that may be written before the next look at the disk
        self._held_back = 0  # bytes that the last `fold_all` could not fold or checkpoint

    def batch_bytes(self) -> int | None:
        """Return the limit of a batch on a disk that is nearly full, else None."""
        if self.room_left <= 0 and self._parts.disk_space.is_near_end():
            return self._parts.disk_space.bytes // 4  # see _fit_ballast
        return None

    def expect(self, size: int, rows: int) -> None:
        """Raise Full when the disk lacks space for a commit and for the fold of all changes."""
        disk = self._parts.disk_space
        more = size + ROW_BYTES_MAX * rows
        # While space is plentiful, the last look counts, minus the commits since: a look at each commit costs 4 us.
        self.room_left -= 2 * (more + wal_growth(size))
        if self.room_left > 0:
            return
        if disk.is_near_end():
            self._fit_ballast(more + wal_growth(size))
        if self._has_space_for(more, size):
            self.room_left = disk.headroom() - 2 * (self.pending() + more)
            return
        if self.pending() or not disk.is_short:
            self._jobs.fold_all()
        more = max(more, disk.minimum_free // 2)  # otherwise each of the last writes would wait for a fold
        if not (self._has_space_for(more, size) or self._has_reusable_pages(more)):
            disk.release_ballast()
            raise Full(NO_SPACE)

    def pending(self) -> int:
        """Return an upper bound of the bytes that the fold has yet to write."""
        return sum([overlay.payload + ROW_BYTES_MAX * overlay.changes for overlay in self._parts.overlays.overlays()])

    def _fit_ballast(self, more: int) -> None:
        """Fold and checkpoint everything before it exceeds half of the ballast, because other programs use the disk.

        If they fill it, the fold, the checkpoint and COMPACT have only the ballast, and CLEAR needs all three.
        """
        waiting = self.pending() + self._wal.used
        self._held_back = min(self._held_back, waiting)
        if waiting > self._held_back and waiting + more > self._held_back + self._parts.disk_space.bytes // 2:
            self._jobs.fold_all()
            self._held_back = self.pending() + self._wal.used

    def _has_space_for(self, more: int, size: int) -> bool:
        """Return whether there is space to fold `more` bytes and to append `size` bytes to the journal.

        Both files grow by the contents of their WALs, and the journal's WAL may grow.
        """
        wals = self._jobs.table_wal_bytes + self._wal.used + 2 * wal_growth(size)
        return self._parts.disk_space.is_enough_for(self.pending() + more, wals)

    def _has_reusable_pages(self, more: int) -> bool:
        """Return whether CLEAR and COMPACT have freed enough pages in both files."""
        free = min(self._parts.journal.free_bytes(), self._parts.table.free_bytes())
        return free >= self._parts.disk_space.minimum_free + self.pending() + more

    def prepare_compact(self) -> None:
        """While the disk is short, release the reserve to a COMPACT, and truncate the WALs."""
        if self._parts.disk_space.is_short:
            self._parts.disk_space.release_reserve()
            self._jobs.allow_retry()
            self._jobs.fold_all()

    def check(self) -> None:
        """Look at the disk. While it is short, fold deletions at once, and restore the ballast when possible."""
        self.room_left = 0
        if not self._parts.disk_space.is_short:
            if not self._parts.disk_space.is_enough_for(0, 0):
                self._parts.disk_space.release_ballast()
        elif not self._parts.disk_space.restore_ballast():
            self._jobs.allow_retry()
            if self._parts.overlays.active.changes:
                self._jobs.begin_fold(is_short=True)
