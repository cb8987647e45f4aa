"""The storage's periodic work: sweeps of expired keys, interval fsyncs, maintenance, disk probes.

None of it runs once the daemon is read-only, and a failure of any makes it read-only.
"""

from kvd.commands.model import Milliseconds
from kvd.errors import Refused
from kvd.limits import EXPIRY_INTERVAL_MS, FSYNC_INTERVAL_MS
from kvd.server.executor import Executor
from kvd.server.service import Service
from kvd.server.sweep import Sweep
from kvd.storage import Store


class StorageTimers:
    """Runs the storage's work when it is due."""

    def __init__(self, store: Store, executor: Executor, sweep: Sweep, service: Service) -> None:
        self.sweep = sweep
        self.next_sync: Milliseconds = 0
        self._store = store
        self._executor = executor
        self._service = service

    def next_due(self, now: Milliseconds) -> Milliseconds:
        """Return when to call `tick` again at the latest."""
        if self._executor.read_only is not None:
            return now + EXPIRY_INTERVAL_MS
        has_unsynced = self._store.fsync == "interval" and self._store.unsynced
        return min(self.sweep.next, self.next_sync) if has_unsynced else self.sweep.next

    def tick(self, now: Milliseconds) -> None:
        """Do the work that is due."""
        if self._executor.read_only is not None:
            return
        try:
            self._run_due(now)
        except Refused as error:
            self._executor.end_writes(self._store.diagnose(error).message)

    def _run_due(self, now: Milliseconds) -> None:
        if self.sweep.is_due(now):
            self.sweep.run(now)
        if self._store.fsync == "interval" and now >= self.next_sync:
            self.next_sync = now + FSYNC_INTERVAL_MS
            self._store.sync()
        self._store.tick(now)
        if self._service.is_due(now):
            self._store.probe_disk()

    def sync_at_stop(self) -> None:
        """Make the commits of the last interval durable."""
        try:
            if self._executor.read_only is None:
                self._store.sync()
        except Refused as error:
            self._executor.end_writes(error.message)
