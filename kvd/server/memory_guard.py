"""Limits the memory of the process.

libzmq limits the number of replies and changes it queues for clients, but not their bytes: 10,000 replies of 16 MiB
would be 160 GB. Above a limit, large replies are refused and watchers are disconnected, which frees their queues. They
reconnect and resume by CHANGES.
"""

import ctypes
import logging
import os
from pathlib import Path

from kvd.commands.model import Milliseconds
from kvd.limits import MEMORY_CHECK_BYTES, MEMORY_CHECK_MS, MEMORY_PRESSURE_BYTES, MEMORY_TRIM_MS

log = logging.getLogger("kvd")

PAGE_BYTES = os.sysconf("SC_PAGE_SIZE")
STATM = Path("/proc/self/statm")


class MemoryGuard:
    """Checks the memory of this process from time to time, and sooner after many bytes of replies."""

    def __init__(self) -> None:
        self.under_pressure = False
        self.next_check: Milliseconds = 0
        self.next_trim: Milliseconds = 0
        self.answered = 0

    def tick(self, answered: int, now: Milliseconds) -> bool:
        """Check the memory if due; return whether it has just become tight. `answered` is the bytes of all replies."""
        if now < self.next_check and answered - self.answered < MEMORY_CHECK_BYTES:
            return False
        self.next_check, self.answered = now + MEMORY_CHECK_MS, answered
        was_tight, resident = self.under_pressure, resident_bytes()
        if resident > MEMORY_PRESSURE_BYTES // 2 and now >= self.next_trim:
            self.next_trim = now + MEMORY_TRIM_MS
            _release_memory()
            resident = resident_bytes()
        self.under_pressure = resident > MEMORY_PRESSURE_BYTES
        if self.under_pressure != was_tight:
            self._log_pressure(resident)
        return self.under_pressure and not was_tight

    def _log_pressure(self, resident: int) -> None:
        if self.under_pressure:
            log.warning("event=memory_tight bytes=%d large replies are refused, watchers are disconnected", resident)
        else:
            log.warning("event=memory_eased bytes=%d", resident)


def resident_bytes() -> int:
    """Return the resident memory of this process, or 0 if the system does not report it. Takes 5 us."""
    try:
        return int(STATM.read_bytes().split()[1]) * PAGE_BYTES
    except OSError:
        return 0


def _release_memory() -> None:
    """Make the C library return free memory to the system, such as the queue of a client that left."""
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None)
    if trim is not None:
        trim(0)
