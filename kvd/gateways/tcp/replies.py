"""The pending replies of one connection of the TCP gateway, in the order of its requests."""

from collections import deque
from typing import Protocol

from kvd.commands.base import Error, Ok
from kvd.commands.values import Get, Set, Take
from kvd.errors import ClientError
from kvd.gateways.tcp.output_budget import OutputBudget
from kvd.gateways.tcp.protocol import Dialect, Request, encode_failure, encode_reply
from kvd.limits import TCP_CONNECTION_REQUESTS_MAX, TCP_CONNECTION_VALUES_BYTES_MAX

Outcome = Ok | Error | ClientError
WRITES = (Set, Take)
RETURNS_VALUE = (Get, Take)  # the size of their replies is not known in advance


class ReplyOwner(Protocol):
    """The part of a connection that a pending reply uses."""

    dialect: Dialect
    output_budget: OutputBudget

    def on_reply(self, pending: "PendingReply") -> None:
        """A pending reply is complete."""


class PendingReply:
    """A request's place among the replies of its connection. It receives the outcome as a future would."""

    __slots__ = ("charged", "connection", "is_coalesced", "reply", "request")

    def __init__(self, connection: ReplyOwner, request: Request, is_coalesced: bool) -> None:  # noqa: FBT001  # a keyword takes longer
        self.connection, self.request = connection, request
        self.reply: bytes | None = None
        self.is_coalesced = is_coalesced
        self.charged = 0

    def done(self) -> bool:
        """Return whether the reply is complete."""
        return self.reply is not None

    def set_result(self, outcome: Outcome) -> None:
        """Encode the reply, unless a GET's value exceeds the budget."""
        text = encode_reply(self.connection.dialect, self.request, outcome)
        budget = self.connection.output_budget
        if isinstance(self.request, RETURNS_VALUE):
            budget.observe(len(text))
        if isinstance(self.request, Get) and not budget.shared.has_reply_capacity(len(text), self.charged):
            reason = f"BUSY: no memory for {len(text)} bytes beside the replies of other connections: try again"
            text = encode_failure(self.connection.dialect, reason.encode())
        self.charge(len(text))
        self.reply = text
        self.connection.on_reply(self)

    def charge(self, size: int) -> None:
        """Count this number of bytes for the reply instead of the earlier one."""
        self.connection.output_budget.charge(size - self.charged)
        self.charged = size

    def cancel(self) -> None:
        """Ignore a cancellation: the gateway is shutting down."""


class FinalReply:
    """An error after which the connection is closed. It belongs to no request."""

    __slots__ = ("reply",)
    charged = 0

    def __init__(self, reply: bytes) -> None:
        self.reply: bytes | None = reply


class ReplyQueue:
    """The requests of a connection that are not completely answered."""

    __slots__ = ("_pending", "coalesced", "value_bytes", "writes")

    def __init__(self) -> None:
        self._pending: deque[PendingReply | FinalReply] = deque()
        self.value_bytes = 0  # the sizes of the values in the requests
        self.coalesced = self.writes = 0  # how many of the pending requests are coalesced GETs, and writes

    @property
    def is_full(self) -> bool:
        """Return whether no other request may start."""
        return len(self._pending) >= TCP_CONNECTION_REQUESTS_MAX or self.value_bytes >= TCP_CONNECTION_VALUES_BYTES_MAX

    @property
    def is_empty(self) -> bool:
        """Return whether everything is answered."""
        return not self._pending

    def add_final(self, reply: bytes) -> None:
        """Append an error that belongs to no request."""
        self._pending.append(FinalReply(reply))

    def add(self, pending: PendingReply, value_bytes: int) -> None:
        """Append a request."""
        self._pending.append(pending)
        if pending.is_coalesced:
            self.coalesced += 1
        elif isinstance(pending.request, WRITES):
            self.writes += 1
            self.value_bytes += value_bytes

    def on_reply(self, pending: PendingReply) -> int:
        """Update the counts for a complete reply; return the bytes of the request's value."""
        if pending.is_coalesced:
            self.coalesced -= 1
        elif isinstance(pending.request, WRITES):
            self.writes -= 1
            size = len(pending.request.value) if isinstance(pending.request, Set) else 0
            self.value_bytes -= size
            return size
        return 0

    def pop_complete(self) -> tuple[list[bytes], int]:
        """Remove the complete replies at the front; return them and the bytes charged for them."""
        replies, size, pending = [], 0, self._pending
        while pending and (text := pending[0].reply) is not None:
            replies.append(text)
            size += pending.popleft().charged
        return replies, size
