"""Clients that wait: CHANGES for the next change, TAKEFIRST for a key.

A change wakes all clients that wait for its prefix. A key goes to one of them, so each key is given by itself:

    run TAKEFIRST  ->  begin the reply  ->  commit  ->  end the reply

A reply can only begin while libzmq has a connection to the client, so no key is taken for a client that is known to
have left. Only a reply that is lost with a breaking connection can lose a key. The price is one commit for each key
given, where a batch shares one. So a turn of the loop gives only a few keys, and a TAKEFIRST that finds a key at once
is part of its batch like any other command.
"""

from collections.abc import Iterable, Iterator

from kvd import wire
from kvd.commands.base import NotYet, Ok
from kvd.commands.model import Milliseconds, Row
from kvd.errors import Refused
from kvd.limits import DELIVERIES_PER_TURN_MAX
from kvd.server.pipeline import PASSING, BatchPipeline
from kvd.server.sockets.command_socket import CommandSocket
from kvd.server.takers import Taker
from kvd.server.waiters import Waiter


class Waits:
    """Answers waiting clients."""

    def __init__(self, pipeline: BatchPipeline, commands: CommandSocket) -> None:
        self.waiters = pipeline.executor.waiters
        self.takers = pipeline.executor.takers
        self._pipeline = pipeline
        self._executor = pipeline.executor
        self._commands = commands

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
            outcome = self._executor.run_waiting(waiter.after(rows[0][0] - 1), now)
            self._commands.reply(waiter.envelope, self._executor.encode_outcome(outcome))
        self.takers.note(rows)

    # Keys

    def deliver_keys(self, now: Milliseconds) -> Iterator[list[Row]]:
        """Give keys that were set to waiting clients, a few per turn; yield the changes of each to be published."""
        keys = self.takers.keys
        delivered = 0
        while keys and delivered < DELIVERIES_PER_TURN_MAX and self._executor.read_only is None:
            taker = self.takers.next_for(keys[0])
            rows = None if taker is None else self._deliver(taker, now)
            if rows and taker is not None:
                yield rows
                self._repeat(taker, now)
            delivered += rows is not None
            if rows is None or keys[0] in [row[2] for row in rows]:
                keys.popleft()

    def _deliver(self, taker: Taker, now: Milliseconds) -> list[Row] | None:
        """Give a client the first key of its prefix.

        Returns the changes: none if the client has left or gets an error. None if no key exists: the client waits on.
        """
        reply = self._executor.run_waiting(taker.command, now)
        if isinstance(reply, NotYet):
            return None
        self.takers.remove(taker)
        if isinstance(reply, Refused):
            self._commands.reply(taker.envelope, self._executor.refuse(reply))
        elif self._commands.begin_reply(taker.envelope):
            return self._end_reply(taker, reply)
        else:
            self._executor.end_batch(is_committed=False)
        return []

    def _end_reply(self, taker: Taker, reply: Ok) -> list[Row]:
        """Commit the key that a client takes, and send it; return the changes."""
        rows: list[Row] = []
        try:
            rows = self._pipeline.commit()
            body = wire.encode(reply)
        except PASSING as error:
            body = self._executor.refuse(error)
        except Refused as error:
            body = self._pipeline.fail(error)
        self._commands.end_reply(taker.envelope, body)
        return rows

    def _repeat(self, taker: Taker, now: Milliseconds) -> None:
        """Send the same result to clients that wait with the same token of ONCE: they sent the command again."""
        for same in self.takers.pop_token(taker.token):
            outcome = self._executor.run_waiting(same.command, now)
            self._commands.reply(same.envelope, self._executor.encode_outcome(outcome))

    # The end of a wait

    def end_expired(self, now: Milliseconds) -> None:
        """Answer clients past their deadline with an empty result, and refuse waiting writes if read-only."""
        if self._executor.read_only is not None:
            self._refuse_writes()
        self._answer_empty(self.waiters.pop_expired(now), self.takers.pop_expired(now))

    def end_all(self) -> None:
        """Answer all waiting clients with an empty result."""
        self._answer_empty(self.waiters.pop_all(), self.takers.pop_all())

    def _answer_empty(self, waiter: Iterable[Waiter], takers: Iterable[Taker]) -> None:
        revision = self._executor.store.revision
        for waiting in waiter:
            self._commands.reply(waiting.envelope, wire.encode(Ok(revision, [])))
        for taker in takers:
            self._commands.reply(taker.envelope, wire.encode(Ok(revision, None)))

    def _refuse_writes(self) -> None:
        """Answer clients that wait for a key with the refusal of their write."""
        self.takers.keys.clear()
        for taker in self.takers.pop_all():
            self._commands.reply(taker.envelope, self._executor.refuse(self._executor.write_refusal(taker.command)))

    def refuse_all(self, error: Refused) -> None:
        """Answer all waiting clients with an error, at shutdown."""
        waiting: list[Waiter | Taker] = [*self.waiters.pop_all(), *self.takers.pop_all()]
        for request in waiting:
            self._commands.reply(request.envelope, self._executor.refuse(error))
