"""The only clock of the daemon: Unix milliseconds that never run back, also not across a restart."""

import time

from kvd.commands.entry import Milliseconds


class Clock:
    """Wall time, held still while the machine's clock is behind what was already given out."""

    def __init__(self, last: Milliseconds) -> None:
        self.last = last

    def now(self) -> Milliseconds:
        """Return the time of a batch."""
        now = time.time_ns() // 1_000_000
        self.last = max(self.last, now)
        return self.last
