"""CHANGES that wait: kept aside until a change of their prefix comes or their time is over."""

from collections import defaultdict
from collections.abc import Iterable
from typing import NamedTuple

from msgspec.structs import replace

from kvd.commands.base import Read, Wait, Write
from kvd.commands.entry import Milliseconds, Row
from kvd.limits import PARKED_MAX


class Parked(NamedTuple):
    """A request that waits; `until` in Unix ms."""

    envelope: list[bytes]
    command: Read | Write
    prefix: bytes
    until: Milliseconds

    def after(self, revision: int) -> Read | Write:
        """Return the command to run now: only what came after this revision can match, and it waits no more."""
        return replace(self.command, since=revision, wait_ms=None)


class Parking:
    """Requests that wait, at most PARKED_MAX: beyond that the one that waits longest has waited long enough."""

    def __init__(self) -> None:
        self.parked: list[Parked] = []
        self.staged: list[Parked] = []

    def stage(self, envelope: list[bytes], command: Read | Write, wait: Wait, now: Milliseconds) -> None:
        """Keep a request aside from the commit of its batch on."""
        self.staged.append(Parked(envelope, command, wait.prefix, now + wait.wait_ms))

    def commit(self) -> None:
        """The batch is committed: those staged wait from now on."""
        self.parked += self.staged
        self.staged.clear()
        for place in range(len(self.parked) - PARKED_MAX):
            self.parked[place] = self.parked[place]._replace(until=0)

    def drop(self) -> None:
        """The batch failed: nobody of it waits."""
        self.staged.clear()

    def take_matching(self, rows: list[Row]) -> list[Parked]:
        """Return, and keep no longer, those whose prefix a change has."""
        hit = prefixes_hit({parked.prefix for parked in self.parked}, [row[2] for row in rows])
        return self.take([parked.prefix in hit for parked in self.parked])

    def take_over(self, now: Milliseconds) -> list[Parked]:
        """Return, and keep no longer, those whose time is over."""
        return self.take([parked.until <= now for parked in self.parked])

    def take_all(self) -> list[Parked]:
        """Return all, for the end."""
        return self.take([True] * len(self.parked))

    def take(self, chosen: list[bool]) -> list[Parked]:
        """Return those chosen and keep the others."""
        if not any(chosen):
            return []
        pairs = list(zip(self.parked, chosen, strict=True))
        self.parked = [parked for parked, is_chosen in pairs if not is_chosen]
        return [parked for parked, is_chosen in pairs if is_chosen]

    def next_until(self) -> Milliseconds | None:
        """Return when the first one's time is over."""
        return min((parked.until for parked in self.parked), default=None)


def prefixes_hit(prefixes: Iterable[bytes], keys: list[bytes]) -> set[bytes]:
    """Return the prefixes that some key has. Costs keys times different lengths, not keys times prefixes."""
    by_length: dict[int, set[bytes]] = defaultdict(set)
    for prefix in prefixes:
        by_length[len(prefix)].add(prefix)
    return {hit for length, some in by_length.items() for hit in some & {key[:length] for key in keys}}
