"""The input of one connection of the TCP gateway."""

from kvd.gateways.tcp.budget import SharedBudget
from kvd.gateways.tcp.protocol import Dialect, Parser, Request


class ConnectionInput(Parser):
    """A parser that also reserves memory for a long string while it is arriving."""

    __slots__ = ("budget", "has_ended", "held", "is_reading", "last_activity", "reserved")

    def __init__(self, dialect: Dialect, budget: SharedBudget, now: float) -> None:
        super().__init__(dialect)
        self.budget = budget
        self.reserved = 0
        self.held: Request | None = None  # a write that waits for earlier reads
        self.is_reading = True
        self.has_ended = False  # the client will send no more
        self.last_activity = now

    def hold(self, request: Request | None) -> None:
        """Store a request that cannot start yet."""
        self.held = request

    def on_end(self) -> None:
        """Note that the client will send no more."""
        self.has_ended = True

    def on_reading_paused(self) -> None:
        """Note that the transport does not read."""
        self.is_reading = False

    def on_reading_resumed(self, now: float) -> None:
        """Note that the transport reads again."""
        self.is_reading = True
        self.last_activity = now

    def restart_timeout(self, now: float) -> None:
        """Measure the client's silence from now on."""
        self.last_activity = now

    def reserve(self) -> bool:
        """Reserve memory for the string that is arriving. Return False if there is not enough."""
        if not self.reserved and self.budget.reserve_string(self.string_bytes):
            self.reserved = self.string_bytes
        return self.reserved > 0

    def release(self) -> None:
        """Release the reserved memory."""
        self.budget.release_string(self.reserved)
        self.reserved = 0
