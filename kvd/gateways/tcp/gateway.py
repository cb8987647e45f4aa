"""The TCP gateway: serves the clients of protocol.py over one connection to the daemon.

All connections share IN_FLIGHT_MAX pending requests, TCP_VALUES_BYTES_MAX of values in them, TCP_REPLIES_BYTES_MAX of
replies, and TCP_STRINGS_BYTES_MAX of strings that are still arriving (budget.py). The limits of a single connection are
in connection.py.
"""

import asyncio
import contextlib
import socket
from collections.abc import Callable, Sequence
from typing import Any

from kvd.client.keys import Keys
from kvd.errors import BadConfiguration
from kvd.gateways.common.listeners import Address, bound_address, close_listeners, open_listeners
from kvd.gateways.common.upstream import UpstreamPool
from kvd.gateways.tcp.budget import SharedBudget
from kvd.gateways.tcp.coalesce import GetCoalescer
from kvd.gateways.tcp.connection import Connection
from kvd.gateways.tcp.protocol import NARROW, Dialect
from kvd.gateways.tcp.registry import Registry
from kvd.gateways.tcp.shared import ReplyWriter, Shared
from kvd.limits import TCP_CONNECTIONS_MAX, TCP_DRAIN_MS

DEFAULT = "127.0.0.1:7413"
ADVICE = "This protocol does not identify clients: listen on 127.0.0.1 or unix:PATH, or give --insecure."
CHECK_S = 1.0
KEEPALIVE = ((socket.TCP_KEEPIDLE, 60), (socket.TCP_KEEPINTVL, 20), (socket.TCP_KEEPCNT, 3))


class TcpGateway:
    """See `kvd.gateways.common.runner.Gateway`."""

    def __init__(
        self,
        url: str,
        keys: Keys | None,
        listen: Sequence[str],
        *,
        dialect: Dialect = NARROW,
        connections: int = TCP_CONNECTIONS_MAX,
        is_insecure: bool = False,
    ) -> None:
        """Must be created within the loop. Raises BadConfiguration for a bad url."""
        self.upstreams = UpstreamPool(url, keys, None)
        self.listen, self.is_insecure = listen, is_insecure
        self.registry = Registry(connections)
        self.shared = self._make_shared(dialect)
        self.sockets: list[socket.socket] = []
        self.servers: list[asyncio.Server] = []

    def _make_shared(self, dialect: Dialect) -> Shared:
        loop, submit = asyncio.get_running_loop(), self.upstreams.own.client.submit
        budget, coalescer, writer = SharedBudget(loop), GetCoalescer(loop, submit), ReplyWriter(loop)
        return Shared(loop, dialect, submit, budget, coalescer, writer, self.registry)

    async def open(self) -> str:
        """Start to listen; return the addresses as text. Raises StartError."""
        self.sockets = open_listeners(self.listen, DEFAULT, self._check_address)
        addresses = " ".join(str(bound_address(sock)) for sock in self.sockets)
        loop = self.shared.loop
        for sock in self.sockets:
            create: Callable[..., Any] = loop.create_server
            if sock.family == socket.AF_UNIX:
                create = loop.create_unix_server
            else:
                _enable_keepalive(sock)
            self.servers.append(await create(lambda: Connection(self.shared), sock=sock))
        return addresses

    def _check_address(self, address: Address) -> None:
        """Raise BadConfiguration if other machines can reach the address."""
        if not (address.is_local or self.is_insecure):
            raise BadConfiguration(
                f"{address}: anyone who reaches this address could read and write all keys. {ADVICE}"
            )

    async def serve(self) -> None:
        """Check the timeouts of all connections every CHECK_S."""
        while True:
            await asyncio.sleep(CHECK_S)
            now = self.shared.loop.time()
            for connection in self.registry.all():
                connection.check_timeouts(now)

    async def reload(self) -> None:
        """Do nothing: there is nothing to reload."""

    async def close(self) -> None:
        """Stop listening, answer pending requests within TCP_DRAIN_MS, disconnect from the daemon."""
        for server in self.servers:
            server.close()
        for connection in [*self.registry.accepted]:
            connection.finish()
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(self.registry.wait_empty(), TCP_DRAIN_MS / 1000)
        for connection in self.registry.all():
            connection.abort()
        await self.upstreams.close()
        close_listeners(self.sockets)


def _enable_keepalive(sock: socket.socket) -> None:
    """Let the kernel detect clients that are gone. Accepted sockets inherit the options of the listening one."""
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    for option, value in KEEPALIVE:
        sock.setsockopt(socket.IPPROTO_TCP, option, value)


def fast_loop() -> Callable[[], Any] | None:
    """Return uvloop's factory of event loops, if it is installed: it halves the time of a request."""
    try:
        import uvloop  # noqa: PLC0415  # optional
    except ModuleNotFoundError:
        return None
    return uvloop.new_event_loop
