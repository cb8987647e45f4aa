"""The commands in flight and their outcomes. Pure: no sockets, and time is an argument.

A command waits (nothing is sent), is sent, or is finished. After a broken connection, a sent command is sent again if
it is safe (it reads, or runs under ONCE) or if its last byte had not left; the outcome of any other write is unknown.
So is the outcome of a write under ONCE that was sent and never answered: to be sure, send it again with the same token.
"""

from collections import deque
from collections.abc import Iterator
from math import inf
from typing import Any

from kvd.client.diagnosis import Diagnosis
from kvd.client.outcomes import Outcome, decode, encode, traits_of
from kvd.commands import Command
from kvd.errors import ClientError

NOT_SENT = 2**63  # more than a connection ever sends


class Pending:
    """One command in flight. `unsent_until` and `until` are seconds on the caller's monotonic clock."""

    __slots__ = (
        "body",
        "correlation",
        "end",
        "is_sent",
        "outcome",
        "tag",
        "traits",
        "unsent_until",
        "until",
        "was_sent",
    )

    def __init__(self, command: Command, tag: Any, correlation: bytes, unsent_until: float, until: float) -> None:
        self.traits = traits_of(type(command))
        self.body: bytes = encode(command)
        self.tag = tag
        self.correlation = correlation
        self.unsent_until = unsent_until
        self.until = until
        self.end = 0  # how many bytes the connection has sent once this command is sent
        self.is_sent = False  # handed to the current connection
        self.was_sent = False  # sent over an earlier connection, which broke
        self.outcome: Outcome | None = None

    @property
    def deadline(self) -> float:
        """When the command is given up."""
        return self.until if self.is_sent or self.was_sent else min(self.unsent_until, self.until)


class InFlight:
    """The commands in flight. Outcomes are taken in the order of the commands or, unless `is_ordered`, as they come."""

    def __init__(self, *, is_ordered: bool = True, diagnosis: Diagnosis | None = None) -> None:
        self.is_ordered = is_ordered
        self.number = 0
        self.order: deque[Pending] = deque()
        self.by_correlation: dict[bytes, Pending] = {}
        self.waiting: deque[Pending] = deque()
        self.completed: deque[Pending] = deque()
        self._earliest_deadline = inf  # no deadline is before this
        self.diagnosis = Diagnosis() if diagnosis is None else diagnosis

    def __len__(self) -> int:
        """Return the number of commands without a taken outcome."""
        return len(self.completed) + len(self.order if self.is_ordered else self.by_correlation)

    def add(self, command: Command, tag: Any, *, unsent_until: float, until: float) -> Pending:
        """Add a command; it waits to be sent. Raises TooLarge, or the error of encoding, and then adds nothing.

        The order of these lines matters: an interrupt between any two leaves no command that waits in vain.
        """
        self.number += 1
        pending = Pending(command, tag, self.number.to_bytes(8, "big"), unsent_until, until)
        if until < self._earliest_deadline or unsent_until < self._earliest_deadline:
            self._earliest_deadline = min(unsent_until, until)
        self.by_correlation[pending.correlation] = pending  # the unfinished commands, in the order given
        self.waiting.append(pending)
        if self.is_ordered:
            self.order.append(pending)
        return pending

    def next_batch(self, bytes_max: int) -> list[Pending]:
        """Take the first waiting commands, to be sent together. The caller must call `set_end` before it sends them."""
        batch: list[Pending] = []
        size = 0
        while self.waiting and size < bytes_max:
            pending = self.waiting.popleft()
            if pending.outcome is None:
                pending.is_sent = True
                pending.end = NOT_SENT
                size += len(pending.body)
                batch.append(pending)
        return batch

    def set_end(self, batch: list[Pending], end: int) -> None:
        """Set how many bytes the connection has sent once a batch is sent."""
        for pending in batch:
            pending.end = end

    def on_reply(self, correlation: bytes, body: bytes) -> None:
        """Finish the command that a reply belongs to. A reply that no command awaits is dropped."""
        pending = self.by_correlation.get(correlation)
        if pending is not None:
            self.finish(pending, decode(pending.traits, body))

    def finish(self, pending: Pending, outcome: Outcome) -> None:
        pending.outcome = outcome
        pending.body = b""  # a command that waits long, as CHANGES may, would keep the bodies of all behind it
        del self.by_correlation[pending.correlation]
        if not self.is_ordered:
            self.completed.append(pending)

    def on_disconnect(self, sent_bytes: float = inf) -> None:
        """Process a broken connection that sent `sent_bytes`: the commands sent over it get no reply."""
        for pending in reversed(list(self.by_correlation.values())):
            if not pending.is_sent:
                continue
            pending.is_sent = False
            was_fully_sent = pending.end <= sent_bytes
            pending.was_sent |= was_fully_sent
            if was_fully_sent and not pending.traits.is_safe:
                self.finish(pending, self.diagnosis.connection_broke(pending.traits))
            else:
                self.waiting.appendleft(pending)
                self._earliest_deadline = min(self._earliest_deadline, pending.deadline)

    def on_interrupt(self, sent_bytes: int) -> None:
        """Restore order after an interrupt within a call; the connection has been closed."""
        for pending in list(self.by_correlation.values()):
            if pending.outcome is not None:
                self.finish(pending, pending.outcome)
        self.on_disconnect(sent_bytes)
        self.waiting = deque(self.by_correlation.values())

    def abandon(self, tag: Any) -> None:
        """Finish the command with this tag: its caller is gone. If it was not sent, it never is."""
        for pending in list(self.by_correlation.values()):
            if pending.tag is tag and pending.outcome is None:
                self.finish(pending, self.no_reply(pending))

    def clear(self) -> None:
        """Forget all commands. Their replies are dropped."""
        for queue in (self.order, self.waiting, self.completed):
            queue.clear()
        self.by_correlation.clear()

    def give_up_unsent(self) -> None:
        """Finish all waiting commands: there will be no connection."""
        for pending in self.waiting:
            if pending.outcome is None:
                self.finish(pending, self.no_reply(pending))

    def expire(self, now: float) -> None:
        """Finish the commands past their deadline. They are scanned only when one may have passed."""
        if now < self._earliest_deadline:
            return
        for pending in list(self.by_correlation.values()):
            if now >= pending.deadline:
                self.finish(pending, self.no_reply(pending))
        self._earliest_deadline = min((pending.deadline for pending in self.by_correlation.values()), default=inf)

    def no_reply(self, pending: Pending) -> ClientError:
        """Return the error of a command without a reply in time."""
        return self.diagnosis.no_reply(pending.traits, was_sent=pending.is_sent or pending.was_sent)

    def next_deadline(self) -> float | None:
        """Return a time before which no deadline passes; None if no command is in flight."""
        return None if self._earliest_deadline == inf else self._earliest_deadline

    @property
    def has_outcome(self) -> bool:
        """Return whether `take` would yield something."""
        return bool(self.completed) or bool(self.order and self.order[0].outcome is not None)

    def take(self) -> Iterator[tuple[Any, Outcome]]:
        """Yield the finished commands. In order, an unfinished command holds back those behind it."""
        while self.order and self.order[0].outcome is not None:
            self.completed.append(self.order.popleft())
        while self.completed:
            pending = self.completed.popleft()
            assert pending.outcome is not None
            yield pending.tag, pending.outcome
        if not self.by_correlation:
            self._earliest_deadline = inf
