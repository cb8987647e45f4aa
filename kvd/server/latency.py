"""How long requests take inside the daemon, counted by powers of two of microseconds."""

from typing import Any

BOUNDS_US = tuple(2**power for power in range(4, 25))  # 16 us to 17 s; what took longer is counted above them all
BITS_MAX = 64


class Latency:
    """A histogram of requests: from when the batch they came in was received until its replies were handed to libzmq.

    So the commit is in it, and what the batch's other commands took, but not how long a request waited to be
    received. A batch that is answered in parts counts as a whole. It costs 0.2 us a batch, and nothing a request.
    """

    def __init__(self) -> None:
        self.counts = [0] * BITS_MAX  # by the number of bits of the microseconds
        self.requests = self.us = self.max_us = 0

    def note(self, requests: int, seconds: float) -> None:
        """Take note of the requests of a batch."""
        us = int(seconds * 1_000_000)
        self.counts[us.bit_length()] += requests
        self.requests += requests
        self.us += us * requests
        self.max_us = max(self.max_us, us)

    def facts(self) -> dict[str, Any]:
        """Return how many requests there were, how many took less than each bound, and all together, in us."""
        below = {f"below_{bound}_us": sum(self.counts[: bound.bit_length()]) for bound in BOUNDS_US}
        return {"requests": self.requests, "us": self.us, "max_us": self.max_us, **below}
