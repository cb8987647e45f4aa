"""Back-pressure: how long a commit is delayed while the fold is behind. Pure; times are arguments.

Clients that write faster than the fold fill the overlay. If they were stopped only at its bound, everybody would wait
for seconds until a whole fold is complete. So above EASY each commit waits in proportion to its size, and longer the
fuller the overlay is. When the wait equals the time in which the fold removes as much, the overlay stays as full.

`fill` is the fullness of the overlay: 1 at its bound. `rate` is how much `fill` the fold removes in a second.
"""

EASY = 0.5  # no delay below
WEIGHT = 2.0  # at the bound: writes are accepted at half the rate of the fold
STEEP = 8.0  # additional weight for each bound beyond the first
LIMIT = 2.0  # writes are refused above
DELAY_S_MAX = 0.5
BATCH_DELAY_S = 0.1  # a batch is limited to a size that waits no longer
RATE = 0.5  # until the first measurement
RATE_MIN = 0.001
MEASURED_FILL_MIN = 0.02  # smaller folds are not measured


def weight(fill: float) -> float:
    """Return a commit's delay as a multiple of the time that the fold needs for the commit's size."""
    if fill <= EASY:
        return 0.0
    return WEIGHT * (fill - EASY) / (1 - EASY) if fill <= 1 else WEIGHT + STEEP * (fill - 1)


class Throttle:
    """The measured rate of folds, and the delays that follow from it."""

    def __init__(self) -> None:
        self.rate = RATE

    def on_fold(self, fill: float, seconds: float) -> None:
        """Update the rate with a fold that removed `fill` in `seconds`."""
        if fill >= MEASURED_FILL_MIN:
            self.rate = max(RATE_MIN, (self.rate + fill / max(seconds, RATE_MIN)) / 2)

    def rate_now(self, folding: float, seconds: float) -> float:
        """Return the rate during a fold of size `folding` that has run for `seconds`."""
        return max(RATE_MIN, min(self.rate, folding / seconds)) if folding and seconds > 0 else self.rate

    def delay_s(self, fill: float, added: float, rate: float) -> float:
        """Return the delay of a commit that adds `added` to the fill."""
        return min(DELAY_S_MAX, added * weight(fill) / rate)

    def batch(self, fill: float, rate: float) -> float:
        """Return how much a batch may add to the fill."""
        heavy = weight(fill)
        return BATCH_DELAY_S * rate / heavy if heavy else 1.0
