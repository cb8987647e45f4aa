"""CHANGES that wait: kept aside until a change of their prefix comes or their time is over."""

from typing import NamedTuple

from kvd.commands.base import Read, Wait, Write
from kvd.commands.entry import Milliseconds, Row
from kvd.errors import Busy
from kvd.limits import PARKED_MAX


class Parked(NamedTuple):
    """A request that waits; `until` in Unix ms."""

    envelope: list[bytes]
    command: Read | Write
    prefix: bytes
    until: Milliseconds


class Parking:
    """Requests that wait, at most PARKED_MAX."""

    def __init__(self) -> None:
        self.parked: list[Parked] = []
        self.staged: list[Parked] = []

    def stage(self, envelope: list[bytes], command: Read | Write, wait: Wait, now: Milliseconds) -> None:
        """Keep a request aside from the commit of its batch on; raises Busy when there are too many."""
        if len(self.parked) + len(self.staged) >= PARKED_MAX:
            raise Busy(f"{PARKED_MAX} clients wait for changes already: ask without WAIT, or subscribe to the changes")
        self.staged.append(Parked(envelope, command, wait.prefix, now + wait.wait_ms))

    def commit(self) -> None:
        """The batch is committed: those staged wait from now on."""
        self.parked += self.staged
        self.staged.clear()

    def drop(self) -> None:
        """The batch failed: nobody of it waits."""
        self.staged.clear()

    def take(self, rows: list[Row], now: Milliseconds) -> list[Parked]:
        """Return, and keep no longer, those that a change concerns or whose time is over."""
        if not self.parked:
            return []
        keys = [row[2] for row in rows]
        taken = [p for p in self.parked if p.until <= now or any(key.startswith(p.prefix) for key in keys)]
        if taken:
            self.parked = [p for p in self.parked if p not in taken]
        return taken

    def take_all(self) -> list[Parked]:
        """Return all, for the end."""
        taken, self.parked = self.parked, []
        return taken

    def next_until(self) -> Milliseconds | None:
        """Return when the first one's time is over."""
        return min((p.until for p in self.parked), default=None)
