"""The resources that all connections of the TCP gateway share. Only the methods here change the totals."""

import asyncio
from typing import Protocol

from kvd.limits import IN_FLIGHT_MAX, TCP_REPLIES_BYTES_MAX, TCP_STRINGS_BYTES_MAX, TCP_VALUES_BYTES_MAX


class Waiter(Protocol):
    """A connection that waits for capacity."""

    def parse_buffered(self) -> None:
        """Continue with the requests that have arrived."""


class SharedBudget:
    """Counts requests in flight, the bytes of their values, of replies, and of strings that are still arriving."""

    __slots__ = ("_is_resuming", "_loop", "_waiting", "in_flight", "reply_bytes", "string_bytes", "value_bytes")

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self.in_flight = self.value_bytes = self.reply_bytes = self.string_bytes = 0
        self._waiting: dict[Waiter, None] = {}  # in order of arrival
        self._is_resuming = False

    @property
    def has_capacity(self) -> bool:
        """Return whether another request may start."""
        return (
            self.in_flight < IN_FLIGHT_MAX
            and self.value_bytes < TCP_VALUES_BYTES_MAX
            and self.reply_bytes < TCP_REPLIES_BYTES_MAX
        )

    def acquire_request(self, value_bytes: int) -> None:
        """Count a request that is sent to the daemon."""
        self.in_flight += 1
        self.value_bytes += value_bytes

    def release_request(self, value_bytes: int) -> None:
        """Count a request that has its reply."""
        self.in_flight -= 1
        self.value_bytes -= value_bytes
        if self._waiting:
            self._schedule_resume()

    def charge_reply(self, size: int) -> None:
        """Count bytes of a reply; negative to count fewer."""
        self.reply_bytes += size
        if self._waiting:
            self._schedule_resume()

    def has_reply_capacity(self, size: int, charged: int) -> bool:
        """Return whether a reply may be stored, of which `charged` bytes are counted already."""
        return size <= charged or self.reply_bytes - charged + size <= TCP_REPLIES_BYTES_MAX

    def reserve_string(self, size: int) -> bool:
        """Reserve memory for a string that is arriving. Return False if there is not enough."""
        if self.string_bytes + size > TCP_STRINGS_BYTES_MAX:
            return False
        self.string_bytes += size
        return True

    def release_string(self, size: int) -> None:
        """Release the memory of a string."""
        self.string_bytes -= size

    def wait(self, waiter: Waiter) -> None:
        """Resume a connection once there is capacity."""
        self._waiting[waiter] = None

    def cancel_wait(self, waiter: Waiter) -> None:
        """Stop waiting, because the connection is closed."""
        self._waiting.pop(waiter, None)

    def _schedule_resume(self) -> None:
        if not self._is_resuming:
            self._is_resuming = True
            self._loop.call_soon(self._resume_waiting)

    def _resume_waiting(self) -> None:
        """Resume connections while there is capacity, the one that has waited longest first."""
        self._is_resuming = False
        while self._waiting and self.has_capacity:
            first = next(iter(self._waiting))
            del self._waiting[first]
            first.parse_buffered()
