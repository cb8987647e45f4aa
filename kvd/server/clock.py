"""The only clock of the daemon: Unix milliseconds that never run back, also not across a restart."""

import time

from kvd.commands.model import Milliseconds

# How much slower time goes while the machine's clock is behind: an hour is made good in eight. It must not stand still,
# or there were no heartbeats, no end of a wait and no fsync of an interval for that hour.
SLOWER_BY = 8
NS = 1_000_000


class Clock:
    """Wall time; slowed down while the machine's clock is behind what was already given out."""

    def __init__(self, last: Milliseconds) -> None:
        self.last = last
        self.ahead_since: tuple[int, Milliseconds] | None = None  # on the monotonic clock, in ns, and on ours

    def now(self) -> Milliseconds:
        """Return the time of a batch."""
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
