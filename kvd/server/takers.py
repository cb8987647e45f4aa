"""TAKEFIRST that waits: in one queue for each prefix, the longest waiting first. No sockets.

A change wakes one client, not all that wait: the loop asks for the next one that a key may be given to, until the key
is taken or nobody waits for it. A client stays in its queue until it is answered.
"""

from collections import deque
from collections.abc import Iterable, Iterator
from itertools import count
from typing import NamedTuple

from kvd.commands.atomic import Once
from kvd.commands.base import NotYet, Write
from kvd.commands.model import KEY, KIND, SET, Milliseconds, Row
from kvd.limits import WAITERS_MAX


class Taker(NamedTuple):
    """A request that waits for a key; `until` in Unix ms, `number` as they came."""

    number: int
    envelope: list[bytes]
    command: Write
    prefix: bytes
    until: Milliseconds

    @property
    def token(self) -> bytes | None:
        """Return the token of ONCE."""
        return self.command.token if isinstance(self.command, Once) else None


class Takers:
    """Requests that wait for a key, at most WAITERS_MAX: beyond that the longest waiting has waited long enough."""

    def __init__(self) -> None:
        self.queues: dict[bytes, deque[Taker]] = {}
        self.staged: list[Taker] = []
        self.keys: deque[bytes] = deque()  # that may be taken
        self.numbers = count()

    def __len__(self) -> int:
        """Return how many wait."""
        return sum(map(len, self.queues.values()))

    def __iter__(self) -> Iterator[Taker]:
        """Return those who wait."""
        return (taker for queue in self.queues.values() for taker in queue)

    def stage(self, envelope: list[bytes], command: Write, wait: NotYet, now: Milliseconds) -> None:
        """Let a request wait from the commit of its batch on."""
        self.staged.append(Taker(next(self.numbers), envelope, command, wait.prefix, now + wait.wait_ms))

    def commit(self) -> None:
        """The batch is committed: those staged wait from now on."""
        for taker in self.staged:
            self.queues.setdefault(taker.prefix, deque()).append(taker)
        self.staged.clear()

    def drop(self) -> None:
        """The batch failed: nobody of it waits."""
        self.staged.clear()

    def note(self, rows: Iterable[Row]) -> None:
        """Note the keys that changes have set and somebody waits for."""
        if self.queues:
            set_last = {row[KEY]: row[KIND] == SET for row in rows}
            self.keys.extend(key for key, is_set in set_last.items() if is_set and self.next_of(key) is not None)

    def next_of(self, key: bytes) -> Taker | None:
        """Return the longest waiting that a key may be given to."""
        prefixes = [key[:length] for length in {len(prefix) for prefix in self.queues}]
        heads = [self.queues[prefix][0] for prefix in prefixes if prefix in self.queues]
        return min(heads, default=None)

    def remove(self, taker: Taker) -> None:
        """Let a request wait no longer."""
        queue = self.queues[taker.prefix]
        if queue[0] is taker:
            queue.popleft()
        else:
            queue.remove(taker)
        if not queue:
            del self.queues[taker.prefix]

    def pop_same(self, token: bytes | None) -> list[Taker]:
        """Return, and let wait no longer, those that came with a token: what it was used for is known now."""
        return self._pop([taker for taker in self if token is not None and taker.token == token])

    def pop_expired(self, now: Milliseconds) -> list[Taker]:
        """Return, and let wait no longer, those whose time is over, and the first of those who are too many."""
        over = [taker for taker in self if taker.until <= now]
        beyond = len(self) - len(over) - WAITERS_MAX
        if beyond > 0:
            over += sorted(taker for taker in self if taker.until > now)[:beyond]
        return self._pop(over)

    def pop_all(self) -> list[Taker]:
        """Return all, for the end."""
        return self._pop(list(self))

    def _pop(self, taken: list[Taker]) -> list[Taker]:
        """Let requests wait no longer; return them in the order they came."""
        for taker in taken:
            self.remove(taker)
        return sorted(taken)

    def next_deadline(self) -> Milliseconds | None:
        """Return when the first one's time is over."""
        return min((taker.until for taker in self), default=None)
