"""Back-pressure: how long a commit is put off while the fold is behind. Pure; times come in as arguments.

Writers that are faster than the fold fill the overlay. To let them, and then to stop them until a whole fold is over,
keeps everybody waiting for seconds. So from EASY on each commit waits in proportion to what it brings: the fuller the
overlay, the longer. Where the wait equals the time in which the fold takes as much away, the overlay stays as it is.

`fill` is how full the overlay is: 1 at its bound. `rate` is how much of that the fold takes away in a second.
"""

EASY = 0.5  # below it nobody waits
WEIGHT = 2.0  # at the bound: writers are let in at half the rate of the fold
STEEP = 8.0  # more of it for each bound beyond the first
LIMIT = 2.0  # beyond it writes are refused
DELAY_S_MAX = 0.5
BATCH_DELAY_S = 0.1  # what a batch may bring is bounded so that it waits no longer than this
RATE = 0.5  # until a fold has shown its own
RATE_MIN = 0.001
MEASURED_FILL_MIN = 0.02  # a fold of less tells nothing about the rate


def weight(fill: float) -> float:
    """Return how many times as long as the fold takes for it a commit waits for what it brings."""
    if fill <= EASY:
        return 0.0
    return WEIGHT * (fill - EASY) / (1 - EASY) if fill <= 1 else WEIGHT + STEEP * (fill - 1)


class Throttle:
    """Knows how fast folds are, and how long commits wait for that."""

    def __init__(self) -> None:
        self.rate = RATE

    def on_fold(self, fill: float, seconds: float) -> None:
        """A fold of so much took so long."""
        if fill >= MEASURED_FILL_MIN:
            self.rate = max(RATE_MIN, (self.rate + fill / max(seconds, RATE_MIN)) / 2)

    def rate_now(self, folding: float, seconds: float) -> float:
        """Return the rate while a fold of so much has taken so long already, and is not over."""
        return max(RATE_MIN, min(self.rate, folding / seconds)) if folding and seconds > 0 else self.rate

    def delay_s(self, fill: float, added: float, rate: float) -> float:
        """Return how long a commit waits that brings so much."""
        return min(DELAY_S_MAX, added * weight(fill) / rate)

    def batch(self, fill: float, rate: float) -> float:
        """Return how much one batch may bring."""
        heavy = weight(fill)
        return BATCH_DELAY_S * rate / heavy if heavy else 1.0
