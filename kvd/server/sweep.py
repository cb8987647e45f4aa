"""The sweep: deletes expired keys while clients are served.

Readers see an expired key as deleted at once, so no client waits for a sweep, and no sweep may delay a client. A sweep
takes about as long as the commit of one write, and the loop serves clients for as long before the next. Redis bounds
its cycle in the same way, by time and share.
"""

import logging
from collections.abc import Callable
from time import perf_counter, thread_time

from kvd.commands.model import Milliseconds, Row
from kvd.errors import Corrupt
from kvd.limits import (
    EXPIRY_INTERVAL_MS,
    EXPIRY_LATE_MS,
    EXPIRY_LATE_SWEEPS,
    EXPIRY_RETRY_MS,
    EXPIRY_SWEEP_KEYS_MAX,
    EXPIRY_SWEEP_KEYS_MIN,
    EXPIRY_SWEEP_US,
    EXPIRY_SWEEP_US_MAX,
)
from kvd.server.pipeline import PASSING, BatchPipeline

SMOOTHED_OVER = 8  # sweeps
CPU_S_MIN = 0.000_001

log = logging.getLogger("kvd")


class Pace:
    """The number of keys per sweep, from the time the last sweeps took.

    The processor's time grows with the keys. The wait for the disk, and for a processor that other programs use, does
    not: where that wait is long, small sweeps would take very long in total, and no client would wait less.
    """

    def __init__(self) -> None:
        self.keys = EXPIRY_SWEEP_KEYS_MIN
        self._wait_s = 0.0
        self._since: Milliseconds | None = None  # since then every sweep left some keys

    def budget_s(self, now: Milliseconds) -> float:
        """Return the processor time that a sweep may take."""
        is_late = self._since is not None and now - self._since > EXPIRY_LATE_MS
        usual = max(EXPIRY_SWEEP_US / 1_000_000, min(self._wait_s / 2, EXPIRY_SWEEP_US_MAX / 1_000_000))
        return usual * EXPIRY_LATE_SWEEPS if is_late else usual

    def note(self, keys: int, took_s: float, cpu_s: float, now: Milliseconds, *, is_more: bool) -> None:
        """Take note of a sweep: its keys, its total time, its processor time, and whether it left some keys."""
        self._wait_s += (max(0.0, took_s - cpu_s) - self._wait_s) / SMOOTHED_OVER
        if is_more and keys:
            fitting = int(keys * self.budget_s(now) / max(cpu_s, CPU_S_MIN))
            self.keys = max(EXPIRY_SWEEP_KEYS_MIN, min(EXPIRY_SWEEP_KEYS_MAX, 2 * self.keys, fitting))
        self._since = (self._since or now) if is_more else None


class Sweep:
    """Deletes expired entries."""

    def __init__(self, pipeline: BatchPipeline, publish: Callable[[list[Row], Milliseconds], None]) -> None:
        self.next: Milliseconds = 0
        self.damaged: set[bytes] = set()
        self._pipeline = pipeline
        self._executor = pipeline.executor
        self._publish = publish
        self._pace = Pace()
        self._free_until = 0.0

    def is_due(self, now: Milliseconds) -> bool:
        return now >= self.next and perf_counter() >= self._free_until

    def run(self, now: Milliseconds) -> None:
        """Delete some expired entries. Raises Refused when the commit failed and its outcome is unknown."""
        began, cpu = perf_counter(), thread_time()
        self.next = now + EXPIRY_INTERVAL_MS
        store = self._executor.store
        try:
            keys = store.due(now, self._pace.keys, skip=self.damaged)
            count = self._stage(keys, now, began + self._pace.budget_s(now))
            rows = self._pipeline.commit()
        except (*PASSING, Corrupt) as error:
            # Readers see expired keys as deleted anyway.
            log.warning("event=expiry_delayed %s", error)
            self.next = now + EXPIRY_RETRY_MS
            return
        is_more = store.search.is_cut or count < len(keys)
        self._publish(rows, now)
        ended = perf_counter()
        self._pace.note(count, ended - began, thread_time() - cpu, now, is_more=is_more)
        if is_more:
            self.next = now + 1
            self._free_until = ended + (ended - began)

    def _stage(self, keys: list[bytes], now: Milliseconds, until: float) -> int:
        """Stage the expiry of keys until the time `until`, at least one; return their number.

        A key that is damaged on disk is skipped until a repair.
        """
        for count, key in enumerate(keys, 1):
            try:
                self._executor.engine.expire([key], now)
            except Corrupt as error:
                log.error("event=damaged_entry key=%r %s", key, error)  # noqa: TRY400  # not a defect
                self.damaged.add(key)
            if perf_counter() > until:
                return count
        return len(keys)
