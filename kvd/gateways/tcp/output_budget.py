"""What a connection of the TCP gateway owes its client: bytes of replies that he has not taken yet.

A reply counts from when its request is sent until the transport has got rid of it. Before it is there it counts as much
as the largest value that the connection has had, and VALUE_BYTES_MAX where it had none: the first is asked for alone.
"""

import asyncio
import contextlib
import fcntl
import sys
import termios
from typing import Protocol

from kvd.limits import TCP_CONNECTION_REPLIES_BYTES_MAX, TCP_REPLIES_BYTES_MAX, TCP_SILENCE_MS, VALUE_BYTES_MAX

SILENCE_S = TCP_SILENCE_MS / 1000


class SharedCharge(Protocol):
    """Where the debts of all connections are counted."""

    charged: int

    def release(self, size: int) -> None:
        """So many bytes are not owed any more: others may go on."""


class OutputBudget:
    """One connection's."""

    def __init__(self, total: SharedCharge, now: float) -> None:
        self.total = total
        self.charged = 0
        self.unsent = 0  # of these, what the transport has
        self.seen = 0  # the largest reply with a value
        self.unread, self.since = 0, now  # what the client has not taken, and since when it has been that much

    @property
    def expected(self) -> int:
        """Return how large a value is thought to be."""
        return self.seen or VALUE_BYTES_MAX

    @property
    def is_full(self) -> bool:
        """Return whether no other request may begin."""
        return self.charged >= TCP_CONNECTION_REPLIES_BYTES_MAX

    def charge(self, size: int) -> None:
        """Count so many bytes more. Negative: a reply is smaller than was to be expected."""
        self.charged += size
        self.total.charged += size

    def observe(self, size: int) -> None:
        """A reply with a value was so large."""
        self.seen = max(self.seen, size)

    def release(self, size: int) -> None:
        """So many bytes are not owed any more."""
        self.charged -= size
        self.total.release(size)

    def on_sent(self, size: int, *, is_choked: bool) -> None:
        """Count what went to the transport; where that does not choke, it has sent everything."""
        self.unsent += size
        if not is_choked:
            self.release_unsent()

    def release_unsent(self) -> None:
        """The transport has nothing any more."""
        unsent, self.unsent = self.unsent, 0
        self.release(unsent)

    def has_capacity(self, size: int, expected: int) -> bool:
        """Return whether a reply can be kept, however large it is."""
        return size <= expected or self.total.charged - expected + size <= TCP_REPLIES_BYTES_MAX

    def is_stalled(self, transport: asyncio.Transport, now: float) -> bool:
        """Return whether replies wait, and the client has taken nothing for SILENCE_S. To be asked again and again."""
        untaken = _unread_bytes(transport)
        if untaken != self.unread or not untaken:
            self.unread, self.since = untaken, now
        return now - self.since >= SILENCE_S


def _unread_bytes(transport: asyncio.Transport) -> int:
    """Return how many bytes of replies wait, those in the kernel too: a slow client takes them from there for long."""
    waiting = transport.get_write_buffer_size()
    if waiting:
        with contextlib.suppress(OSError, ValueError):  # it is closed
            descriptor = transport.get_extra_info("socket").fileno()
            waiting += int.from_bytes(fcntl.ioctl(descriptor, termios.TIOCOUTQ, bytes(4)), sys.byteorder)
    return waiting
