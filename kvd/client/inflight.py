"""Which commands are under way, and what becomes of them: pure, no sockets, time comes in as an argument.

A command waits (nothing sent), is sent, or is over. What was sent over a connection that broke is sent
again if it is safe (it reads, or runs under ONCE); a write that is not has an unknown outcome. So has one
under ONCE that was sent once and never answered: to be sure, send it again with the same token.
"""

from collections import deque
from collections.abc import Iterator
from functools import cache
from math import inf
from typing import Any, NamedTuple

from kvd import wire
from kvd.commands import Ask, Command, Read, Task
from kvd.commands.atomic import Once
from kvd.commands.base import Error, Ok
from kvd.errors import ClientError, NoReply, NotLetIn, OutcomeUnknown, Unreachable

Outcome = Ok | Error | ClientError


class Traits(NamedTuple):
    """What of a command matters here; `is_safe`: it may be sent again."""

    name: str
    is_read: bool
    is_safe: bool


@cache
def traits_of(command: type[Command]) -> Traits:
    """Return the traits of a command's class; to look them up takes 0.05 us, to find them out each time 0.4."""
    is_read = issubclass(command, Read | Ask) and not issubclass(command, Task)
    return Traits(command.command_name(), is_read, is_read or issubclass(command, Once))


class Pending:
    """One command under way. `unsent_until` and `until` are seconds on the caller's monotonic clock."""

    __slots__ = (
        "body",
        "correlation",
        "is_read",
        "is_safe",
        "name",
        "outcome",
        "sent",
        "tag",
        "unsent_until",
        "until",
        "was_sent",
    )

    def __init__(self, command: Command, tag: Any, correlation: bytes, unsent_until: float, until: float) -> None:
        self.name, self.is_read, self.is_safe = traits_of(type(command))
        self.body: bytes = wire.encode(command)
        self.tag = tag
        self.correlation = correlation
        self.unsent_until = unsent_until
        self.until = until
        self.sent = self.was_sent = False  # sent: under way now; was_sent: once at least, over a connection that broke
        self.outcome: Outcome | None = None

    @property
    def deadline(self) -> float:
        """Return when its time is over."""
        return self.until if self.was_sent else min(self.unsent_until, self.until)


class InFlight:
    """Commands under way. Outcomes are taken in the order given, or, if not `is_ordered`, as they come."""

    def __init__(self, *, is_ordered: bool = True) -> None:
        self.is_ordered = is_ordered
        self.number = 0
        self.count = 0
        self.order: deque[Pending] = deque()
        self.by_correlation: dict[bytes, Pending] = {}
        self.waiting: deque[Pending] = deque()
        self.over: deque[Pending] = deque()
        self.soonest = inf  # no deadline is before this
        self.hindrance = ""  # why there is no connection, if more is known than that

    def __len__(self) -> int:
        """Return how many have been given and not taken."""
        return self.count

    def add(self, command: Command, tag: Any, *, unsent_until: float, until: float) -> Pending:
        """Take a command in; it waits to be sent."""
        self.number += 1
        self.count += 1
        pending = Pending(command, tag, self.number.to_bytes(8, "big"), unsent_until, until)
        if self.is_ordered:
            self.order.append(pending)
        self.by_correlation[pending.correlation] = pending  # those that are not over, in the order given
        self.waiting.append(pending)
        if until < self.soonest or unsent_until < self.soonest:
            self.soonest = min(unsent_until, until)
        return pending

    def next_to_send(self) -> Pending | None:
        """Return the first that waits; tell `sent` when it is gone."""
        while self.waiting and self.waiting[0].outcome is not None:
            self.waiting.popleft()
        return self.waiting[0] if self.waiting else None

    def sent(self) -> None:
        """The first that waits is sent."""
        pending = self.waiting.popleft()
        pending.sent = pending.was_sent = True

    def replied(self, correlation: bytes, reply: Ok | Error) -> None:
        """A reply came. One that nobody waits for any more is dropped."""
        pending = self.by_correlation.get(correlation)
        if pending is not None:
            self.finish(pending, reply)

    def finish(self, pending: Pending, outcome: Outcome) -> None:
        """End a command."""
        pending.outcome = outcome
        pending.body = b""  # one that waits long, as CHANGES may, would hold the bytes of all behind it
        del self.by_correlation[pending.correlation]
        if not self.is_ordered:
            self.over.append(pending)

    def disconnected(self) -> None:
        """The connection broke: what was sent over it has no reply to come."""
        for pending in reversed(list(self.by_correlation.values())):
            if pending.sent:
                if pending.is_safe:
                    pending.sent = False
                    self.waiting.appendleft(pending)
                else:
                    self.finish(pending, broken(pending))

    def give_up_unsent(self) -> None:
        """There will be no connection: end all that wait for one."""
        for pending in self.waiting:
            if pending.outcome is None:
                self.finish(pending, no_reply(pending, self.hindrance))

    def expire(self, now: float) -> None:
        """Give up on those whose time is over. They are looked at only when one's may be."""
        if now < self.soonest:
            return
        for pending in list(self.by_correlation.values()):
            if now >= pending.deadline:
                self.finish(pending, no_reply(pending, self.hindrance))
        self.soonest = min((pending.deadline for pending in self.by_correlation.values()), default=inf)

    def next_deadline(self) -> float | None:
        """Return a time before which nobody's is over, None when there is none to wait for."""
        return None if self.soonest == inf else self.soonest

    def take(self) -> Iterator[tuple[Any, Outcome]]:
        """Yield what is over. In order, one that is not holds back those behind it."""
        while self.order and self.order[0].outcome is not None:
            self.over.append(self.order.popleft())
        while self.over:
            pending = self.over.popleft()
            self.count -= 1
            assert pending.outcome is not None
            yield pending.tag, pending.outcome
        if not self.count:
            self.soonest = inf


def broken(pending: Pending) -> OutcomeUnknown:
    """Return what it means for a write that its connection broke."""
    return OutcomeUnknown(f"{pending.name}: the connection broke before the reply: it may have been executed")


def no_reply(pending: Pending, hindrance: str) -> ClientError:
    """Return what it means that no reply came in time."""
    if not pending.was_sent:
        if hindrance:
            return NotLetIn(f"{pending.name}: {hindrance}")
        return Unreachable(f"{pending.name}: no daemon answers")
    if pending.is_read:
        return NoReply(f"{pending.name}: no reply in time")
    return OutcomeUnknown(f"{pending.name}: no reply in time: it may have been executed, or may be yet")
