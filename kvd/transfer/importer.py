"""Entries on their way to the daemon: MULTISET batches, several in flight, applied in the order of the lines.

Each batch knows its lines, so what has been answered says how far the file is applied. All are plain sets: to
send a line again changes nothing but revisions.
"""

import os
import time
from collections.abc import Callable, Iterable
from typing import NamedTuple

from kvd.client.outcomes import Outcome
from kvd.client.refusals import Refusals
from kvd.client.stream import Stream, ok
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


class Batch(NamedTuple):
    """Which lines a command under way is, how many entries of them, and their size."""

    first: int
    last: int
    entries: int
    bytes: int


class Sent(NamedTuple):
    """A command under way, and its lines."""

    command: Command
    batch: Batch


class Refused(Exception):
    """The daemon did not take a batch, or is lost; `error` says why."""

    def __init__(self, batch: Batch, error: KvdError) -> None:
        super().__init__(str(error))
        self.batch = batch
        self.error = error


class Importer:
    """Applies records. `done` is up to which line, in the file, they are applied and durable."""

    def __init__(self, stream: Stream, signals: Signals, *, prefix: bytes, skip: int, tick: Callable[[], None]) -> None:
        """`tick` is called with each batch."""
        self.stream = stream
        self.signals = signals
        self.prefix = prefix
        self.tick = tick
        self.done = skip
        self.entries = self.expired = self.others = 0
        self.pairs: list[tuple[bytes, bytes]] = []
        self.gathered = Batch(0, 0, 0, 0)
        self.entries_in_flight = self.bytes_in_flight = 0
        self.failure: Refused | None = None
        self.refusals: Refusals[Sent] = Refusals(stream.timeout)

    def run(self, records: Iterable[Record]) -> None:
        """Apply them all. Raises Refused, BadLine, Interrupted, OSError; up to `done` all is durable then."""
        try:
            for record in records:
                self.add(record)
        except (BadLine, OSError):
            self._finish()  # the lines before it are whole
            raise
        except Interrupted as signal:
            if not signal.is_urgent:
                self.settle(0, 0)
            raise
        self._finish()

    def add(self, record: Record) -> None:
        """Gather an entry; one that expires goes alone, after those before it."""
        first, last, (key, value, expires) = record
        size = len(key) + len(value)
        if not key.startswith(self.prefix):
            self.others += 1
        elif expires is None:
            before = self.gathered
            self.pairs.append((key, value))
            self.gathered = Batch(before.first or first, last, len(self.pairs), before.bytes + size)
            if len(self.pairs) >= PAIRS_MAX or self.gathered.bytes >= BATCH_BYTES_MAX:
                self.release()
        elif expires <= time.time() * 1000:
            self.expired += 1
        else:
            self.release()
            self.send(Set(key, value, at=expires), Batch(first, last, 1, size))

    def read(self, fd: int, size: int) -> bytes:
        """Return what there is to read. While there is nothing, send what is gathered and take outcomes."""
        self.stream.until_readable(fd, self.catch_up, self.signals.interruptible)
        with self.signals.interruptible():
            return os.read(fd, size)

    def catch_up(self) -> None:
        """Send what is gathered, and take the outcomes that are there."""
        self.release()
        self.take(0)
        self.settle(ENTRIES_MAX, BYTES_MAX)

    def release(self) -> None:
        """Send what is gathered."""
        if self.pairs:
            self.send(MultiSet(self.pairs), self.gathered)
            self.pairs, self.gathered = [], Batch(0, 0, 0, 0)

    def send(self, command: Command, batch: Batch) -> None:
        """Send a command when there is room for it."""
        self.signals.check()
        self.tick()
        self.settle(ENTRIES_MAX - batch.entries, max(0, BYTES_MAX - batch.bytes))
        self.stream.send(command, Sent(command, batch))
        self.entries_in_flight += batch.entries
        self.bytes_in_flight += batch.bytes

    def _finish(self) -> None:
        """Send what is gathered and wait for all of it. Raises Refused."""
        self.release()
        self.settle(0, 0)

    def settle(self, entries: int, size: int) -> None:
        """Wait until no more than that is in flight. Raises Refused, when nothing is in flight any more."""
        stream = self.stream
        while stream.in_flight and (
            self.entries_in_flight > entries or self.bytes_in_flight > size or stream.in_flight >= IN_FLIGHT_MAX
        ):
            self.take()
        self.repeat()
        while self.failure is not None:
            # A lost daemon is not waited for: what was not sent yet would be, to one that comes back.
            if not stream.in_flight or isinstance(self.failure.error, ClientError):
                raise self.failure
            self.take()

    def repeat(self) -> None:
        """Send again what got BUSY, one command at a time, until all of it is taken or there is a failure."""
        waiting = self.refusals.waiting
        while waiting and self.failure is None:
            if self.stream.in_flight:
                self.take()
                continue
            with self.signals.interruptible():
                time.sleep(self.refusals.pause_s)
            self.stream.send(waiting[0].command, waiting[0])

    def take(self, wait_s: float | None = None) -> None:
        """Take the outcomes that are there; wait for the first, at most so long (None: until its deadline)."""
        for sent, outcome in self.stream.receive(wait_s):
            if self.failure is not None or not self.refusals.keeps(sent, outcome, time.monotonic()):
                self.note(sent.batch, outcome)

    def note(self, batch: Batch, outcome: Outcome) -> None:
        """The outcome of a batch is final; the first failure is kept."""
        self.entries_in_flight -= batch.entries
        self.bytes_in_flight -= batch.bytes
        if self.failure is None:
            try:
                ok(outcome)
            except KvdError as error:
                self.failure = Refused(batch, error)
            else:
                self.done = batch.last
                self.entries += batch.entries
