"""Back-pressure for one connection of the TCP gateway: counts the bytes of replies that the client has not read.

A reply counts from the moment its request is sent until the transport has written it. While the reply is pending, its
estimate is the largest value that the connection has read, or VALUE_BYTES_MAX before the first: the first value is
requested alone.
"""

import asyncio
import contextlib
import fcntl
import sys
import termios

from kvd.gateways.tcp.budget import SharedBudget
from kvd.limits import TCP_CONNECTION_REPLIES_BYTES_MAX, TCP_SILENCE_MS, VALUE_BYTES_MAX

SILENCE_S = TCP_SILENCE_MS / 1000


class OutputBudget:
    """The reply bytes of one connection, also counted in the shared budget."""

    __slots__ = ("charged", "largest", "shared", "unread", "unread_since", "unsent")

    def __init__(self, shared: SharedBudget, now: float) -> None:
        self.shared = shared
        self.charged = 0
        self.unsent = 0  # the part of `charged` that the transport has
        self.largest = 0  # the largest reply with a value
        self.unread, self.unread_since = 0, now  # unread bytes, and since when their number is the same

    @property
    def estimate(self) -> int:
        """Return the estimated size of the next value."""
        return self.largest or VALUE_BYTES_MAX

    @property
    def is_full(self) -> bool:
        """Return whether no other request may start."""
        return self.charged >= TCP_CONNECTION_REPLIES_BYTES_MAX

    def charge(self, size: int) -> None:
        """Count bytes of a reply; negative to count fewer."""
        self.charged += size
        self.shared.charge_reply(size)

    def observe(self, size: int) -> None:
        """Remember the size of a reply with a value, for `estimate`."""
        self.largest = max(self.largest, size)

    def on_sent(self, size: int, *, is_paused: bool) -> None:
        """Count bytes passed to the transport. Unless it has paused writing, it has sent all of them."""
        self.unsent += size
        if not is_paused:
            self.release_unsent()

    def release_unsent(self) -> None:
        """Stop counting the bytes in the transport, which is now empty."""
        unsent, self.unsent = self.unsent, 0
        self.charge(-unsent)

    def is_stalled(self, transport: asyncio.Transport, now: float) -> bool:
        """Return whether the client has not read any of the waiting bytes for SILENCE_S. Must be called regularly."""
        unread = _unread_bytes(transport)
        if unread != self.unread or not unread:
            self.unread, self.unread_since = unread, now
        return now - self.unread_since >= SILENCE_S


def _unread_bytes(transport: asyncio.Transport) -> int:
    """Return the unread bytes of replies, including those in the kernel, which a slow client reads for a long time."""
    waiting = transport.get_write_buffer_size()
    if waiting:
        with contextlib.suppress(OSError, ValueError):  # the socket is closed
            descriptor = transport.get_extra_info("socket").fileno()
            waiting += int.from_bytes(fcntl.ioctl(descriptor, termios.TIOCOUTQ, bytes(4)), sys.byteorder)
    return waiting
