"""Waiting CHANGES commands: kept until a change of their prefix arrives or their time is over."""

from collections import defaultdict
from collections.abc import Iterable
from typing import NamedTuple

from msgspec.structs import replace

from kvd.commands.base import NotYet, Read, Write
from kvd.commands.model import Milliseconds, Row
from kvd.limits import WAITERS_MAX


class Waiter(NamedTuple):
    """A waiting request; `until` in Unix ms."""

    envelope: list[bytes]
    command: Read | Write
    prefix: bytes
    until: Milliseconds

    def after(self, revision: int) -> Read | Write:
        """Return the command to run now, without a wait: only changes after this revision can match."""
        return replace(self.command, since=revision, wait_ms=None)


class Waiters:
    """The requests that wait for a change, at most WAITERS_MAX: beyond that the oldest are answered at once."""

    def __init__(self) -> None:
        self.waiting: list[Waiter] = []
        self.staged: list[Waiter] = []

    def stage(self, envelope: list[bytes], command: Read | Write, wait: NotYet, now: Milliseconds) -> None:
        """Let a request wait once its batch is committed."""
        self.staged.append(Waiter(envelope, command, wait.prefix, now + wait.wait_ms))

    def end_batch(self, *, is_committed: bool) -> None:
        """Let the staged requests wait if their batch is committed, else discard them."""
        if is_committed:
            self.waiting += self.staged
        self.staged.clear()
        for place in range(len(self.waiting) - WAITERS_MAX):
            self.waiting[place] = self.waiting[place]._replace(until=0)

    def pop_matching(self, rows: list[Row]) -> list[Waiter]:
        """Remove and return the requests with a prefix of a changed key."""
        matching = find_prefixes({waiter.prefix for waiter in self.waiting}, [row[2] for row in rows])
        return self._pop([waiter.prefix in matching for waiter in self.waiting])

    def pop_expired(self, now: Milliseconds) -> list[Waiter]:
        """Remove and return the requests past their deadline."""
        return self._pop([waiter.until <= now for waiter in self.waiting])

    def pop_all(self) -> list[Waiter]:
        return self._pop([True] * len(self.waiting))

    def _pop(self, chosen: list[bool]) -> list[Waiter]:
        """Remove and return the chosen requests."""
        if not any(chosen):
            return []
        pairs = list(zip(self.waiting, chosen, strict=True))
        self.waiting = [waiter for waiter, is_chosen in pairs if not is_chosen]
        return [waiter for waiter, is_chosen in pairs if is_chosen]

    def next_deadline(self) -> Milliseconds | None:
        return min((waiter.until for waiter in self.waiting), default=None)


def find_prefixes(prefixes: Iterable[bytes], keys: list[bytes]) -> set[bytes]:
    """Return the prefixes that some key begins with. Costs keys times different lengths, not keys times prefixes."""
    by_length: dict[int, set[bytes]] = defaultdict(set)
    for prefix in prefixes:
        by_length[len(prefix)].add(prefix)
    return {matching for length, group in by_length.items() for matching in group & {key[:length] for key in keys}}
