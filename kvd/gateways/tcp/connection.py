"""One client of the TCP gateway: its requests run in their order, its replies go out in that order.

What a connection costs is bounded. Its requests under way are few (TCP_CONNECTION_REQUESTS_MAX, and
TCP_CONNECTION_VALUES_BYTES_MAX in them), and fewer the larger its replies have been (tcp_debt.py). While its client
does not read, none begins and nothing is read from it; after TCP_SILENCE_MS of that it ends. All connections share what
the Commons allow.
"""

import asyncio
import contextlib
from collections import deque
from typing import Protocol, cast

from kvd.client.aio import ResultSink
from kvd.commands import Command
from kvd.commands.base import Error, Ok
from kvd.commands.values import Get, Set, Take
from kvd.errors import ClientError
from kvd.gateways.tcp.output_budget import SILENCE_S, OutputBudget
from kvd.gateways.tcp.protocol import Dialect, Malformed, Parser, Request, failed_frame, reply
from kvd.limits import (
    KIB,
    TCP_CONNECTION_REQUESTS_MAX,
    TCP_CONNECTION_VALUES_BYTES_MAX,
    TCP_LARGE_BYTES,
    TCP_LINGER_MS,
)

Outcome = Ok | Error | ClientError
WRITES = (Set, Take)
VALUED = (Get, Take)  # whose replies are as large as what is there

# Whose values have been larger is not gathered with others.
GATHERED_BYTES = 16 * KIB

# After the last reply what still comes is read and thrown away: a close with bytes unread resets the connection, and
# the client would not see the reply.
LINGER_S = TCP_LINGER_MS / 1000


class SharedBudget(Protocol):
    """What all connections share: what one wants of its gateway, and counts there.

    The counts: requests, bytes of their values, and bytes of their replies, which are owed.
    """

    loop: asyncio.AbstractEventLoop
    dialect: Dialect
    connections_max: int
    in_flight: int
    bytes: int
    charged: int
    waiting_for_budget: "dict[Connection, None]"

    @property
    def has_capacity(self) -> bool:
        """Return whether another request may be under way."""

    def submit(self, command: Command, taker: ResultSink) -> None:
        """Send a command to the daemon."""

    def coalesce(self, slot: "PendingReply") -> None:
        """Ask for the value of a slot's GET, with others."""

    def release(self, size: int) -> None:
        """A client has taken bytes of his replies, or is gone: others may go on."""

    def reserve(self, size: int) -> bool:
        """Keep room for a string that comes; return whether there is enough. Negative: give it back."""

    def add(self, connection: "Connection") -> bool:
        """Return whether a connection is taken in."""

    def remove(self, connection: "Connection") -> None:
        """Forget a connection."""

    def may_linger(self, connection: "Connection") -> bool:
        """Return whether one that leaves may stay a moment."""

    def write_soon(self, connection: "Connection") -> None:
        """Write a connection's replies at the end of this turn."""


class PendingReply:
    """A request's place among the replies of its connection. It takes the outcome as a future would."""

    __slots__ = ("charged", "connection", "is_coalesced", "reply", "request")

    def __init__(self, connection: "Connection", request: Request | None) -> None:
        """`request` None: a place for what is said at the end."""
        self.connection, self.request = connection, request
        self.reply: bytes | None = None
        self.is_coalesced = False
        self.charged = 0

    def done(self) -> bool:
        """Return whether nothing is waited for any more."""
        return self.reply is not None

    def set_result(self, outcome: Outcome) -> None:
        """Take the outcome."""
        assert self.request is not None
        text = reply(self.connection.dialect, self.request, outcome)
        debt = self.connection.output_budget
        if isinstance(self.request, VALUED):
            debt.observe(len(text))
        if isinstance(self.request, Get) and not debt.has_capacity(len(text), self.charged):
            why = f"BUSY: no room for {len(text)} bytes beside the replies of others: try again"
            text = failed_frame(self.connection.dialect, why.encode())
        self.charge(len(text))
        self.reply = text
        self.connection.on_reply(self)

    def charge(self, size: int) -> None:
        """Count so many bytes for the reply, instead of what was counted."""
        self.connection.output_budget.charge(size - self.charged)
        self.charged = size

    def cancel(self) -> None:
        """There will be none: the gateway ends."""


class Connection(asyncio.Protocol):
    """One client's."""

    transport: asyncio.Transport

    def __init__(self, gateway: SharedBudget) -> None:
        self.gateway, self.dialect = gateway, gateway.dialect
        self.parser = Parser(gateway.dialect)
        self.pending: deque[PendingReply] = deque()
        self.bytes = self.reserved = 0
        self.coalesced = self.writes = 0  # of those under way: GETs that were gathered, and what changes something
        self.held: Request | None = None  # a write that waits for the reads before it
        self.heard = gateway.loop.time()
        self.output_budget = OutputBudget(gateway, self.heard)
        self.is_reading, self.write_paused, self.is_dirty = True, False, False
        self.is_ended = False  # the client will send no more
        self.is_finished = False  # no other request begins
        self.is_closing = False  # and the last reply is written
        self.is_closed = False

    # What the transport tells

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """A client came; one too many is told so."""
        self.transport = cast("asyncio.Transport", transport)  # uvloop's is none by inheritance
        # A transport keeps a reply whole until its last byte is sent: so one with a byte left counts, as a whole.
        self.transport.set_write_buffer_limits(high=0)
        if not self.gateway.add(self):
            self.fail(f"there are {self.gateway.connections_max} connections, and no more are taken: try again")

    def data_received(self, data: bytes) -> None:
        """Bytes came."""
        if self.is_finished:
            return
        self.heard = self.gateway.loop.time()
        self.parser.feed(data)
        self.parse_buffered()

    def eof_received(self) -> bool:
        """No more will come; what came is answered first."""
        self.is_ended = True
        if self.is_waiting:
            self._want_more()
        return not self.is_closing

    def pause_writing(self) -> None:
        """The client does not read."""
        self.write_paused = True

    def resume_writing(self) -> None:
        """It does again."""
        self.write_paused = False
        self.output_budget.release_unsent()
        self.parse_buffered()

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002
        """It is gone; what is under way for it runs, and is told nobody."""
        self.is_closed = self.is_finished = True
        self.release()
        self.output_budget.release_unsent()
        self.gateway.remove(self)

    # Requests

    def parse_buffered(self) -> None:
        """Begin what has come whole, as far as there is room; read on when nothing has."""
        gateway, slots = self.gateway, self.pending
        while not (self.is_finished or self.write_paused or len(slots) >= TCP_CONNECTION_REQUESTS_MAX or self._is_full):
            if not gateway.has_capacity:
                gateway.waiting_for_budget[self] = None
                break
            try:
                request = self.held or self.parser.take()
            except Malformed as error:
                self.fail(str(error))
                return
            if request is None:
                self._want_more()
                return
            self.held = request if self.coalesced and isinstance(request, WRITES) else None
            if self.held is not None:
                break
            self.begin(request)
        if self.is_waiting:
            self.is_reading = False
            self.transport.pause_reading()

    @property
    def _is_full(self) -> bool:
        """Return whether the bytes of what is under way are enough."""
        return self.bytes >= TCP_CONNECTION_VALUES_BYTES_MAX or self.output_budget.is_full

    def begin(self, request: Request) -> None:
        """Send a request to the daemon."""
        if self.reserved:
            self.release()
        slot = PendingReply(self, request)
        self.pending.append(slot)
        if isinstance(request, VALUED):
            slot.charge(self.output_budget.expected)
        gateway = self.gateway
        gateway.in_flight += 1
        if isinstance(request, WRITES):
            self.writes += 1
            self._count_bytes(_size_of(request))
        elif isinstance(request, Get) and request.key and not self.writes and self.output_budget.seen <= GATHERED_BYTES:
            slot.is_coalesced = True
            self.coalesced += 1
            gateway.coalesce(slot)
            return
        gateway.submit(request, slot)

    def _count_bytes(self, size: int) -> None:
        """Count what is under way, here and of all."""
        self.bytes += size
        self.gateway.bytes += size

    def _want_more(self) -> None:
        """Read on, if there is room for the string that has begun."""
        wanted = self.parser.wanted
        if wanted > TCP_LARGE_BYTES and not self.reserved:
            if not self.gateway.reserve(wanted):
                self.fail(f"BUSY: no room for {wanted} bytes beside those of others: try again")
                return
            self.reserved = wanted
        if self.is_ended and self.parser.has_partial:
            self.fail("the request ends early")
        elif self.is_ended:
            self.finish()
        elif not self.is_reading:
            self.is_reading = True
            self.heard = self.gateway.loop.time()
            self.transport.resume_reading()

    def release(self) -> None:
        """Give back the room that was kept for a string."""
        self.gateway.reserve(-self.reserved)
        self.reserved = 0

    @property
    def is_waiting(self) -> bool:
        """Return whether it is the client from whom something is to come."""
        return self.is_reading and not self.is_finished

    def check_timeouts(self, now: float) -> None:
        """End a client that is silent within a request, or that takes none of its replies."""
        if self.output_budget.is_stalled(self.transport, now):
            self.transport.abort()
            return
        if now - self.heard < SILENCE_S:
            return
        if self.is_closing:
            self.transport.abort()
        elif self.is_waiting and self.parser.has_partial:
            self.fail(f"silent for {SILENCE_S:g} s within a request")

    # Replies

    def on_reply(self, slot: PendingReply) -> None:
        """A slot has its reply; all that is due is written at the end of the turn."""
        self.gateway.in_flight -= 1
        if slot.is_coalesced:
            self.coalesced -= 1
        elif isinstance(slot.request, WRITES):
            self.writes -= 1
            self._count_bytes(-_size_of(slot.request))
        if not self.is_dirty:
            self.is_dirty = True
            self.gateway.write_soon(self)

    def write(self) -> None:
        """Write the replies that are due, in the order of the requests, and go on."""
        self.is_dirty = False
        slots, due, size = self.pending, [], 0
        while slots and (text := slots[0].reply) is not None:
            due.append(text)
            size += slots.popleft().charged
        if self.is_closed:
            self.output_budget.release(size)
            return
        if due:
            self.transport.write(b"".join(due) if len(due) > 1 else due[0])
            self.output_budget.on_sent(size, is_choked=self.write_paused)
        if not self.is_finished:
            self.parse_buffered()
        elif not slots:
            self.close()

    def fail(self, why: str) -> None:
        """Say why, after the replies that are due, and end."""
        slot = PendingReply(self, None)
        slot.reply = failed_frame(self.dialect, why.encode())
        self.pending.append(slot)
        self.finish()

    def finish(self) -> None:
        """Begin no other request; close when those under way are answered."""
        self.is_finished = True
        self.release()
        self.write()

    def close(self) -> None:
        """All is written: end our side, and wait for the client to end his."""
        if self.is_closing or self.is_closed:
            return
        self.is_closing = True
        self.heard = self.gateway.loop.time()
        if self.is_ended or not self.gateway.may_linger(self):
            self.transport.close()
            return
        with contextlib.suppress(OSError):
            self.transport.write_eof()
        if not self.is_reading:
            self.transport.resume_reading()
        self.gateway.loop.call_later(LINGER_S, self.transport.close)


def _size_of(request: Set | Take) -> int:
    """Return the bytes of the value that a request carries."""
    return len(request.value) if isinstance(request, Set) else 0
