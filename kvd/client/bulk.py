"""The writes in flight of a bulk load: of `Client.load`, `AsyncClient.load` and `kvd import`. Pure.

The owner sends a chunk when there is capacity for it, and reports outcomes in the order of the chunks. A chunk that got
BUSY is sent again (refusals.py). The first error ends the load: the chunks before the failed one have been applied, and
those that were in flight behind it may have been.

A daemon that cannot write as fast answers late. An adaptive window then puts less in flight, so that no reply takes as
long as the client's timeout: a write without a reply may or may not have been executed.
"""

from collections import deque
from collections.abc import Callable
from typing import Any, NamedTuple

from kvd.client.outcomes import Outcome, ok
from kvd.client.refusals import Refusals
from kvd.commands import Command
from kvd.errors import KvdError

LATE_S = 0.5
SOON_S = 0.1


class Chunk(NamedTuple):
    """A command, the number of its entries, their bytes, and their place in the source, for the owner's use."""

    command: Command
    entries: int
    bytes: int
    place: Any = None


class WindowLimits(NamedTuple):
    """The bounds on what is in flight. A chunk that is alone may exceed those on entries and bytes."""

    commands: int
    entries: int
    bytes: int


class BulkWindow:
    """The chunks in flight. `on_applied` is called with each chunk that has been applied, in their order.

    `patience_s`: for how long BUSY is waited out. Times are seconds of any clock.
    """

    def __init__(
        self,
        limits: WindowLimits,
        patience_s: float,
        *,
        on_applied: Callable[[Chunk], None] = lambda _: None,
        is_adaptive: bool = False,
    ) -> None:
        self.applied_entries = 0
        self.error: KvdError | None = None
        self.failed: Chunk | None = None  # the chunk of the error
        self.commands_max = limits.commands
        self._limits = limits
        self._on_applied = on_applied
        self._is_adaptive = is_adaptive
        self._sent: deque[tuple[Chunk, float]] = deque()
        self._entries = self._bytes = 0
        self._refusals: Refusals[Chunk] = Refusals(patience_s)

    @property
    def in_flight(self) -> int:
        """The number of chunks that await an outcome."""
        return len(self._sent)

    @property
    def is_done(self) -> bool:
        """Whether no outcome is awaited and nothing has to be sent again."""
        return not (self._sent or self._refusals.waiting)

    @property
    def pause_s(self) -> float:
        """How long to wait before `next_resend` is sent."""
        return self._refusals.pause_s

    def has_capacity(self, entries: int, size: int) -> bool:
        """Return whether a chunk of this size may be sent."""
        if not self._sent:
            return not self._refusals.waiting
        return (
            not self._refusals.waiting
            and len(self._sent) < self.commands_max
            and self._entries + entries <= self._limits.entries
            and self._bytes + size <= self._limits.bytes
        )

    def on_sent(self, chunk: Chunk, now: float) -> None:
        """Add a chunk that is being sent."""
        self._sent.append((chunk, now))
        self._entries += chunk.entries
        self._bytes += chunk.bytes

    def next_resend(self) -> Chunk | None:
        """Return the chunk to send again after `pause_s`, when nothing is in flight."""
        return self._refusals.waiting[0] if self._refusals.waiting and not self._sent else None

    def on_outcome(self, outcome: Outcome, now: float) -> None:
        """Process the outcome of the first chunk in flight."""
        chunk, sent_at = self._sent.popleft()
        self._entries -= chunk.entries
        self._bytes -= chunk.bytes
        if self._is_adaptive:
            self._adapt(now - sent_at)
        if self.error is None and not self._refusals.keeps(chunk, outcome, now):
            self._settle(chunk, outcome)

    def _settle(self, chunk: Chunk, outcome: Outcome) -> None:
        try:
            ok(outcome)
        except KvdError as error:
            self.error, self.failed = error, chunk
        else:
            self.applied_entries += chunk.entries
            self._on_applied(chunk)

    def _adapt(self, seconds: float) -> None:
        """Allow fewer commands after a late reply, and more after those that come soon."""
        if seconds > LATE_S:
            self.commands_max = max(1, self.commands_max // 2)
        elif seconds < SOON_S:
            self.commands_max = min(self._limits.commands, self.commands_max + 1)
