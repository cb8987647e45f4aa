"""Back-pressure: delays commits while the fold is behind, and refuses them far beyond the overlay's bound.

The delays are computed in throttle.py.
"""

from kvd.errors import Busy, Full
from kvd.limits import BATCH_BYTES_MAX
from kvd.storage.maintenance import throttle
from kvd.storage.maintenance.fill import bytes_to_fill, fill_to_bytes, overlay_fill
from kvd.storage.maintenance.fold_jobs import FoldJobs
from kvd.storage.maintenance.wal_size import WalSize
from kvd.storage.memory.overlays import Overlays


class BackPressure:
    """The delays of one store's commits."""

    def __init__(self, overlays: Overlays, jobs: FoldJobs, wal: WalSize) -> None:
        self._overlays = overlays
        self._jobs = jobs
        self._wal = wal
        self.waits = 0  # commits that found the overlay full
        self._is_refusing = False  # since a wait for the fold timed out

    def wait(self, size: int) -> None:
        """Delay a commit of `size` bytes, the longer the fuller the overlay is.

        Raises Full when the fold has failed, and Busy when it makes no progress.
        """
        fill = self.fill()
        if fill > throttle.EASY:
            self._jobs.begin_fold()
            if fill >= 1 and self._jobs.error is not None:
                raise Full(f"the table cannot take more: {self._jobs.error}")
            self.waits += fill >= 1
            delay_s = self._jobs.throttle.delay_s(fill, bytes_to_fill(size), self._jobs.fold_rate())
            self._jobs.wait_for_fold(delay_s)
            self._refuse_far_beyond_bound()
        if self._wal.is_over_limit:
            self._jobs.wait_for_checkpoint()

    def _refuse_far_beyond_bound(self) -> None:
        """Raise Busy when the overlay is far beyond its bound. Only the first refusal waits for the fold."""
        if self.fill() >= throttle.LIMIT and not self._is_refusing:
            self._jobs.wait_for_fold(throttle.DELAY_S_MAX)
        self._is_refusing = self.fill() >= throttle.LIMIT
        if self._is_refusing:
            raise Busy("the disk does not keep up with the writes: try again in a moment")

    def fill(self) -> float:
        """Return how full the overlay is: 1 at its bound."""
        return sum([overlay_fill(overlay) for overlay in self._overlays.overlays()])

    def batch_bytes(self) -> int:
        """Return how many bytes a batch may stage without a long delay."""
        if self._overlays.immutable is None or (fill := self.fill()) <= throttle.EASY:
            return BATCH_BYTES_MAX
        return min(BATCH_BYTES_MAX, fill_to_bytes(self._jobs.throttle.batch(fill, self._jobs.fold_rate())))
