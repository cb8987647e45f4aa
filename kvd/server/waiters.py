"""CHANGES that wait: kept aside until a change of their prefix comes or their time is over."""

from collections import defaultdict
from collections.abc import Iterable
from typing import NamedTuple

from msgspec.structs import replace

from kvd.commands.base import NotYet, Read, Write
from kvd.commands.model import KEY, Milliseconds, Row
from kvd.limits import WAITERS_MAX


class Waiter(NamedTuple):
    """A request that waits; `until` in Unix ms."""

    envelope: list[bytes]
    command: Read | Write
    prefix: bytes
    until: Milliseconds

    def after(self, revision: int) -> Read | Write:
        """Return the command to run now: only what came after this revision can match, and it waits no more."""
        return replace(self.command, since=revision, wait_ms=None)


class Waiters:
    """Requests that wait, at most WAITERS_MAX: beyond that the one that waits longest has waited long enough."""

    def __init__(self) -> None:
        self.waiting: list[Waiter] = []
        self.staged: list[Waiter] = []

    def stage(self, envelope: list[bytes], command: Read | Write, wait: NotYet, now: Milliseconds) -> None:
        """Keep a request aside from the commit of its batch on."""
        self.staged.append(Waiter(envelope, command, wait.prefix, now + wait.wait_ms))

    def commit(self) -> None:
        """The batch is committed: those staged wait from now on."""
        self.waiting += self.staged
        self.staged.clear()
        for place in range(len(self.waiting) - WAITERS_MAX):
            self.waiting[place] = self.waiting[place]._replace(until=0)

    def drop(self) -> None:
        """The batch failed: nobody of it waits."""
        self.staged.clear()

    def pop_matching(self, rows: list[Row]) -> list[Waiter]:
        """Return, and keep no longer, those whose prefix a change has."""
        hit = prefixes_hit({parked.prefix for parked in self.waiting}, [row[KEY] for row in rows])
        return self.pop([parked.prefix in hit for parked in self.waiting])

    def pop_expired(self, now: Milliseconds) -> list[Waiter]:
        """Return, and keep no longer, those whose time is over."""
        return self.pop([parked.until <= now for parked in self.waiting])

    def pop_all(self) -> list[Waiter]:
        """Return all, for the end."""
        return self.pop([True] * len(self.waiting))

    def pop(self, chosen: list[bool]) -> list[Waiter]:
        """Return those chosen and keep the others."""
        if not any(chosen):
            return []
        pairs = list(zip(self.waiting, chosen, strict=True))
        self.waiting = [parked for parked, is_chosen in pairs if not is_chosen]
        return [parked for parked, is_chosen in pairs if is_chosen]

    def next_deadline(self) -> Milliseconds | None:
        """Return when the first one's time is over."""
        return min((parked.until for parked in self.waiting), default=None)


def prefixes_hit(prefixes: Iterable[bytes], keys: list[bytes]) -> set[bytes]:
    """Return the prefixes that some key has. Costs keys times different lengths, not keys times prefixes."""
    by_length: dict[int, set[bytes]] = defaultdict(set)
    for prefix in prefixes:
        by_length[len(prefix)].add(prefix)
    return {hit for length, some in by_length.items() for hit in some & {key[:length] for key in keys}}
