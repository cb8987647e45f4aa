"""Many commands in flight over one connection. Blocking; one thread only."""

import time
import weakref
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext, suppress
from math import ceil
from typing import Any

import zmq

from kvd import wire
from kvd.client.closing import Closing
from kvd.client.inflight import InFlight, Outcome
from kvd.client.keys import Keys
from kvd.client.sockets import FINAL, LOST, MADE, Shared, barred, dealer, event_in, hindrance, monitor
from kvd.commands import Command
from kvd.commands.base import Error, Ok
from kvd.errors import ClientError
from kvd.limits import IN_FLIGHT_MAX, TIMEOUT_MS

DEFAULT_ENDPOINT = "tcp://127.0.0.1:7411"
NOBLOCK, MORE = int(zmq.NOBLOCK), int(zmq.SNDMORE)
RECEIVED_PER_TURN_MAX = 10_000
UNSENT_POLL_S = 0.02  # a new connection is seen only by trying


def ok(outcome: Ok | Error | ClientError) -> Ok:
    """Return a reply that is no error; raise what it is otherwise."""
    if isinstance(outcome, ClientError):
        raise outcome
    if isinstance(outcome, Error):
        wire.raise_error(outcome)
    assert isinstance(outcome, Ok)
    return outcome


class Stream(Closing):
    """One DEALER. `window` is how many commands the caller wants in flight at most.

    Outcomes come in the order given, or as they come if not `is_ordered`.
    """

    def __init__(
        self,
        endpoint: str = DEFAULT_ENDPOINT,
        *,
        timeout: float = TIMEOUT_MS / 1000,
        connect_timeout: float | None = None,
        window: int = 256,
        is_ordered: bool = True,
        keys: Keys | None = None,
        shared: Shared | None = None,
    ) -> None:
        """Times in seconds; `connect_timeout` is how long a command may wait for a connection (default: `timeout`).

        `shared`: another stream's context, within one thread; else it has one of its own, which is two threads.
        """
        if not 1 <= window <= IN_FLIGHT_MAX:
            raise ValueError(f"window is {window}; it has to be 1 to {IN_FLIGHT_MAX}")
        self.endpoint = endpoint
        self.keys = keys
        self.timeout = timeout
        self.connect_timeout = timeout if connect_timeout is None else connect_timeout
        self.window = window
        self.pending = InFlight(is_ordered=is_ordered)
        self.pending.hindrance = barred(endpoint)
        self.shared = shared or Shared()
        self.context = self.shared.context
        self.socket = self.connected()
        self.monitor = monitor(self.socket)
        self.opened = [self.socket, self.monitor]
        # Also when nobody closes it: the context's own end, at garbage collection, would wait for sockets that are
        # to be collected after it, for ever.
        self.end = weakref.finalize(self, self.shared.leave, self.opened)
        self.end.atexit = False
        self.is_broken = self.is_shut_out = False
        self.breaks = 0  # how often the connection was lost, or not made
        self.poller = zmq.Poller()
        self.register(self.poller)

    def connected(self) -> Any:
        """Return the socket, and take part in the context; raises ValueError for an endpoint that is none."""
        self.shared.users += 1
        try:
            return dealer(self.context, self.endpoint, self.keys)
        except zmq.ZMQError as error:
            self.shared.leave([])
            raise ValueError(
                f"{self.endpoint!r} is no endpoint (tcp://HOST:PORT or ipc://PATH): {error.strerror}"
            ) from error

    @property
    def in_flight(self) -> int:
        """Return how many commands have been given whose outcome has not been taken."""
        return len(self.pending)

    def send(self, command: Command, tag: Any = None) -> None:
        """Give a command; it is sent at once if there is a connection, else as soon as there is."""
        if not self.pending:
            self.take_events()  # or a break from long ago would be taken for one after this was sent
        if self.is_shut_out:
            self.connect_again()
        now = time.monotonic()
        wait = getattr(command, "wait_ms", None) or 0
        until = now + self.timeout + wait / 1000
        self.pending.add(command, tag, unsent_until=now + self.connect_timeout, until=until)
        self.flush()

    def flush(self) -> None:
        """Send what waits, as far as the connection takes it.

        After a break not before the monitor has told of a new connection. libzmq tells of the break before it takes
        the old pipe away: what is sent in between is lost without a trace, and would be waited for in vain.
        """
        if self.is_broken:
            return
        send = self.socket.send
        while (pending := self.pending.next_to_send()) is not None:
            try:
                send(pending.correlation, MORE | NOBLOCK)
            except zmq.Again:
                return
            send(b"", MORE)
            send(pending.body)
            self.pending.sent()

    def receive(self, wait_s: float | None = None) -> list[tuple[Any, Outcome]]:
        """Return the outcomes that are there; wait for the first (None: until its deadline)."""
        limit = None if wait_s is None else time.monotonic() + wait_s
        while self.pending:
            outcomes = list(self.pending.take())
            if outcomes:
                return outcomes
            self.turn(limit)
            if limit is not None and time.monotonic() >= limit:
                return list(self.pending.take())
        return []

    def answer(self, command: Command) -> Ok:
        """Run one command and wait for its reply. Raises KvdError; outcomes of others that come before are dropped."""
        for _ in self.receive(0):
            pass  # what an interrupted call left behind
        tag = object()
        self.send(command, tag)
        while True:
            for found, outcome in self.receive():
                if found is tag:
                    return ok(outcome)

    def take_in(self) -> None:
        """Take in what is there though nothing is waited for: a break, or a reply that comes late."""
        self.handle(dict(self.poller.poll(0)))

    def turn(self, limit: float | None) -> None:
        """Wait for the next event, at most to a limit on the monotonic clock, and take it in."""
        deadlines = [d for d in (limit, self.due()) if d is not None]
        wait = max(0.0, min(deadlines) - time.monotonic()) if deadlines else 0.0
        self.handle(dict(self.poller.poll(ceil(wait * 1000))))

    def due(self) -> float | None:
        """Return when to `handle` even if nothing arrives, on the monotonic clock; None: never."""
        deadline = self.pending.next_deadline()
        if self.pending.next_to_send() is None or deadline is None:
            return deadline
        return min(deadline, time.monotonic() + UNSENT_POLL_S)

    def until_readable(
        self, fd: int, work: Callable[[], None], waiting: Callable[[], AbstractContextManager[None]] = nullcontext
    ) -> None:
        """Return when a descriptor can be read. Until then see to the connection, and do some work at each event.

        Without that, what was sent before there was a connection would stay unsent for as long as a pipe is silent.
        `waiting` is entered for the time in which nothing is done.
        """
        poller = zmq.Poller()
        poller.register(fd, zmq.POLLIN)
        self.register(poller)
        events = dict(poller.poll(0))
        while fd not in events:
            self.handle(events)
            work()
            due = self.due()
            with waiting():
                events = dict(poller.poll(None if due is None else ceil(max(0.0, due - time.monotonic()) * 1000)))

    def handle(self, events: dict[Any, int]) -> None:
        """Take in what a poll found; for callers that poll other things besides (see `register`)."""
        if self.socket in events:
            self.take_replies()
        if self.monitor in events:
            self.take_events()
        self.flush()
        self.pending.expire(time.monotonic())

    def take_replies(self) -> None:
        """Take in the replies that have arrived."""
        receive = self.socket.recv
        try:
            for _ in range(RECEIVED_PER_TURN_MAX):
                correlation = receive(NOBLOCK)
                receive()
                self.pending.replied(correlation, wire.decode_reply(receive()))
        except zmq.Again:
            pass

    def take_events(self) -> None:
        """Take in what the monitor says; replies that came before a break have been taken before."""
        while self.monitor.poll(0):
            event = event_in(self.monitor.recv_multipart())
            if event & LOST:
                self.breaks += 1
                self.is_broken = True
                self.take_replies()
                self.pending.disconnected()
            elif event & MADE:
                self.socket.getsockopt(zmq.EVENTS)  # takes in now that the old pipe is gone; `send` may put that off
                self.is_broken = False
            why = hindrance(event, has_keys=self.keys is not None)
            if why is not None:
                self.pending.hindrance = why
            if event & FINAL:
                self.is_shut_out = True
                self.pending.give_up_unsent()

    def connect_again(self) -> None:
        """Connect after a refusal, which libzmq takes for final: we may be let in by now."""
        self.is_shut_out = False
        with suppress(zmq.ZMQError):
            self.socket.disconnect(self.endpoint)
        self.socket.connect(self.endpoint)

    def register(self, poller: zmq.Poller) -> None:
        """Add the sockets to a poller; give what it finds to `handle`."""
        poller.register(self.socket, zmq.POLLIN)
        poller.register(self.monitor, zmq.POLLIN)

    def close(self) -> None:
        """Close; what is in flight has no outcome any more."""
        self.end()
