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
from kvd.commands.base import Ok, Wait
from kvd.commands.entry import Milliseconds, Row
from kvd.errors import Busy, Full, Refused
from kvd.limits import GIVEN_PER_TURN_MAX
from kvd.server.executor import Executor
from kvd.server.parking import Parked
from kvd.server.requests import Requests
from kvd.server.takers import Taker

# A commit that failed like this has changed nothing, and the next may succeed.
PASSING = (Full, Busy)


class Waits:
    """Answers clients that wait. `fail` returns the reply to a commit that failed for good."""

    def __init__(
        self,
        executor: Executor,
        requests: Requests,
        *,
        fail: Callable[[Refused], bytes],
        after_commit: Callable[[list[Row], Milliseconds], None],
    ) -> None:
        self.executor = executor
        self.requests = requests
        self.fail = fail
        self.after_commit = after_commit
        self.parking = executor.parking
        self.takers = executor.takers

    def __len__(self) -> int:
        """Return how many wait."""
        return len(self.parking.parked) + len(self.takers)

    def next_due(self, now: Milliseconds) -> Milliseconds | None:
        """Return when there is something to do."""
        if self.takers.keys:
            return now
        times = (self.parking.next_until(), self.takers.next_until())
        return min((time for time in times if time is not None), default=None)

    def wake(self, rows: list[Row], now: Milliseconds) -> None:
        """Answer those who waited for a change: from where these rows begin, since none before concerned them."""
        for parked in self.parking.take_matching(rows):
            try:
                body = wire.encode(self.executor.engine.apply(parked.after(rows[0][0] - 1), now))
            except Refused as error:
                body = self.executor.refuse(error)
            self.requests.reply(parked.envelope, body)
        self.takers.note(rows)

    # Keys

    def give_keys(self, now: Milliseconds) -> None:
        """Give keys that were set to those who wait for them, some in a turn."""
        keys = self.takers.keys
        given = 0
        while keys and given < GIVEN_PER_TURN_MAX and self.executor.read_only is None:
            taker = self.takers.next_of(keys[0])
            taken = None if taker is None else self.give(taker, now)
            given += taken is not None
            if taken is None or keys[0] in taken:
                keys.popleft()

    def give(self, taker: Taker, now: Milliseconds) -> list[bytes] | None:
        """Give the first key there is to a client.

        Returns what was taken: nothing when the client is gone or gets an error. None: there is no key, it waits on.
        """
        reply = self.executor.outcome(taker.command, now)
        if isinstance(reply, Wait):
            return None
        self.takers.remove(taker)
        if isinstance(reply, Refused):
            self.requests.reply(taker.envelope, self.executor.refuse(reply))
        elif self.requests.is_begun(taker.envelope):
            return self.end_reply(taker, reply, now)
        else:
            self.executor.engine.staging.drop()
        return []

    def end_reply(self, taker: Taker, reply: Ok, now: Milliseconds) -> list[bytes]:
        """Commit what a client takes, and send it; return what was taken."""
        rows: list[Row] = []
        try:
            rows = self.executor.commit()
            body = wire.encode(reply)
        except PASSING as error:
            body = self.executor.refuse(error)
        except Refused as error:
            body = self.fail(error)
        self.requests.end(taker.envelope, body)
        self.after_commit(rows, now)
        if rows:
            self.repeat(taker, now)
        return [row[2] for row in rows]

    def repeat(self, taker: Taker, now: Milliseconds) -> None:
        """Give the same to those who wait with the same token of ONCE: a client that sent its command again."""
        for same in self.takers.take_same(taker.token):
            reply = self.executor.outcome(same.command, now)
            body = self.executor.refuse(reply) if isinstance(reply, Refused) else wire.encode(reply)
            self.requests.reply(same.envelope, body)

    # The end of a wait

    def end_over(self, now: Milliseconds) -> None:
        """Tell those whose time is over that nothing has come, and those who want to write that they may not."""
        if self.executor.read_only is not None:
            self.refuse_writes()
        self.answer_empty(self.parking.take_over(now), self.takers.take_over(now))

    def end_all(self) -> None:
        """Tell all that nothing has come."""
        self.answer_empty(self.parking.take_all(), self.takers.take_all())

    def answer_empty(self, parked: Iterable[Parked], takers: Iterable[Taker]) -> None:
        """Tell those who wait that nothing has come."""
        revision = self.executor.store.revision
        for one in parked:
            self.requests.reply(one.envelope, wire.encode(Ok(revision, [])))
        for taker in takers:
            self.requests.reply(taker.envelope, wire.encode(Ok(revision, None)))

    def refuse_writes(self) -> None:
        """Tell those who wait for a key that the daemon takes no writes."""
        self.takers.keys.clear()
        for taker in self.takers.take_all():
            self.requests.reply(taker.envelope, self.executor.refuse(self.executor.no_write(taker.command)))

    def refuse_all(self, error: Refused) -> None:
        """Tell all an error, for the end."""
        waiting: list[Parked | Taker] = [*self.parking.take_all(), *self.takers.take_all()]
        for one in waiting:
            self.requests.reply(one.envelope, self.executor.refuse(error))
