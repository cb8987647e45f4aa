"""Clients that wait: CHANGES for the next change, TAKEFIRST for a key.

All who wait for a change are told of it. A key goes to one of those who wait for it, so each is given by itself:

    run TAKEFIRST  ->  begin the reply  ->  commit  ->  end the reply

A reply can only be begun while libzmq has a connection to the client, so no key is taken for one that is known to be
gone. What is lost is a reply that a connection takes along when it breaks. The price is a commit for each key given,
where a batch shares one: only few are given in a turn of the loop, and a TAKEFIRST that finds a key at once is part of
its batch like any command.
"""

from collections.abc import Callable, Iterable

from kvd import wire
from kvd.commands.base import NotYet, Ok
from kvd.commands.model import KEY, REVISION, Milliseconds, Row
from kvd.errors import Busy, Full, Refused
from kvd.limits import DELIVERIES_PER_TURN_MAX
from kvd.server.executor import Executor
from kvd.server.sockets.command_socket import CommandSocket
from kvd.server.takers import Taker
from kvd.server.waiters import Waiter

# A commit that failed like this has changed nothing, and the next may succeed.
PASSING = (Full, Busy)


class Waits:
    """Answers clients that wait. `fail` returns the reply to a commit that failed for good."""

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
        """Return how many wait."""
        return len(self.waiters.waiting) + len(self.takers)

    def next_due(self, now: Milliseconds) -> Milliseconds | None:
        """Return when there is something to do."""
        if self.takers.keys:
            return now
        times = (self.waiters.next_deadline(), self.takers.next_deadline())
        return min((time for time in times if time is not None), default=None)

    def wake(self, rows: list[Row], now: Milliseconds) -> None:
        """Answer those who waited for a change: from where these rows begin, since none before concerned them."""
        for parked in self.waiters.pop_matching(rows):
            try:
                body = wire.encode(self.executor.engine.apply(parked.after(rows[0][REVISION] - 1), now))
            except Refused as error:
                body = self.executor.refuse(error)
            self.command_socket.reply(parked.envelope, body)
        self.takers.note(rows)

    # Keys

    def deliver_keys(self, now: Milliseconds) -> None:
        """Give keys that were set to those who wait for them, some in a turn."""
        keys = self.takers.keys
        given = 0
        while keys and given < DELIVERIES_PER_TURN_MAX and self.executor.read_only is None:
            taker = self.takers.next_of(keys[0])
            taken = None if taker is None else self._deliver(taker, now)
            given += taken is not None
            if taken is None or keys[0] in taken:
                keys.popleft()

    def _deliver(self, taker: Taker, now: Milliseconds) -> list[bytes] | None:
        """Give the first key there is to a client.

        Returns what was taken: nothing when the client is gone or gets an error. None: there is no key, it waits on.
        """
        reply = self.executor.outcome(taker.command, now)
        if isinstance(reply, NotYet):
            return None
        self.takers.remove(taker)
        if isinstance(reply, Refused):
            self.command_socket.reply(taker.envelope, self.executor.refuse(reply))
        elif self.command_socket.is_begun(taker.envelope):
            return self._end_reply(taker, reply, now)
        else:
            self.executor.engine.staging.drop()
        return []

    def _end_reply(self, taker: Taker, reply: Ok, now: Milliseconds) -> list[bytes]:
        """Commit what a client takes, and send it; return what was taken."""
        rows: list[Row] = []
        try:
            rows = self.executor.commit()
            body = wire.encode(reply)
        except PASSING as error:
            body = self.executor.refuse(error)
        except Refused as error:
            body = self.fail(error)
        self.command_socket.end(taker.envelope, body)
        self.after_commit(rows, now)
        if rows:
            self.repeat(taker, now)
        return [row[KEY] for row in rows]

    def repeat(self, taker: Taker, now: Milliseconds) -> None:
        """Give the same to those who wait with the same token of ONCE: a client that sent its command again."""
        for same in self.takers.pop_same(taker.token):
            reply = self.executor.outcome(same.command, now)
            body = self.executor.refuse(reply) if isinstance(reply, Refused) else wire.encode(reply)
            self.command_socket.reply(same.envelope, body)

    # The end of a wait

    def end_expired(self, now: Milliseconds) -> None:
        """Tell those whose time is over that nothing has come, and those who want to write that they may not."""
        if self.executor.read_only is not None:
            self._refuse_writes()
        self._answer_empty(self.waiters.pop_expired(now), self.takers.pop_expired(now))

    def end_all(self) -> None:
        """Tell all that nothing has come."""
        self._answer_empty(self.waiters.pop_all(), self.takers.pop_all())

    def _answer_empty(self, parked: Iterable[Waiter], takers: Iterable[Taker]) -> None:
        """Tell those who wait that nothing has come."""
        revision = self.executor.store.revision
        for one in parked:
            self.command_socket.reply(one.envelope, wire.encode(Ok(revision, [])))
        for taker in takers:
            self.command_socket.reply(taker.envelope, wire.encode(Ok(revision, None)))

    def _refuse_writes(self) -> None:
        """Tell those who wait for a key that the daemon takes no writes."""
        self.takers.keys.clear()
        for taker in self.takers.pop_all():
            self.command_socket.reply(taker.envelope, self.executor.refuse(self.executor.write_refusal(taker.command)))

    def refuse_all(self, error: Refused) -> None:
        """Tell all an error, for the end."""
        waiting: list[Waiter | Taker] = [*self.waiters.pop_all(), *self.takers.pop_all()]
        for one in waiting:
            self.command_socket.reply(one.envelope, self.executor.refuse(error))
