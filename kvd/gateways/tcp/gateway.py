"""The TCP gateway: clients of the protocol in tcp_protocol.py, served over one link to the daemon.

All connections share IN_FLIGHT_MAX requests under way, TCP_VALUES_BYTES_MAX of values in them, TCP_REPLIES_BYTES_MAX of
replies, and TCP_STRINGS_BYTES_MAX of strings that are still coming. What one of them may have: tcp_connection.py.
"""

import asyncio
import contextlib
import socket
from collections.abc import Callable, Sequence
from typing import Any

from kvd.client.keys import Keys
from kvd.commands.values import Get, MultiGet
from kvd.errors import BadConfiguration
from kvd.gateways.common.listeners import Address, bound_address, close_listeners, open_listeners
from kvd.gateways.common.upstream import UpstreamPool
from kvd.gateways.tcp.coalesce import CoalescedGet
from kvd.gateways.tcp.connection import Connection, PendingReply
from kvd.gateways.tcp.protocol import NARROW, Dialect
from kvd.limits import (
    IN_FLIGHT_MAX,
    TCP_CONNECTIONS_MAX,
    TCP_DRAIN_MS,
    TCP_LINGERING_MAX,
    TCP_REPLIES_BYTES_MAX,
    TCP_STRINGS_BYTES_MAX,
    TCP_VALUES_BYTES_MAX,
)

DEFAULT = "127.0.0.1:7413"
ADVICE = "This protocol has no names: listen on 127.0.0.1 or unix:PATH, or say --insecure."
GATHERED_MAX = 256
LOOK_S = 1.0
KEEPALIVE = ((socket.TCP_KEEPIDLE, 60), (socket.TCP_KEEPINTVL, 20), (socket.TCP_KEEPCNT, 3))


class TcpGateway:
    """All connections, and the link to the daemon."""

    def __init__(
        self,
        url: str,
        keys: Keys | None,
        listen: Sequence[str],
        *,
        width: Dialect = NARROW,
        connections: int = TCP_CONNECTIONS_MAX,
        is_insecure: bool = False,
    ) -> None:
        """To be made within the loop. Raises BadConfiguration for a bad url."""
        self.loop = asyncio.get_running_loop()
        self.upstreams = UpstreamPool(url, keys, None)
        self.submit = self.upstreams.own.client.submit
        self.listen, self.dialect, self.is_insecure = listen, width, is_insecure
        self.connections_max = connections
        self.connections: set[Connection] = set()
        self.refused: set[Connection] = set()  # beyond the bound
        self.waiting_for_budget: dict[
            Connection, None
        ] = {}  # those that wait for others' requests, who waits longest first
        self.dirty: list[Connection] = []
        self.is_due = False  # `write`
        self.coalesced: list[PendingReply] = []
        self.all_closed = asyncio.Event()  # at the end: there may be others later
        self.in_flight = self.bytes = self.charged = self.reserved = 0
        self.sockets: list[socket.socket] = []
        self.servers: list[asyncio.Server] = []

    async def open(self) -> str:
        """Begin to listen; return where. Raises StartError."""
        self.sockets = open_listeners(self.listen, DEFAULT, self._check_address)
        places = " ".join(str(bound_address(sock)) for sock in self.sockets)
        for sock in self.sockets:
            create: Callable[..., Any] = self.loop.create_server
            if sock.family == socket.AF_UNIX:
                create = self.loop.create_unix_server
            else:
                keep_alive(sock)
            self.servers.append(await create(lambda: Connection(self), sock=sock))
        return places

    def _check_address(self, place: Address) -> None:
        """Raise BadConfiguration for a place that others reach."""
        if not (place.is_local or self.is_insecure):
            raise BadConfiguration(f"{place}: whoever reaches this address could read and write all. {ADVICE}")

    async def serve(self) -> None:
        """Look for silent clients, for as long as it runs."""
        while True:
            await asyncio.sleep(LOOK_S)
            now = self.loop.time()
            for connection in [*self.connections, *self.refused]:
                connection.check_timeouts(now)

    async def reload(self) -> None:
        """Nothing may change."""

    async def close(self) -> None:
        """Listen no more, answer what is under way, let the daemon go."""
        for server in self.servers:
            server.close()
        self.all_closed.clear()
        for connection in [*self.connections]:
            connection.finish()
        if self.connections or self.refused:
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self.all_closed.wait(), TCP_DRAIN_MS / 1000)
        for connection in [*self.connections, *self.refused]:
            connection.transport.abort()
        await self.upstreams.close()
        close_listeners(self.sockets)

    # For the connections

    def add(self, connection: Connection) -> bool:
        """Return whether a connection is taken in."""
        is_taken = len(self.connections) < self.connections_max
        (self.connections if is_taken else self.refused).add(connection)
        return is_taken

    def remove(self, connection: Connection) -> None:
        """Forget a connection."""
        self.connections.discard(connection)
        self.refused.discard(connection)
        self.waiting_for_budget.pop(connection, None)
        if not (self.connections or self.refused):
            self.all_closed.set()

    def may_linger(self, connection: Connection) -> bool:
        """Return whether one that leaves may stay a moment: of those beyond the bound only some may."""
        return connection not in self.refused or len(self.refused) <= TCP_LINGERING_MAX

    @property
    def has_capacity(self) -> bool:
        """Return whether another request may be under way."""
        return (
            self.in_flight < IN_FLIGHT_MAX
            and self.bytes < TCP_VALUES_BYTES_MAX
            and self.charged < TCP_REPLIES_BYTES_MAX
        )

    def release(self, size: int) -> None:
        """A client has taken bytes of his replies, or is gone: others may go on."""
        self.charged -= size
        if self.waiting_for_budget:
            self._wake()

    def reserve(self, size: int) -> bool:
        """Keep room for a string that comes; return whether there is enough. Negative: give it back."""
        if self.reserved + size > TCP_STRINGS_BYTES_MAX:
            return False
        self.reserved += size
        return True

    def coalesce(self, slot: PendingReply) -> None:
        """Ask for the value of a slot's GET, with others."""
        if not self.coalesced:
            self.loop.call_soon(self._send_gets)
        self.coalesced.append(slot)

    def _send_gets(self) -> None:
        """Send the GETs that have been gathered in this turn."""
        gathered, self.coalesced = self.coalesced, []
        for first in range(0, len(gathered), GATHERED_MAX):
            slots = gathered[first : first + GATHERED_MAX]
            keys = [slot.request.key for slot in slots if isinstance(slot.request, Get)]
            if len(slots) == 1:
                self.submit(Get(keys[0]), slots[0])
            else:
                self.submit(MultiGet(keys), CoalescedGet(self, slots))

    def write_soon(self, connection: Connection) -> None:
        """Write a connection's replies at the end of this turn."""
        self.dirty.append(connection)
        self._wake()

    def _wake(self) -> None:
        """Write at the end of this turn."""
        if not self.is_due:
            self.is_due = True
            self.loop.call_soon(self.write)

    def write(self) -> None:
        """Write what is due, then let those go on that have waited for room."""
        self.is_due = False
        dirty, self.dirty = self.dirty, []
        for connection in dirty:
            connection.write()
        while self.waiting_for_budget and self.has_capacity:
            first = next(iter(self.waiting_for_budget))
            del self.waiting_for_budget[first]
            first.parse_buffered()


def keep_alive(sock: socket.socket) -> None:
    """Let the kernel look whether clients are still there: the sockets that it accepts are as the one that listens."""
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    for option, value in KEEPALIVE:
        sock.setsockopt(socket.IPPROTO_TCP, option, value)


def fast_loop() -> Callable[[], Any] | None:
    """Return what makes uvloop's event loop, if that is installed: of one request it takes half the time."""
    try:
        import uvloop  # noqa: PLC0415  # it may be missing
    except ModuleNotFoundError:
        return None
    return uvloop.new_event_loop
