"""The HTTP gateway as a process: uvicorn around the application."""

import asyncio
import contextlib
import logging
import socket
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

import uvicorn

from kvd.client.keys import Keys
from kvd.errors import BadConfiguration
from kvd.gateways.http.app import application
from kvd.gateways.http.guard import LOOPBACK, Rules
from kvd.gateways.http.protocol import Protocol
from kvd.gateways.link import Links
from kvd.gateways.listen import close_places, open_places, place_bound
from kvd.gateways.tokens import read_tokens
from kvd.limits import HTTP_DRAIN_MS, HTTP_IDLE_MS, KIB

log = logging.getLogger(__name__)

DEFAULT = "127.0.0.1:7480"
ADVICE = "Give --token-file, or listen on 127.0.0.1 or unix:PATH behind what asks who comes, or give --insecure"
WEBSOCKET_BYTES_MAX = 64 * KIB  # what a watcher says means nothing
WEBSOCKET_SIGN_S = 20.0


class Options(NamedTuple):
    """How a gateway is started."""

    url: str
    keys: Keys | None
    server_key: Path | None
    listen: Sequence[str]
    token_file: Path | None
    is_insecure: bool
    certificate: Path | None
    certificate_key: Path | None
    hosts: Sequence[str]
    origins: Sequence[str]
    drain_s: float


class Server(uvicorn.Server):
    """uvicorn, whose signals are ours."""

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Leave them alone."""
        yield


class Gateway:
    """See `kvd.gateways.life.Gateway`."""

    def __init__(self, options: Options) -> None:
        """Raise BadConfiguration, InUse."""
        self.options = options
        if (options.certificate is None) != (options.certificate_key is None):
            raise BadConfiguration("--tls-cert and --tls-key go together")
        tokens = None if options.token_file is None else read_tokens(options.token_file, options.server_key)
        is_guarded = tokens is not None or options.is_insecure
        self.sockets = open_places(options.listen, DEFAULT, is_guarded=is_guarded, advice=ADVICE)
        try:
            self.links = Links(options.url, options.keys, tokens)
        except ValueError as error:
            raise BadConfiguration(str(error)) from error
        self.app = application(self.links, Rules(hosts_of(options, self.sockets), options.origins))
        self.server = self.made()
        self.is_over = asyncio.Event()

    def made(self) -> Server:
        """Return the server, which has not begun; raises BadConfiguration."""
        config = uvicorn.Config(
            self.app,
            http=Protocol,
            ws="websockets-sansio",
            ws_max_size=WEBSOCKET_BYTES_MAX,
            ws_ping_interval=WEBSOCKET_SIGN_S,
            ws_ping_timeout=WEBSOCKET_SIGN_S,
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
        try:
            config.load()
        except OSError as error:  # of ssl, which has its own below OSError
            raise BadConfiguration(f"--tls-cert {self.options.certificate}: {error}") from error
        return Server(config)

    async def open(self) -> str:
        """Return where we listen: the sockets do already."""
        logging.getLogger("uvicorn").setLevel(logging.ERROR)
        scheme = "http" if self.options.certificate is None else "https"
        return " ".join(f"{scheme}://{place_bound(sock)}" for sock in self.sockets)

    async def serve(self) -> None:
        """Serve until closed."""
        try:
            await self.server.serve(self.sockets)
        finally:
            self.is_over.set()

    async def reload(self) -> None:
        """Read the token file again; raises BadConfiguration."""
        if self.options.token_file is not None:
            await self.links.take(read_tokens(self.options.token_file, self.options.server_key))
            log.info("event=tokens_read file=%s", self.options.token_file)

    async def close(self) -> None:
        """Say that we are not ready, for as long as a balancer takes to see it; then end watches and finish."""
        self.app.state.is_ending = True
        await asyncio.sleep(self.options.drain_s)
        self.app.state.feeds.ending.set()
        self.server.should_exit = True
        if self.server.started:
            await self.is_over.wait()
        await self.links.close()
        close_places(self.sockets, self.options.listen)


def hosts_of(options: Options, sockets: Sequence[socket.socket]) -> frozenset[str] | None:
    """Return the names that a Host header may have; None: any, where a token is asked for, or nobody minds."""
    if options.hosts:
        return LOOPBACK | {host.lower() for host in options.hosts}
    places = [place_bound(sock) for sock in sockets]
    is_open = options.token_file is not None or options.is_insecure or not all(place.is_local for place in places)
    return None if is_open else LOOPBACK
