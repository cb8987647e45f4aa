"""The HTTP gateway as a process: uvicorn around the application."""

import asyncio
import contextlib
import logging
import socket
from collections.abc import Iterator, Sequence

import uvicorn
from uvloop import new_event_loop

from kvd.gateways.door import Door
from kvd.gateways.http.app import application
from kvd.gateways.http.debts import look_after
from kvd.gateways.http.guard import LOCALHOST, Rules
from kvd.gateways.http.protocol import Protocol
from kvd.gateways.http.websocket import WebSocketProtocol
from kvd.gateways.listen import close_places, open_places, place_bound
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
    """See `kvd.gateways.life.Gateway`."""

    def __init__(self, door: Door, *, hosts: Sequence[str], origins: Sequence[str], drain_s: float) -> None:
        """Raise BadConfiguration, InUse."""
        self.door = door
        self.drain_s = drain_s
        door.check_certificate()
        self.links = door.links()
        self.sockets = open_places(door.listen, DEFAULT, door.check_place)
        self.app = application(self.links, rules_of(door, hosts, origins, self.sockets))
        self.server = self.made()
        self.is_over = asyncio.Event()

    def made(self) -> Server:
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
            ssl_certfile=self.door.certificate,
            ssl_keyfile=self.door.certificate_key,
        )
        config.load()
        return Server(config)

    async def open(self) -> str:
        """Return where we listen: the sockets do already."""
        logging.getLogger("uvicorn").setLevel(logging.ERROR)
        scheme = "http" if self.door.certificate is None else "https"
        return " ".join(f"{scheme}://{place_bound(sock)}" for sock in self.sockets)

    async def serve(self) -> None:
        """Serve until closed."""
        looking = asyncio.ensure_future(look_after(self.server.server_state))
        try:
            await self.server.serve(self.sockets)
        finally:
            looking.cancel()
            self.is_over.set()

    async def reload(self) -> None:
        """Read the token file again; raises BadConfiguration."""
        await self.door.read_again(self.links)

    async def close(self) -> None:
        """Say that we are not ready, for as long as a balancer takes to see it; then end watches and finish."""
        self.app.state.is_ending = True
        await asyncio.sleep(self.drain_s)
        self.app.state.feeds.ending.set()
        self.server.should_exit = True
        if self.server.started:
            await self.is_over.wait()
        await self.links.close()
        close_places(self.sockets)


def rules_of(door: Door, hosts: Sequence[str], origins: Sequence[str], sockets: Sequence[socket.socket]) -> Rules:
    """Return which names are ours. Where a token is asked for any is right, for no page of others has one."""
    if hosts:
        return Rules(frozenset({LOCALHOST, *map(str.lower, hosts)}), origins)
    if door.token_file is not None:
        return Rules(None, origins)
    is_local = all(place_bound(sock).is_local for sock in sockets)
    return Rules(frozenset({LOCALHOST, socket.gethostname().lower()}), origins, are_addresses_right=not is_local)
