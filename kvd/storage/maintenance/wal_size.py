"""The size of the journal's WAL. It is estimated after each commit and measured now and then, because measuring costs.

A checkpoint is due at `checkpoint_bytes`. Commits wait for it beyond `limit`, and otherwise the WAL would grow for as
long as the fold thread or another program reads it.
"""

from kvd.limits import WAL_BYTES_MAX, WAL_CHECK_BYTES, WAL_CHECKPOINT_BYTES
from kvd.storage.files.journal import Journal
from kvd.storage.files.sqlite import PAGE_BYTES


class WalSize:
    """The bytes in use and their limits."""

    def __init__(self, journal: Journal) -> None:
        self._journal = journal
        self.checkpoint_bytes = min(WAL_CHECKPOINT_BYTES, journal.wal.stat().st_size // 2)
        self.used = self.checkpoint_bytes  # unknown after a crash: the first commit requests a checkpoint
        self._unmeasured = 0  # the estimated part
        # On a small disk the WAL keeps its initial length: the fold needs the rest of the space.
        self.limit_min = self.limit = min(WAL_BYTES_MAX, 2 * self.checkpoint_bytes)

    @property
    def is_checkpoint_due(self) -> bool:
        """Return whether the WAL is long enough for a checkpoint."""
        return self.used > self.checkpoint_bytes

    @property
    def is_over_limit(self) -> bool:
        """Return whether commits must wait for a checkpoint."""
        return self.used > self.limit

    @property
    def is_disk_small(self) -> bool:
        """Return whether the WAL must keep its initial length."""
        return self.limit_min < WAL_BYTES_MAX

    def on_commit(self, written: int) -> None:
        """Add a commit. Measures after WAL_CHECK_BYTES: with rows of 2 KB the WAL may be twice the estimate."""
        added = wal_growth(written)
        self.used += added
        self._unmeasured += added
        if self._unmeasured > WAL_CHECK_BYTES:
            self.measure()

    def measure(self) -> None:
        """Read the size from SQLite."""
        self.used = self._journal.wal_used()
        self._unmeasured = 0

    def on_checkpoint(self) -> None:
        """Handle a complete checkpoint: the next commit starts at the beginning of the WAL."""
        self.used = 0

    def adjust_limit(self) -> None:
        """Allow the WAL to grow by another checkpoint's worth after one that was incomplete."""
        self.limit = max(self.limit_min, self.used + self.checkpoint_bytes)


def wal_growth(written: int) -> int:
    """Return an estimate of the WAL's growth by a commit in whole pages: the end of the journal and its parents."""
    return (3 + written * 21 // 20 // PAGE_BYTES) * PAGE_BYTES
