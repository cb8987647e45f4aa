"""Commands on their way to the daemon and their outcomes on the way back, in the order of the lines."""

import time
from collections.abc import Callable
from typing import NamedTuple

from kvd.client.inflight import Outcome
from kvd.client.stream import Stream
from kvd.commands import Command
from kvsh.script.bulk import EXAMPLE, Bulk, told_of_set
from kvsh.script.lines import Where

BULKS_IN_FLIGHT_MAX = 16


class Sent(NamedTuple):
    """A command under way, or several of the same kind that are sent as one, and the lines they came from."""

    lines: list[Where]
    command: Command


class Sender:
    """Sends commands, many in flight.

    `took` is given each outcome in turn and may raise to end it all; `idle` is called before anything is waited for.
    """

    def __init__(
        self, stream: Stream, window: int, took: Callable[[Sent, Outcome], None], idle: Callable[[], None]
    ) -> None:
        self.stream = stream
        self.window = window
        self.took = took
        self.idle = idle
        self.bulk = Bulk()
        self.awaited = 0  # lines whose outcome is not taken

    def send(self, command: Command, where: Where) -> None:
        """Send a command, when there is room."""
        self.release()
        self.room(self.window - 1)
        self.give(command, Sent([where], command))
        if self.window == 1:
            self.room(0)

    def gather(self, pair: tuple[bytes, bytes], where: Where) -> None:
        """Send a SET, together with those that follow at once."""
        if self.bulk.add(pair, where):
            self.release()

    def release(self) -> None:
        """Send what is gathered."""
        if self.bulk.pairs:
            self.room(min(self.window, BULKS_IN_FLIGHT_MAX) - 1)
            command, lines = self.bulk.taken()
            self.give(command, Sent(lines, EXAMPLE))

    def give(self, command: Command, sent: Sent) -> None:
        """Give a command to the stream."""
        self.awaited += len(sent.lines)
        self.stream.send(command, sent)

    def drain(self) -> None:
        """Send what is gathered and take the outcomes of all that is under way."""
        self.release()
        self.room(0)

    def drain_for(self, seconds: float) -> None:
        """Take the outcomes that come within a time; nothing more is sent."""
        until = time.monotonic() + seconds
        while self.stream.in_flight and (left := until - time.monotonic()) > 0:
            self.take(left)

    def room(self, in_flight: int) -> None:
        """Take outcomes until no more than so many commands are awaited."""
        while self.stream.in_flight > in_flight:
            self.take(None)

    def take(self, wait_s: float | None) -> None:
        """Take the outcomes that are there; wait for the first."""
        outcomes = self.stream.receive(0)
        if not outcomes and wait_s != 0:
            self.idle()
            outcomes = self.stream.receive(wait_s)
        for sent, outcome in outcomes:
            self.awaited -= len(sent.lines)
            self.took(sent, told_of_set(outcome) if sent.command is EXAMPLE else outcome)

    def wait_for(self, fd: int) -> None:
        """Return when a descriptor can be read. While it cannot, send what is gathered and take outcomes."""
        self.stream.until_readable(fd, self.catch_up)

    def catch_up(self) -> None:
        """Send what is gathered, and take the outcomes that are there."""
        self.release()
        self.take(0)
        self.idle()
