"""The HTTP gateway as a process: uvicorn around the application."""

import asyncio
import contextlib
import logging
import socket
from collections.abc import Iterator, Sequence

import uvicorn
from uvloop import new_event_loop

from kvd.gateways.common.listeners import bound_address, close_listeners, open_listeners
from kvd.gateways.common.options import GatewayOptions
from kvd.gateways.http.app import application
from kvd.gateways.http.auth import LOCALHOST, Rules
from kvd.gateways.http.protocol import Protocol
from kvd.gateways.http.slow_clients import check_regularly
from kvd.gateways.http.websocket import WebSocketProtocol
from kvd.limits import HTTP_DRAIN_MS, HTTP_IDLE_MS, HTTP_WEBSOCKET_BYTES_MAX

__all__ = ["DEFAULT", "Gateway", "new_event_loop"]

DEFAULT = "127.0.0.1:7480"
WEBSOCKET_SIGN_S = 20.0
WEBSOCKET_SIGN_WAIT_S = 60.0  # a client that reads slowly answers when it has read what came before, some MiB


class Server(uvicorn.Server):
    """uvicorn, whose signals are ours."""

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Leave them alone."""
        yield


class Gateway:
    """See `kvd.gateways.common.runner.Gateway`."""

    def __init__(self, door: GatewayOptions, *, hosts: Sequence[str], origins: Sequence[str], drain_s: float) -> None:
        """Raise BadConfiguration, InUse."""
        self.options = door
        self.drain_s = drain_s
        door.check_certificate()
        self.upstreams = door.make_upstreams()
        self.sockets = open_listeners(door.listen, DEFAULT, door.check_address)
        self.app = application(self.upstreams, rules_of(door, hosts, origins, self.sockets))
        self.server = self.make()
        self.is_over = asyncio.Event()

    def make(self) -> Server:
        """Return the server, which has not begun."""
        config = uvicorn.Config(
            self.app,
            http=Protocol,
            ws=WebSocketProtocol,
            ws_max_size=HTTP_WEBSOCKET_BYTES_MAX,
            ws_ping_interval=WEBSOCKET_SIGN_S,
            ws_ping_timeout=WEBSOCKET_SIGN_WAIT_S,
            ws_per_message_deflate=False,
            lifespan="off",
            log_config=None,
            access_log=False,
            server_header=False,
            proxy_headers=False,
            headers=[("X-Content-Type-Options", "nosniff")],
            timeout_keep_alive=HTTP_IDLE_MS // 1000,
            timeout_graceful_shutdown=HTTP_DRAIN_MS // 1000,
            ssl_certfile=self.options.certificate,
            ssl_keyfile=self.options.certificate_key,
        )
        config.load()
        return Server(config)

    async def open(self) -> str:
        """Return where we listen: the sockets do already."""
        logging.getLogger("uvicorn").setLevel(logging.ERROR)
        scheme = "http" if self.options.certificate is None else "https"
        return " ".join(f"{scheme}://{bound_address(sock)}" for sock in self.sockets)

    async def serve(self) -> None:
        """Serve until closed."""
        looking = asyncio.ensure_future(check_regularly(self.server.server_state))
        try:
            await self.server.serve(self.sockets)
        finally:
            looking.cancel()
            self.is_over.set()

    async def reload(self) -> None:
        """Read the token file again; raises BadConfiguration."""
        await self.options.reload(self.upstreams)

    async def close(self) -> None:
        """Say that we are not ready, for as long as a balancer takes to see it; then end watches and finish."""
        self.app.state.is_ending = True
        await asyncio.sleep(self.drain_s)
        self.app.state.feeds.ending.set()
        self.server.should_exit = True
        if self.server.started:
            await self.is_over.wait()
        await self.upstreams.close()
        close_listeners(self.sockets)


def rules_of(
    door: GatewayOptions, hosts: Sequence[str], origins: Sequence[str], sockets: Sequence[socket.socket]
) -> Rules:
    """Return which names are ours. Where a token is asked for any is right, for no page of others has one."""
    if hosts:
        return Rules(frozenset({LOCALHOST, *map(str.lower, hosts)}), origins)
    if door.token_file is not None:
        return Rules(None, origins)
    is_local = all(bound_address(sock).is_local for sock in sockets)
    return Rules(frozenset({LOCALHOST, socket.gethostname().lower()}), origins, are_addresses_right=not is_local)
