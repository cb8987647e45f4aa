"""Writes that get BUSY are sent again after a pause, in their order, for a bounded time. Pure.

BUSY means that nothing was applied: the disk is far behind what is written. A command that was sent behind a refused
one may have been applied before it, so those that follow are sent again too. That is harmless for SET and MULTISET.
"""

from collections import deque
from typing import Generic, TypeVar

from kvd.client.outcomes import Outcome
from kvd.commands.base import Error, Ok
from kvd.errors import Busy

RETRY_S = 0.1
T = TypeVar("T")


def is_busy(outcome: Outcome) -> bool:
    """Return whether a command was refused with BUSY."""
    return isinstance(outcome, Error) and outcome.code == Busy.code


class Refusals(Generic[T]):
    """The commands to send again, one at a time, when nothing else is in flight.

    `patience_s` is how long nothing but BUSY may come before that is the outcome. Times are seconds of any clock.
    """

    def __init__(self, patience_s: float) -> None:
        self.waiting: deque[T] = deque()
        self._patience_s = patience_s
        self._until: float | None = None  # since a first BUSY, and until a command is taken

    @property
    def pause_s(self) -> float:
        """Return how long to wait before the next command is sent again."""
        return RETRY_S if self._until is not None else 0.0

    def keeps(self, sent: T, outcome: Outcome, now: float) -> bool:
        """Take an outcome; return whether its command is to be sent again. After an error nothing else is."""
        if self.waiting and self.waiting[0] is not sent:
            self.waiting.append(sent)
            return True
        if is_busy(outcome) and self._is_patient(now):
            self.waiting = self.waiting or deque([sent])
            return True
        self._settle(outcome)
        return False

    def _is_patient(self, now: float) -> bool:
        """Return whether there is time left; it begins with the first BUSY."""
        if self._until is None:
            self._until = now + self._patience_s
        return now < self._until

    def _settle(self, outcome: Outcome) -> None:
        """The outcome of the first that waits, or of a command where none waits, is final."""
        if isinstance(outcome, Ok):
            self._until = None
            if self.waiting:
                self.waiting.popleft()
        else:
            self.waiting.clear()
