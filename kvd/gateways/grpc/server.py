"""The gateway: a gRPC server, where it listens, and its bounds."""

import asyncio
import os
from collections.abc import Callable
from typing import Any

import grpc
from grpc_reflection.v1alpha import reflection

from kvd.errors import BadConfiguration, InUse
from kvd.gateways.common.listeners import UNIX, Address, bind, parse_address
from kvd.gateways.common.options import GatewayOptions
from kvd.gateways.common.upstream import UpstreamPool
from kvd.gateways.grpc import health, kvd_v1, kvs2
from kvd.gateways.grpc.calls import Streams
from kvd.gateways.grpc.symbols import Symbols
from kvd.limits import (
    COMMAND_BYTES_MAX,
    GRPC_CALLS_MAX,
    GRPC_CONNECTION_CALLS_MAX,
    GRPC_DRAIN_MS,
    GRPC_HEARTBEAT_MS,
    GRPC_HEARTBEAT_WAIT_MS,
    GRPC_OVERHEAD_BYTES,
    GRPC_PING_MS_MIN,
    REPLY_BYTES_MAX,
)
from kvd.systemd import socket_descriptors

DEFAULT = "127.0.0.1:50051"
CHANNEL_OPTIONS = (
    ("grpc.so_reuseport", 0),  # or a second gateway would share the port in silence
    ("grpc.max_receive_message_length", COMMAND_BYTES_MAX + GRPC_OVERHEAD_BYTES),
    ("grpc.max_send_message_length", REPLY_BYTES_MAX + GRPC_OVERHEAD_BYTES),
    ("grpc.max_concurrent_streams", GRPC_CONNECTION_CALLS_MAX),
    ("grpc.keepalive_time_ms", GRPC_HEARTBEAT_MS),
    ("grpc.keepalive_timeout_ms", GRPC_HEARTBEAT_WAIT_MS),
    ("grpc.http2.min_ping_interval_without_data_ms", GRPC_PING_MS_MIN),
)


class Gateway:
    """See `kvd.gateways.common.runner.Gateway`. To be made within the loop."""

    def __init__(self, door: GatewayOptions) -> None:
        """Raise BadConfiguration for options that cannot be used."""
        self.options = door
        self.places = _addresses_of(door)
        self.credentials = _credentials_of(door)
        self.upstreams = door.make_upstreams()
        self.streams = Streams()
        self.stopped = asyncio.Event()
        self.server: Any = None
        self.bound: list[Address] = []

    async def open(self) -> str:
        """Begin to listen; return where. Raises InUse."""
        self.server = grpc.aio.server(options=CHANNEL_OPTIONS, maximum_concurrent_rpcs=GRPC_CALLS_MAX)
        self.server.add_generic_rpc_handlers(_handlers(self.upstreams, self.streams))
        services = [kvs2.SERVICE, kvd_v1.SERVICE, health.SERVICE, reflection.SERVICE_NAME]
        reflection.enable_server_reflection(services, self.server, pool=Symbols())
        for place in self.places:
            self.bound.append(_add_port(self.server, place, self.credentials))
        await self.server.start()
        return " ".join(f"grpc://{place}" if place.path is None else str(place) for place in self.bound)

    async def serve(self) -> None:
        """Serve until closed."""
        await self.stopped.wait()

    async def reload(self) -> None:
        """Read the token file again. Raises BadConfiguration."""
        await self.options.reload(self.upstreams)
        self.streams.end_revoked()

    async def close(self) -> None:
        """Listen no more, end what has no end, let calls finish for GRPC_DRAIN_MS, let the daemon go."""
        self.streams.end_all()
        if self.server is not None:
            await self.server.stop(GRPC_DRAIN_MS / 1000)
        await self.upstreams.close()
        for place in self.bound:
            if place.path is not None:
                place.path.unlink(missing_ok=True)
        self.stopped.set()


def _addresses_of(door: GatewayOptions) -> list[Address]:
    """Return where to listen. Raises BadConfiguration, also for sockets of systemd's: gRPC's library binds its own."""
    if socket_descriptors():
        raise BadConfiguration("gRPC's library takes no sockets from systemd: use --listen instead of a .socket unit")
    places = [parse_address(text) for text in door.listen or (DEFAULT,)]
    for place in places:
        door.check_address(place)
    return places


def _credentials_of(door: GatewayOptions) -> Any:
    """Return the server's TLS, None without. Raises BadConfiguration: the library would only write to its log."""
    door.check_certificate()
    if door.certificate is None or door.certificate_key is None:
        return None
    return grpc.ssl_server_credentials([(door.certificate_key.read_bytes(), door.certificate.read_bytes())])


def _add_port(server: Any, place: Address, credentials: Any) -> Address:
    """Listen at a place; return it with the port that it has. A unix socket is its owner's alone. Raises InUse."""
    # The library binds by itself: it would take a unix socket from another program, and has no sentence for a port.
    bind(place).close()
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


def _handlers(links: UpstreamPool, streams: Streams) -> tuple[Any, ...]:
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
