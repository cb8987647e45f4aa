"""A histogram of how long requests take inside the daemon, by powers of two of microseconds."""

from typing import Any

BOUNDS_US = tuple(2**power for power in range(4, 25))  # 16 us to 17 s; slower requests are above all bounds
BITS_MAX = 64


class Latency:
    """Measures requests from the receipt of their batch until their replies are handed to libzmq.

    The time includes the commit and the other commands of the batch, but not the time before a request was received. A
    batch that is answered in parts counts as a whole. Costs 0.2 us per batch, and nothing per request.
    """

    def __init__(self) -> None:
        self.counts = [0] * BITS_MAX  # indexed by the bit length of the microseconds
        self.requests = self.us = self.max_us = 0

    def note(self, requests: int, seconds: float) -> None:
        """Count the requests of a batch."""
        us = int(seconds * 1_000_000)
        self.counts[us.bit_length()] += requests
        self.requests += requests
        self.us += us * requests
        self.max_us = max(self.max_us, us)

    def facts(self) -> dict[str, Any]:
        """Return the number of requests, the number below each bound, and the sum and maximum in us."""
        below = {f"below_{bound}_us": sum(self.counts[: bound.bit_length()]) for bound in BOUNDS_US}
        return {"requests": self.requests, "us": self.us, "max_us": self.max_us, **below}
