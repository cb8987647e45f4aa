"""The daemon's only clock: Unix milliseconds that never go back, not even across a restart."""

import time

from kvd.commands.model import Milliseconds

# How much slower it runs while the machine's clock is behind: one hour is recovered in eight. It must not stop, or
# heartbeats, deadlines of waits and interval fsyncs would stop for that hour.
SLOWER_BY = 8
NS = 1_000_000


class Clock:
    """Wall time. While the machine's clock is behind a time already returned, it runs slower instead of going back."""

    def __init__(self, last: Milliseconds) -> None:
        self.last = last
        self.ahead_since: tuple[int, Milliseconds] | None = None  # (monotonic ns, this clock's ms)

    def now(self) -> Milliseconds:
        now = time.time_ns() // NS
        if now >= self.last:
            self.last, self.ahead_since = now, None
            return now
        ticks = time.monotonic_ns()
        if self.ahead_since is None:
            self.ahead_since = ticks, self.last
        began, last = self.ahead_since
        self.last = max(self.last, last + (ticks - began) * (SLOWER_BY - 1) // SLOWER_BY // NS)
        return self.last
