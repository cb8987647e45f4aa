"""One client of the TCP gateway: its requests run in order, and its replies are sent in that order.

The resources of a connection are bounded. Its pending requests are limited (TCP_CONNECTION_REQUESTS_MAX, and
TCP_CONNECTION_VALUES_BYTES_MAX in them), and further if its replies have been large (output_budget.py). While a client
does not read, no request of it starts and nothing is read from it; after TCP_SILENCE_MS it is disconnected. All
connections share the totals of budget.py.
"""

import asyncio
import contextlib
from typing import cast

from kvd.commands.values import Get, Set
from kvd.gateways.tcp.input import ConnectionInput
from kvd.gateways.tcp.output_budget import SILENCE_S, OutputBudget
from kvd.gateways.tcp.protocol import Malformed, Request, encode_failure
from kvd.gateways.tcp.replies import RETURNS_VALUE, WRITES, PendingReply, ReplyQueue
from kvd.gateways.tcp.shared import Shared
from kvd.limits import KIB, TCP_LARGE_BYTES, TCP_LINGER_MS

# GETs of a connection that has read larger values are not coalesced.
COALESCED_BYTES_MAX = 16 * KIB

# After the last reply, further input is read and discarded: closing with unread input would reset the connection, and
# the client would not receive the reply.
LINGER_S = TCP_LINGER_MS / 1000


class Connection(asyncio.Protocol):
    """The protocol of one connection."""

    transport: asyncio.Transport

    def __init__(self, shared: Shared) -> None:
        now = shared.loop.time()
        self.shared, self.dialect = shared, shared.dialect
        self.input = ConnectionInput(shared.dialect, shared.budget, now)
        self.replies = ReplyQueue()
        self.output_budget = OutputBudget(shared.budget, now)
        self.write_paused = self.is_write_scheduled = False
        self.is_finished = False  # no further request starts
        self.is_closing = False  # the last reply is written
        self.is_closed = False

    # Callbacks of the transport

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Register the connection. Beyond the limit, send an error and close."""
        self.transport = cast("asyncio.Transport", transport)  # uvloop's class does not inherit from it
        # A transport keeps a whole reply in memory until its last byte is sent, so the whole reply counts until then.
        self.transport.set_write_buffer_limits(high=0)
        registry = self.shared.registry
        if not registry.add(self):
            self.fail(f"the gateway has {registry.connections_max} connections and accepts no more: try again")

    def data_received(self, data: bytes) -> None:
        """Parse and start requests."""
        if self.is_finished:
            return
        self.input.restart_timeout(self.shared.loop.time())
        self.input.feed(data)
        self.parse_buffered()

    def eof_received(self) -> bool:
        """Answer the requests that have arrived, then close."""
        self.input.on_end()
        if self._is_waiting:
            self._read_more()
        return not self.is_closing

    def pause_writing(self) -> None:
        """The client does not read fast enough."""
        self.write_paused = True

    def resume_writing(self) -> None:
        """The client has read everything."""
        self.write_paused = False
        self.output_budget.release_unsent()
        self.parse_buffered()

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002
        """Release everything. Pending requests run, and their replies are dropped."""
        self.is_closed = self.is_finished = True
        self.input.release()
        self.output_budget.release_unsent()
        self.shared.budget.cancel_wait(self)
        self.shared.registry.remove(self)

    # Requests

    def parse_buffered(self) -> None:
        """Start the requests that have arrived completely, while there is capacity; then read on."""
        budget, replies, received = self.shared.budget, self.replies, self.input
        while not (self.is_finished or self.write_paused or replies.is_full or self.output_budget.is_full):
            if not budget.has_capacity:
                budget.wait(self)
                break
            try:
                request = received.held or received.next_request()
            except Malformed as error:
                self.fail(str(error))
                return
            if request is None:
                self._read_more()
                return
            if replies.coalesced and isinstance(request, WRITES):
                received.hold(request)
                break
            if received.held:
                received.hold(None)
            self._start(request)
        if self._is_waiting:
            received.on_reading_paused()
            self.transport.pause_reading()

    def _start(self, request: Request) -> None:
        """Send a request to the daemon."""
        shared, replies = self.shared, self.replies
        if self.input.reserved:
            self.input.release()
        is_coalesced = (
            isinstance(request, Get)
            and bool(request.key)
            and not replies.writes
            and self.output_budget.largest <= COALESCED_BYTES_MAX
        )
        pending = PendingReply(self, request, is_coalesced)
        size = len(request.value) if isinstance(request, Set) else 0
        replies.add(pending, size)
        if isinstance(request, RETURNS_VALUE):
            pending.charge(self.output_budget.estimate)
        shared.budget.acquire_request(size)
        if is_coalesced:
            shared.coalescer.add(pending)
        else:
            shared.submit(request, pending)

    def _read_more(self) -> None:
        """Continue to read, if there is memory for the string that is arriving."""
        received = self.input
        if received.string_bytes > TCP_LARGE_BYTES and not received.reserve():
            self.fail(f"BUSY: no memory for {received.string_bytes} bytes beside other connections: try again")
        elif received.has_ended:
            self._end_input()
        elif not received.is_reading:
            received.on_reading_resumed(self.shared.loop.time())
            self.transport.resume_reading()

    def _end_input(self) -> None:
        """Close after the pending replies; with an error if a request is incomplete."""
        if self.input.has_partial:
            self.fail("the request is incomplete")
        else:
            self.finish()

    @property
    def _is_waiting(self) -> bool:
        """Return whether the connection waits for input of the client."""
        return self.input.is_reading and not self.is_finished

    def check_timeouts(self, now: float) -> None:
        """Disconnect a client that is silent within a request, or that reads none of its replies."""
        if self.output_budget.is_stalled(self.transport, now):
            self.transport.abort()
            return
        if now - self.input.last_activity < SILENCE_S:
            return
        if self.is_closing:
            self.transport.abort()
        elif self._is_waiting and self.input.has_partial:
            self.fail(f"silent for {SILENCE_S:g} s within a request")

    # Replies

    def on_reply(self, pending: PendingReply) -> None:
        """Schedule a write of the complete replies for the end of the turn."""
        self.shared.budget.release_request(self.replies.on_reply(pending))
        if not self.is_write_scheduled:
            self.is_write_scheduled = True
            self.shared.writer.schedule(self)

    def write(self) -> None:
        """Write the complete replies, in the order of the requests, and continue with further requests."""
        self.is_write_scheduled = False
        complete, size = self.replies.pop_complete()
        if self.is_closed:
            self.output_budget.charge(-size)
            return
        if complete:
            self.transport.write(b"".join(complete) if len(complete) > 1 else complete[0])
            self.output_budget.on_sent(size, is_paused=self.write_paused)
        if not self.is_finished:
            self.parse_buffered()
        elif self.replies.is_empty:
            self._close()

    def fail(self, reason: str) -> None:
        """Send an error after the pending replies, and close."""
        self.replies.add_final(encode_failure(self.dialect, reason.encode()))
        self.finish()

    def abort(self) -> None:
        """Close at once, without the replies that are not sent yet."""
        self.transport.abort()

    def finish(self) -> None:
        """Start no further request; close once the pending ones are answered."""
        self.is_finished = True
        self.input.release()
        self.write()

    def _close(self) -> None:
        """Close this side, and wait for the client to close the other."""
        if self.is_closing or self.is_closed:
            return
        self.is_closing = True
        self.input.restart_timeout(self.shared.loop.time())
        if self.input.has_ended or not self.shared.registry.may_linger(self):
            self.transport.close()
            return
        with contextlib.suppress(OSError):
            self.transport.write_eof()
        if not self.input.is_reading:
            self.transport.resume_reading()
        self.shared.loop.call_later(LINGER_S, self.transport.close)
