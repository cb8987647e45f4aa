"""The input of one connection of the TCP gateway."""

from kvd.gateways.tcp.budget import SharedBudget
from kvd.gateways.tcp.protocol import Dialect, Parser, Request
from kvd.limits import TCP_LARGE_BYTES


class ConnectionInput:
    """Parses requests, and reserves memory for a long string while it is arriving."""

    __slots__ = ("_held", "_parser", "_reserved", "budget", "has_ended", "is_reading", "last_activity")

    def __init__(self, dialect: Dialect, budget: SharedBudget, now: float) -> None:
        self.budget = budget
        self._parser = Parser(dialect)
        self._reserved = 0
        self._held: Request | None = None
        self.is_reading = True
        self.has_ended = False  # the client will send no more
        self.last_activity = now

    @property
    def has_partial(self) -> bool:
        """Return whether a part of a request has arrived."""
        return self._parser.has_partial

    @property
    def missing_bytes(self) -> int:
        """Return the length of the string that has not arrived completely."""
        return self._parser.string_bytes

    def feed(self, data: bytes, now: float) -> None:
        """Append received bytes."""
        self.last_activity = now
        self._parser.feed(data)

    def next_request(self) -> Request | None:
        """Return the next request, None if it is incomplete. Raises Malformed."""
        request, self._held = self._held, None
        return request or self._parser.next_request()

    def hold(self, request: Request) -> None:
        """Return this request from the next call of `next_request`: a write that waits for earlier reads."""
        self._held = request

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
        """Reserve memory for the string that is arriving, if it is long. Return False if there is not enough."""
        size = self._parser.string_bytes
        if size <= TCP_LARGE_BYTES or self._reserved:
            return True
        if not self.budget.reserve_string(size):
            return False
        self._reserved = size
        return True

    def release(self) -> None:
        """Release the reserved memory."""
        if self._reserved:
            self.budget.release_string(self._reserved)
            self._reserved = 0
