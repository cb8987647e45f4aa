"""Waiting TAKEFIRST commands: one queue for each prefix, the oldest first. No sockets.

A change wakes one client, not every waiting client: the loop asks for the next client that a key may be given to,
until the key is taken or no client waits for it. A client stays in its queue until it is answered.
"""

from collections import deque
from collections.abc import Iterable, Iterator
from itertools import count
from typing import NamedTuple

from kvd.commands.atomic import Once
from kvd.commands.base import NotYet, Write
from kvd.commands.model import SET, Milliseconds, Row
from kvd.limits import WAITERS_MAX


class Taker(NamedTuple):
    """A waiting request; `until` in Unix ms, `number` in order of arrival."""

    number: int
    envelope: list[bytes]
    command: Write
    prefix: bytes
    until: Milliseconds

    @property
    def token(self) -> bytes | None:
        """The token of ONCE, or None."""
        return self.command.token if isinstance(self.command, Once) else None


class Takers:
    """The requests that wait for a key, at most WAITERS_MAX: beyond that the oldest are answered at once."""

    def __init__(self) -> None:
        self.queues: dict[bytes, deque[Taker]] = {}
        self.staged: list[Taker] = []
        self.keys: deque[bytes] = deque()  # set, and not yet offered to every waiting client
        self.numbers = count()

    def __len__(self) -> int:
        return sum(map(len, self.queues.values()))

    def __iter__(self) -> Iterator[Taker]:
        return (taker for queue in self.queues.values() for taker in queue)

    def stage(self, envelope: list[bytes], command: Write, wait: NotYet, now: Milliseconds) -> None:
        """Let a request wait once its batch is committed."""
        self.staged.append(Taker(next(self.numbers), envelope, command, wait.prefix, now + wait.wait_ms))

    def end_batch(self, *, is_committed: bool) -> None:
        """Let the staged requests wait if their batch is committed, else discard them."""
        if is_committed:
            for taker in self.staged:
                self.queues.setdefault(taker.prefix, deque()).append(taker)
        self.staged.clear()

    def note(self, rows: Iterable[Row]) -> None:
        """Remember the keys set by changes that a client waits for."""
        if self.queues:
            set_last = {row[2]: row[1] == SET for row in rows}
            self.keys.extend(key for key, is_set in set_last.items() if is_set and self.next_for(key) is not None)

    def next_for(self, key: bytes) -> Taker | None:
        """Return the oldest request that a key may be given to."""
        prefixes = [key[:length] for length in {len(prefix) for prefix in self.queues}]
        heads = [self.queues[prefix][0] for prefix in prefixes if prefix in self.queues]
        return min(heads, default=None)

    def remove(self, taker: Taker) -> None:
        queue = self.queues[taker.prefix]
        if queue[0] is taker:
            queue.popleft()
        else:
            queue.remove(taker)
        if not queue:
            del self.queues[taker.prefix]

    def pop_token(self, token: bytes | None) -> list[Taker]:
        """Remove and return the requests with a token: its result is known now."""
        return self._pop([taker for taker in self if token is not None and taker.token == token])

    def pop_expired(self, now: Milliseconds) -> list[Taker]:
        """Remove and return the requests past their deadline, and the oldest beyond WAITERS_MAX."""
        expired = [taker for taker in self if taker.until <= now]
        beyond = len(self) - len(expired) - WAITERS_MAX
        if beyond > 0:
            expired += sorted(taker for taker in self if taker.until > now)[:beyond]
        return self._pop(expired)

    def pop_all(self) -> list[Taker]:
        return self._pop(list(self))

    def _pop(self, takers: list[Taker]) -> list[Taker]:
        """Remove requests; return them in order of arrival."""
        for taker in takers:
            self.remove(taker)
        return sorted(takers)

    def next_deadline(self) -> Milliseconds | None:
        return min((taker.until for taker in self), default=None)
