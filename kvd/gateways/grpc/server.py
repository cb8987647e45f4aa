"""The gateway: a gRPC server, where it listens, and its bounds."""

import asyncio
import logging
import os
import ssl
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import grpc
from grpc_reflection.v1alpha import reflection

from kvd.client.keys import Keys
from kvd.errors import BadConfiguration, InUse
from kvd.gateways.grpc import health, kvd_v1, kvs2
from kvd.gateways.grpc.calls import Streams
from kvd.gateways.link import Links
from kvd.gateways.listen import UNIX, Place, bound, place_of
from kvd.gateways.tokens import read_tokens
from kvd.limits import (
    COMMAND_BYTES_MAX,
    GRPC_CALLS_MAX,
    GRPC_CONNECTION_CALLS_MAX,
    GRPC_DRAIN_MS,
    GRPC_OVERHEAD_BYTES,
    GRPC_PING_MS_MIN,
    GRPC_SIGN_MS,
    GRPC_SIGN_WAIT_MS,
    REPLY_BYTES_MAX,
)
from kvd.systemd import passed_descriptors

log = logging.getLogger(__name__)

DEFAULT = "127.0.0.1:50051"
ADVICE = "Say who may, with --token-file (and --tls-cert, or the tokens can be read on the way), or use --insecure."
CHANNEL_OPTIONS = (
    ("grpc.so_reuseport", 0),  # or a second gateway would share the port in silence
    ("grpc.max_receive_message_length", COMMAND_BYTES_MAX + GRPC_OVERHEAD_BYTES),
    ("grpc.max_send_message_length", REPLY_BYTES_MAX + GRPC_OVERHEAD_BYTES),
    ("grpc.max_concurrent_streams", GRPC_CONNECTION_CALLS_MAX),
    ("grpc.keepalive_time_ms", GRPC_SIGN_MS),
    ("grpc.keepalive_timeout_ms", GRPC_SIGN_WAIT_MS),
    ("grpc.http2.min_ping_interval_without_data_ms", GRPC_PING_MS_MIN),
)


class Options(NamedTuple):
    """What the options say. `server_key` is the path, for the keys that the token file names."""

    url: str
    keys: Keys | None
    server_key: Path | None
    listen: tuple[str, ...]
    token_file: Path | None
    is_insecure: bool
    certificate: Path | None
    certificate_key: Path | None


class Gateway:
    """See `kvd.gateways.life.Gateway`. To be made within the loop."""

    def __init__(self, options: Options) -> None:
        """Raise BadConfiguration for options that cannot be used."""
        self.options = options
        tokens = read_tokens(options.token_file, options.server_key) if options.token_file else None
        self.places = places_of(options)
        self.credentials = credentials_of(options)
        try:
            self.links = Links(options.url, options.keys, tokens)
        except ValueError as error:
            raise BadConfiguration(str(error)) from error
        self.streams = Streams()
        self.stopped = asyncio.Event()
        self.server: Any = None
        self.bound: list[Place] = []

    async def open(self) -> str:
        """Begin to listen; return where. Raises InUse."""
        self.server = grpc.aio.server(options=CHANNEL_OPTIONS, maximum_concurrent_rpcs=GRPC_CALLS_MAX)
        self.server.add_generic_rpc_handlers(handlers(self.links, self.streams))
        reflection.enable_server_reflection(
            [kvs2.SERVICE, kvd_v1.SERVICE, health.SERVICE, reflection.SERVICE_NAME], self.server
        )
        for place in self.places:
            self.bound.append(bind(self.server, place, self.credentials))
        await self.server.start()
        return " ".join(f"grpc://{place}" if place.path is None else str(place) for place in self.bound)

    async def serve(self) -> None:
        """Serve until closed."""
        await self.stopped.wait()

    async def reload(self) -> None:
        """Read the token file again. Raises BadConfiguration."""
        if self.options.token_file is not None:
            await self.links.take(read_tokens(self.options.token_file, self.options.server_key))
            self.streams.end_revoked()
            log.info("event=tokens_read file=%s", self.options.token_file)

    async def close(self) -> None:
        """Listen no more, end what has no end, let calls finish for GRPC_DRAIN_MS, let the daemon go."""
        self.streams.end_all()
        if self.server is not None:
            await self.server.stop(GRPC_DRAIN_MS / 1000)
        await self.links.close()
        for place in self.bound:
            if place.path is not None:
                place.path.unlink(missing_ok=True)
        self.stopped.set()


def places_of(options: Options) -> list[Place]:
    """Return where to listen. Raises BadConfiguration, also for sockets of systemd's: gRPC's library binds its own."""
    if passed_descriptors():
        raise BadConfiguration("gRPC's library takes no sockets from systemd: use --listen instead of a .socket unit")
    places = [place_of(text) for text in options.listen or (DEFAULT,)]
    for place in places:
        if not (place.is_local or options.token_file or options.is_insecure):
            raise BadConfiguration(f"{place}: whoever reaches this address could read and write all. {ADVICE}")
    return places


def credentials_of(options: Options) -> Any:
    """Return the server's TLS, None without. Raises BadConfiguration: the library would only write to its log."""
    cert, key = options.certificate, options.certificate_key
    if cert is None and key is None:
        return None
    if cert is None or key is None:
        raise BadConfiguration("--tls-cert and --tls-key go together")
    try:
        ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER).load_cert_chain(cert, key)
        pair = (key.read_bytes(), cert.read_bytes())
    except OSError as error:  # SSLError too
        raise BadConfiguration(f"{cert} and {key} are no certificate and its key: {error.strerror or error}") from None
    return grpc.ssl_server_credentials([pair])


def bind(server: Any, place: Place, credentials: Any) -> Place:
    """Listen at a place; return it with the port that it has. A unix socket is its owner's alone. Raises InUse."""
    # The library binds by itself: it would take a unix socket from another program, and has no sentence for a port.
    bound(place).close()
    before = os.umask(0o177)
    try:
        if place.path is not None:
            server.add_insecure_port(f"{UNIX}{place.path}")
            return place
        if credentials is not None:
            return place._replace(port=server.add_secure_port(str(place), credentials))
        return place._replace(port=server.add_insecure_port(str(place)))
    except RuntimeError as error:
        raise InUse(f"cannot listen on {place}: {error}") from error
    finally:
        os.umask(before)


def handlers(links: Links, streams: Streams) -> tuple[Any, ...]:
    """Return what serves each service. Bytes come in and go out: what is no message is told as any other fault is."""
    first, own = kvs2.Kvs2(links), kvd_v1.Kvd(links, streams)
    signs = health.Health(links.own, streams, frozenset({"", kvs2.SERVICE, kvd_v1.SERVICE}))
    return (
        service(kvs2.SERVICE, {"Get": first.get, "Set": first.set, "MultiGet": first.multi_get}, {}),
        service(kvd_v1.SERVICE, own.commands(), {"Watch": own.watch}),
        service(health.SERVICE, {"Check": signs.check}, {"Watch": signs.watch}),
    )


def service(name: str, calls: dict[str, Callable[..., Any]], streams: dict[str, Callable[..., Any]]) -> Any:
    """Return the handler of a service: its calls, and those that answer with a stream."""
    methods = {rpc: grpc.unary_unary_rpc_method_handler(call) for rpc, call in calls.items()}
    methods |= {rpc: grpc.unary_stream_rpc_method_handler(call) for rpc, call in streams.items()}
    return grpc.method_handlers_generic_handler(name, methods)
