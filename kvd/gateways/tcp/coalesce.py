"""Combines GETs of many connections into MULTIGETs, and falls back to single GETs if one is refused."""

import asyncio
from collections import deque
from collections.abc import Callable

from kvd.client.aio import ResultSink
from kvd.client.outcomes import Outcome
from kvd.commands import Command
from kvd.commands.base import Error, Ok
from kvd.commands.values import Get, MultiGet
from kvd.gateways.tcp.replies import PendingReply

# Errors of a MULTIGET that may concern only one of its keys, or all values together.
SINGLE_KEY_ERRORS = ("DENIED", "TOO_LARGE", "CORRUPT")
KEYS_PER_REQUEST = 256

Submit = Callable[[Command, ResultSink], None]


class GetCoalescer:
    """Collects the GETs of one turn of the loop, from all connections, and sends them together."""

    __slots__ = ("loop", "pending", "submit")

    def __init__(self, loop: asyncio.AbstractEventLoop, submit: Submit) -> None:
        self.loop, self.submit = loop, submit
        self.pending: list[PendingReply] = []

    def add(self, pending: PendingReply) -> None:
        """Send a GET at the end of this turn."""
        if not self.pending:
            self.loop.call_soon(self._send)
        self.pending.append(pending)

    def _send(self) -> None:
        """Send the collected GETs."""
        collected, self.pending = self.pending, []
        for first in range(0, len(collected), KEYS_PER_REQUEST):
            group = collected[first : first + KEYS_PER_REQUEST]
            keys = [pending.request.key for pending in group if isinstance(pending.request, Get)]
            if len(group) == 1:
                self.submit(Get(keys[0]), group[0])
            else:
                self.submit(MultiGet(keys), CoalescedGet(self.submit, group))


class CoalescedGet:
    """GETs that were sent as one MULTIGET, which costs the gateway and the daemon less.

    If it is refused because of one key or of the total size, the GETs are sent one by one. Until all are answered, no
    write of their connections is sent, so a GET never returns a value that its client wrote later.
    """

    __slots__ = ("pending", "submit")

    def __init__(self, submit: Submit, pending: list[PendingReply]) -> None:
        self.submit, self.pending = submit, pending

    def done(self) -> bool:
        """Return False: the outcome is always needed."""
        return False

    def set_result(self, outcome: Outcome) -> None:
        """Pass each GET its value, or the error."""
        if isinstance(outcome, Error) and outcome.code in SINGLE_KEY_ERRORS:
            SequentialGets(self.submit, self.pending).send_next()
        elif isinstance(outcome, Ok):
            for pending, value in zip(self.pending, outcome.result, strict=True):
                pending.set_result(Ok(outcome.revision, value))
        else:
            for pending in self.pending:
                pending.set_result(outcome)

    def cancel(self) -> None:
        """Ignore a cancellation: the gateway is shutting down."""


class SequentialGets:
    """GETs that are sent one after the other, so that unexpectedly large values arrive one at a time."""

    __slots__ = ("pending", "submit")

    def __init__(self, submit: Submit, pending: list[PendingReply]) -> None:
        self.submit, self.pending = submit, deque(pending)

    def done(self) -> bool:
        """Return whether all GETs are answered."""
        return not self.pending

    def send_next(self) -> None:
        """Send the next GET."""
        self.submit(self.pending[0].request, self)

    def set_result(self, outcome: Outcome) -> None:
        """Pass on the outcome, and send the next GET."""
        self.pending.popleft().set_result(outcome)
        if self.pending:
            self.send_next()

    def cancel(self) -> None:
        """Ignore a cancellation: the gateway is shutting down."""
