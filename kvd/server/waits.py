"""Clients that wait: CHANGES for the next change, TAKEFIRST for a key.

A change wakes all clients that wait for its prefix. A key goes to one of them, so each key is given by itself:

    run TAKEFIRST  ->  begin the reply  ->  commit  ->  end the reply

A reply can only begin while libzmq has a connection to the client, so no key is taken for a client that is known to
have left. Only a reply that is lost with a breaking connection can lose a key. The price is one commit for each key
given, where a batch shares one. So a turn of the loop gives only a few keys, and a TAKEFIRST that finds a key at once
is part of its batch like any other command.
"""

from collections.abc import Callable, Iterable

from kvd import wire
from kvd.commands.base import NotYet, Ok
from kvd.commands.model import Milliseconds, Row
from kvd.errors import Busy, Full, Refused
from kvd.limits import DELIVERIES_PER_TURN_MAX
from kvd.server.executor import Executor
from kvd.server.sockets.command_socket import CommandSocket
from kvd.server.takers import Taker
from kvd.server.waiters import Waiter

# A commit that fails with one of these has changed nothing, and the next may succeed.
PASSING = (Full, Busy)


class Waits:
    """Answers waiting clients."""

    def __init__(
        self,
        executor: Executor,
        requests: CommandSocket,
        *,
        fail: Callable[[Refused], bytes],
        after_commit: Callable[[list[Row], Milliseconds], None],
    ) -> None:
        self.executor = executor
        self.command_socket = requests
        self.fail = fail
        self.after_commit = after_commit
        self.waiters = executor.waiters
        self.takers = executor.takers

    def __len__(self) -> int:
        return len(self.waiters.waiting) + len(self.takers)

    def next_due(self, now: Milliseconds) -> Milliseconds | None:
        """Return the time of the next work, or None."""
        if self.takers.keys:
            return now
        times = (self.waiters.next_deadline(), self.takers.next_deadline())
        return min((time for time in times if time is not None), default=None)

    def wake(self, rows: list[Row], now: Milliseconds) -> None:
        """Answer clients that wait for these changes, from the first row: earlier changes did not match."""
        for waiter in self.waiters.pop_matching(rows):
            try:
                body = wire.encode(self.executor.engine.apply(waiter.after(rows[0][0] - 1), now))
            except Refused as error:
                body = self.executor.refuse(error)
            self.command_socket.reply(waiter.envelope, body)
        self.takers.note(rows)

    # Keys

    def deliver_keys(self, now: Milliseconds) -> None:
        """Give keys that were set to waiting clients, a few per turn."""
        keys = self.takers.keys
        given = 0
        while keys and given < DELIVERIES_PER_TURN_MAX and self.executor.read_only is None:
            taker = self.takers.next_for(keys[0])
            taken = None if taker is None else self._deliver(taker, now)
            given += taken is not None
            if taken is None or keys[0] in taken:
                keys.popleft()

    def _deliver(self, taker: Taker, now: Milliseconds) -> list[bytes] | None:
        """Give a client the first key of its prefix.

        Returns the keys taken: none if the client has left or gets an error. None if no key exists: the client waits
        on.
        """
        reply = self.executor.outcome(taker.command, now)
        if isinstance(reply, NotYet):
            return None
        self.takers.remove(taker)
        if isinstance(reply, Refused):
            self.command_socket.reply(taker.envelope, self.executor.refuse(reply))
        elif self.command_socket.begin_reply(taker.envelope):
            return self._end_reply(taker, reply, now)
        else:
            self.executor.engine.staging.drop()
        return []

    def _end_reply(self, taker: Taker, reply: Ok, now: Milliseconds) -> list[bytes]:
        """Commit the key that a client takes, and send it; return the keys taken."""
        rows: list[Row] = []
        try:
            rows = self.executor.commit()
            body = wire.encode(reply)
        except PASSING as error:
            body = self.executor.refuse(error)
        except Refused as error:
            body = self.fail(error)
        self.command_socket.end_reply(taker.envelope, body)
        self.after_commit(rows, now)
        if rows:
            self._repeat(taker, now)
        return [row[2] for row in rows]

    def _repeat(self, taker: Taker, now: Milliseconds) -> None:
        """Send the same result to clients that wait with the same token of ONCE: they sent the command again."""
        for same in self.takers.pop_token(taker.token):
            reply = self.executor.outcome(same.command, now)
            body = self.executor.refuse(reply) if isinstance(reply, Refused) else wire.encode(reply)
            self.command_socket.reply(same.envelope, body)

    # The end of a wait

    def end_expired(self, now: Milliseconds) -> None:
        """Answer clients past their deadline with an empty result, and refuse waiting writes if read-only."""
        if self.executor.read_only is not None:
            self._refuse_writes()
        self._answer_empty(self.waiters.pop_expired(now), self.takers.pop_expired(now))

    def end_all(self) -> None:
        """Answer all waiting clients with an empty result."""
        self._answer_empty(self.waiters.pop_all(), self.takers.pop_all())

    def _answer_empty(self, waiter: Iterable[Waiter], takers: Iterable[Taker]) -> None:
        revision = self.executor.store.revision
        for waiting in waiter:
            self.command_socket.reply(waiting.envelope, wire.encode(Ok(revision, [])))
        for taker in takers:
            self.command_socket.reply(taker.envelope, wire.encode(Ok(revision, None)))

    def _refuse_writes(self) -> None:
        """Answer clients that wait for a key with the refusal of their write."""
        self.takers.keys.clear()
        for taker in self.takers.pop_all():
            self.command_socket.reply(taker.envelope, self.executor.refuse(self.executor.write_refusal(taker.command)))

    def refuse_all(self, error: Refused) -> None:
        """Answer all waiting clients with an error, at shutdown."""
        waiting: list[Waiter | Taker] = [*self.waiters.pop_all(), *self.takers.pop_all()]
        for request in waiting:
            self.command_socket.reply(request.envelope, self.executor.refuse(error))
