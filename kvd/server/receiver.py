"""Receives batches of requests, without a poll and its system calls where more requests are likely.

While many clients send requests, more have arrived by the time a batch is answered: the next batch is read at once.
For a single client that sends its next request soon after each reply, the loop spins for SPIN_S: sleeping and waking
up takes longer. The other sockets are polled at least every POLL_OTHERS_MS.
"""

import os
from time import perf_counter

from kvd.commands.model import Milliseconds
from kvd.server.clock import Clock
from kvd.server.sockets.command_socket import Request
from kvd.server.sockets.server_sockets import ServerSockets
from kvd.storage import Store

POLL_OTHERS_MS = 5
SPIN_S = 0.0001
SINGLE_CLIENT_S = 0.0002  # from a reply to the next request


class Receiver:
    """Receives the batches of the loop."""

    def __init__(self, sockets: ServerSockets, store: Store, clock: Clock) -> None:
        self._sockets = sockets
        self._store = store
        self._clock = clock
        self._is_busy = self._is_single_client = False
        self._answered_at = 0.0  # seconds of perf_counter
        self._next_poll: Milliseconds = 0

    def receive(self, wait_ms: int) -> tuple[list[Request], Milliseconds, float]:
        """Wait for requests; return them, the time, and perf_counter at their receipt."""
        now = self._clock.now()
        batch = self._receive_without_poll()
        if not batch or now >= self._next_poll:
            self._next_poll = now + POLL_OTHERS_MS
            has_requests = self._sockets.poll(0 if batch else wait_ms, self._store.revision)
            now = self._clock.now()
            if has_requests and not batch:
                batch = self._sockets.commands.drain()
        began = perf_counter()
        self._is_busy = len(batch) > 1
        self._is_single_client = len(batch) == 1 and began - self._answered_at < SINGLE_CLIENT_S
        return batch, now, began

    def on_answered(self, answered_at: float) -> None:
        """Note when the batch was answered, in seconds of perf_counter."""
        self._answered_at = answered_at

    def _receive_without_poll(self) -> list[Request]:
        drain = self._sockets.commands.drain
        if self._is_busy:
            # Lets the I/O thread deliver more first: larger batches, fewer wakes. get-50 74 k -> 81 k/s, SET the same.
            os.sched_yield()
            return drain()
        until = perf_counter() + SPIN_S if self._is_single_client else 0.0
        while perf_counter() < until:
            if batch := drain():
                return batch
        return []
