"""The HTTP gateway: uvicorn serves the application."""

import asyncio
import contextlib
import logging
import socket
from collections.abc import Iterator, Sequence
from functools import partial

import uvicorn
from uvloop import new_event_loop

from kvd.gateways.common.listeners import bound_address, close_listeners, open_listeners
from kvd.gateways.common.options import GatewayOptions
from kvd.gateways.http.app import make_application
from kvd.gateways.http.auth import LOCALHOST, Rules
from kvd.gateways.http.context import GatewayState
from kvd.gateways.http.protocol import Protocol
from kvd.gateways.http.slow_clients import check_regularly
from kvd.gateways.http.websocket import WebSocketProtocol
from kvd.limits import HTTP_DRAIN_MS, HTTP_IDLE_MS, HTTP_WEBSOCKET_BYTES_MAX

__all__ = ["DEFAULT", "Gateway", "new_event_loop"]

DEFAULT = "127.0.0.1:7480"
WEBSOCKET_PING_S = 20.0
WEBSOCKET_PONG_S = 60.0  # a slow client answers a ping only after it has read the MiB before it


class Server(uvicorn.Server):
    """A uvicorn server that leaves signals to the gateway."""

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield

    def stop(self) -> None:
        """Make `serve` return once pending requests are answered."""
        self.should_exit = True


class Gateway:
    """See `kvd.gateways.common.runner.Gateway`."""

    def __init__(
        self, options: GatewayOptions, *, hosts: Sequence[str], origins: Sequence[str], drain_s: float
    ) -> None:
        """Must be created within the loop. Raises BadConfiguration, InUse."""
        self.options = options
        self.drain_s = drain_s
        options.check_certificate()
        self.upstreams = options.make_upstreams()
        self.sockets = open_listeners(options.listen, DEFAULT, options.check_address)
        self.state = GatewayState(self.upstreams)
        self.server = self._make_server(rules_of(options, hosts, origins, self.sockets))
        self.has_served = asyncio.Event()

    def _make_server(self, rules: Rules) -> Server:
        config = uvicorn.Config(
            make_application(self.state, rules),
            http=partial(Protocol, state=self.state),  # type: ignore[arg-type]  # uvicorn only calls it
            ws=WebSocketProtocol,
            ws_max_size=HTTP_WEBSOCKET_BYTES_MAX,
            ws_ping_interval=WEBSOCKET_PING_S,
            ws_ping_timeout=WEBSOCKET_PONG_S,
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
        """Return the addresses as text; the sockets already listen."""
        logging.getLogger("uvicorn").setLevel(logging.ERROR)
        scheme = "http" if self.options.certificate is None else "https"
        return " ".join(f"{scheme}://{bound_address(sock)}" for sock in self.sockets)

    async def serve(self) -> None:
        checking = asyncio.ensure_future(check_regularly(self.server.server_state))
        try:
            await self.server.serve(self.sockets)
        finally:
            checking.cancel()
            self.has_served.set()

    async def reload(self) -> None:
        """Reload the token file. Raises BadConfiguration."""
        await self.options.reload(self.upstreams)

    async def close(self) -> None:
        """Report not ready for `drain_s`, so that balancers notice; then end watches and complete requests."""
        self.state.announce_stop()
        await asyncio.sleep(self.drain_s)
        self.state.stop_feeds()
        self.server.stop()
        if self.server.started:
            await self.has_served.wait()
        await self.upstreams.close()
        close_listeners(self.sockets)


def rules_of(
    options: GatewayOptions, hosts: Sequence[str], origins: Sequence[str], sockets: Sequence[socket.socket]
) -> Rules:
    """Return the accepted names. With tokens every name is accepted, since foreign pages have no token."""
    if hosts:
        return Rules(frozenset({LOCALHOST, *map(str.lower, hosts)}), origins)
    if options.token_file is not None:
        return Rules(None, origins)
    is_local = all(bound_address(sock).is_local for sock in sockets)
    return Rules(frozenset({LOCALHOST, socket.gethostname().lower()}), origins, accepts_addresses=not is_local)
