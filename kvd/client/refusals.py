"""Sends writes that got BUSY again after a pause, in their order, for a bounded time. Pure.

BUSY means that nothing was applied: the disk is far behind the writes. A command that was sent after a refused one may
have been applied before it, so the later ones are sent again too. SET and MULTISET may be repeated.
"""

from collections import deque
from typing import Generic, TypeVar

from kvd.client.outcomes import Outcome
from kvd.commands.base import Error, Ok
from kvd.errors import Busy

RETRY_S = 0.1
T = TypeVar("T")


def is_busy(outcome: Outcome) -> bool:
    return isinstance(outcome, Error) and outcome.code == Busy.code


class Refusals(Generic[T]):
    """The commands to send again, one at a time, when nothing else is in flight.

    `patience_s`: after so long with nothing but BUSY, BUSY is the outcome. Times are seconds of any clock.
    """

    def __init__(self, patience_s: float) -> None:
        self.waiting: deque[T] = deque()
        self._patience_s = patience_s
        self._until: float | None = None  # set by a first BUSY, cleared when a command is accepted

    @property
    def pause_s(self) -> float:
        """How long to wait before the next command is sent again."""
        return RETRY_S if self._until is not None else 0.0

    def keeps(self, sent: T, outcome: Outcome, now: float) -> bool:
        """Process an outcome; return whether its command will be sent again. After an error no command is."""
        if self.waiting and self.waiting[0] is not sent:
            self.waiting.append(sent)
            return True
        if is_busy(outcome) and self._is_patient(now):
            self.waiting = self.waiting or deque([sent])
            return True
        self._settle(outcome)
        return False

    def _is_patient(self, now: float) -> bool:
        """Return whether there is time left; it starts with the first BUSY."""
        if self._until is None:
            self._until = now + self._patience_s
        return now < self._until

    def _settle(self, outcome: Outcome) -> None:
        """Process the final outcome of the first waiting command, or of any command when none waits."""
        if isinstance(outcome, Ok):
            self._until = None
            if self.waiting:
                self.waiting.popleft()
        else:
            self.waiting.clear()
