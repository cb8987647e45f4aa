"""Imports entries: MULTISET batches, several in flight, applied in the order of the lines.

Each batch knows its lines, so the replies show how far the file is applied. Every line sets a key: to send a line again
changes nothing but revisions.
"""

import os
import time
from collections.abc import Callable, Iterable
from typing import NamedTuple

from kvd.client.bulk import BulkWindow, Chunk, WindowLimits
from kvd.client.stream import Stream
from kvd.commands import Command
from kvd.commands.values import MultiSet, Set
from kvd.errors import ClientError, KvdError
from kvd.limits import IN_FLIGHT_MAX, MIB
from kvd.transfer.lines import BadLine, Record
from kvd.transfer.signals import Interrupted, Signals

PAIRS_MAX = 200
BATCH_BYTES_MAX = MIB  # and one value on top
# In flight: enough that the daemon always has the next batch, and no more than it commits at once.
ENTRIES_MAX = 16 * PAIRS_MAX
BYTES_MAX = 16 * MIB
LIMITS = WindowLimits(IN_FLIGHT_MAX, ENTRIES_MAX, BYTES_MAX)


class Batch(NamedTuple):
    """The lines of a chunk."""

    first: int
    last: int


class BatchFailed(Exception):
    """The daemon did not accept a batch, or is lost; `error` says why."""

    def __init__(self, batch: Batch, error: KvdError) -> None:
        super().__init__(str(error))
        self.batch = batch
        self.error = error


class Importer:
    """Applies records. `done` is the line of the file up to which they are applied and durable."""

    def __init__(self, stream: Stream, signals: Signals, *, prefix: bytes, skip: int, tick: Callable[[], None]) -> None:
        """`tick` is called with each batch."""
        self.done = skip
        self.expired = self.others = 0  # entries that were left out
        self.signals = signals
        self._stream = stream
        self._prefix = prefix
        self._tick = tick
        self._pairs: list[tuple[bytes, bytes]] = []
        self._pairs_bytes = 0
        self._pairs_lines = Batch(0, 0)
        self._window = BulkWindow(LIMITS, stream.timeout, on_applied=self._on_applied)

    @property
    def entries(self) -> int:
        """The number of entries that are applied."""
        return self._window.applied_entries

    def run(self, records: Iterable[Record]) -> None:
        """Apply all records. Raises BatchFailed, BadLine, Interrupted, OSError; then those up to `done` are durable."""
        try:
            for record in records:
                self._add(record)
        except (BadLine, OSError):
            self._finish()  # the lines before it are complete
            raise
        except Interrupted as signal:
            if not signal.is_urgent:
                self._drain()
            raise
        self._finish()

    def read(self, fd: int, size: int) -> bytes:
        """Read from a descriptor. While nothing has arrived there, send the pairs and process outcomes."""
        self._stream.until_readable(fd, self._catch_up, self.signals.interruptible)
        with self.signals.interruptible():
            return os.read(fd, size)

    def _add(self, record: Record) -> None:
        """Collect an entry; one with an expiry is sent alone, after those before it."""
        first, last, (key, value, expires) = record
        size = len(key) + len(value)
        if not key.startswith(self._prefix):
            self.others += 1
        elif expires is None:
            self._pairs.append((key, value))
            self._pairs_bytes += size
            self._pairs_lines = Batch(self._pairs_lines.first or first, last)
            if len(self._pairs) >= PAIRS_MAX or self._pairs_bytes >= BATCH_BYTES_MAX:
                self._send_pairs()
        elif expires <= time.time() * 1000:
            self.expired += 1
        else:
            self._send_pairs()
            self._send(Set(key, value, at=expires), 1, size, Batch(first, last))

    def _send_pairs(self) -> None:
        """Send the pairs collected so far."""
        if self._pairs:
            self._send(MultiSet(self._pairs), len(self._pairs), self._pairs_bytes, self._pairs_lines)
            self._pairs, self._pairs_bytes, self._pairs_lines = [], 0, Batch(0, 0)

    def _send(self, command: Command, entries: int, size: int, lines: Batch) -> None:
        """Send a chunk when there is capacity for it. Raises BatchFailed."""
        self.signals.check()
        self._tick()
        self._wait_for_capacity(entries, size)
        self._send_chunk(Chunk(command, entries, size, lines))

    def _send_chunk(self, chunk: Chunk) -> None:
        self._stream.send(chunk.command, chunk)
        self._window.on_sent(chunk, time.monotonic())

    def _catch_up(self) -> None:
        """Send the pairs, and process the outcomes that have arrived. Raises BatchFailed."""
        self._send_pairs()
        self._receive(0)
        self._wait_for_capacity(0, 0)

    def _finish(self) -> None:
        """Send the pairs and wait for everything in flight. Raises BatchFailed."""
        self._send_pairs()
        self._drain()

    def _wait_for_capacity(self, entries: int, size: int) -> None:
        """Wait until a chunk may be sent. Raises BatchFailed."""
        while self._window.error is None and not self._window.has_capacity(entries, size):
            self._receive()
        self._check_refused()

    def _drain(self) -> None:
        """Wait for everything in flight. Raises BatchFailed."""
        while self._window.error is None and not self._window.is_done:
            self._receive()
        self._check_refused()

    def _check_refused(self) -> None:
        """Raise BatchFailed after an error, once nothing is in flight."""
        error, failed = self._window.error, self._window.failed
        while error is not None and failed is not None:
            # A lost daemon is not awaited: what is not sent yet would be sent when it comes back.
            if not self._window.in_flight or isinstance(error, ClientError):
                raise BatchFailed(failed.place, error)
            self._receive()

    def _receive(self, wait_s: float | None = None) -> None:
        """Process outcomes; wait for the first, at most `wait_s` seconds (None: until its deadline)."""
        for _, outcome in self._stream.receive(wait_s):
            self._window.on_outcome(outcome, time.monotonic())
        if chunk := self._window.next_resend():
            with self.signals.interruptible():
                time.sleep(self._window.pause_s)
            self._send_chunk(chunk)

    def _on_applied(self, chunk: Chunk) -> None:
        self.done = chunk.place.last
