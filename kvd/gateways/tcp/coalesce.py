"""GETs of many connections asked together, and one by one where that is too much."""

from collections import deque

from kvd.client.outcomes import Outcome
from kvd.commands.base import Error, Ok
from kvd.gateways.tcp.connection import PendingReply, SharedBudget

# With these the daemon refuses a MULTIGET for one of its keys, or for all values together.
OF_ONE_KEY = ("DENIED", "TOO_LARGE", "CORRUPT")


class CoalescedGet:
    """GETs of one turn, of any connections, asked as one MULTIGET: that costs the gateway and the daemon less.

    When it is refused for one of its keys, or all are too much together, they are asked one by one. Until all is
    answered no write of these connections is sent, so that a GET never sees what its client wrote later.
    """

    __slots__ = ("gateway", "slots")

    def __init__(self, gateway: SharedBudget, slots: list[PendingReply]) -> None:
        self.gateway, self.slots = gateway, slots

    def done(self) -> bool:
        """Return whether nothing is waited for any more."""
        return False

    def set_result(self, outcome: Outcome) -> None:
        """Take the outcome."""
        if isinstance(outcome, Error) and outcome.code in OF_ONE_KEY:
            SequentialGets(self.gateway, self.slots).send_next()
        elif isinstance(outcome, Ok):
            for slot, value in zip(self.slots, outcome.result, strict=True):
                slot.set_result(Ok(outcome.revision, value))
        else:
            for slot in self.slots:
                slot.set_result(outcome)

    def cancel(self) -> None:
        """There will be none: the gateway ends."""


class SequentialGets:
    """GETs, each asked when the one before is answered: large values that nobody expected come one at a time."""

    __slots__ = ("gateway", "slots")

    def __init__(self, gateway: SharedBudget, slots: list[PendingReply]) -> None:
        self.gateway, self.slots = gateway, deque(slots)

    def done(self) -> bool:
        """Return whether nothing is waited for any more."""
        return not self.slots

    def send_next(self) -> None:
        """Ask for the next."""
        request = self.slots[0].request
        assert request is not None
        self.gateway.submit(request, self)

    def set_result(self, outcome: Outcome) -> None:
        """Take the outcome."""
        self.slots.popleft().set_result(outcome)
        if self.slots:
            self.send_next()

    def cancel(self) -> None:
        """There will be none: the gateway ends."""
