"""The gRPC gateway: its server, listeners and limits."""

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
    ("grpc.so_reuseport", 0),  # else a second gateway would share the port without an error
    ("grpc.max_receive_message_length", COMMAND_BYTES_MAX + GRPC_OVERHEAD_BYTES),
    ("grpc.max_send_message_length", REPLY_BYTES_MAX + GRPC_OVERHEAD_BYTES),
    ("grpc.max_concurrent_streams", GRPC_CONNECTION_CALLS_MAX),
    ("grpc.keepalive_time_ms", GRPC_HEARTBEAT_MS),
    ("grpc.keepalive_timeout_ms", GRPC_HEARTBEAT_WAIT_MS),
    ("grpc.http2.min_ping_interval_without_data_ms", GRPC_PING_MS_MIN),
)


class Gateway:
    """See `kvd.gateways.common.runner.Gateway`. Must be created within the loop."""

    def __init__(self, options: GatewayOptions) -> None:
        """Raises BadConfiguration for options that cannot be used."""
        self.options = options
        self.addresses = _addresses_of(options)
        self.credentials = _credentials_of(options)
        self.upstreams = options.make_upstreams()
        self.streams = Streams()
        self.stopped = asyncio.Event()
        self.server: Any = None
        self.bound: list[Address] = []

    async def open(self) -> str:
        """Start to listen; return the addresses as text. Raises InUse."""
        self.server = grpc.aio.server(options=CHANNEL_OPTIONS, maximum_concurrent_rpcs=GRPC_CALLS_MAX)
        self.server.add_generic_rpc_handlers(_handlers(self.upstreams, self.streams))
        services = [kvs2.SERVICE, kvd_v1.SERVICE, health.SERVICE, reflection.SERVICE_NAME]
        reflection.enable_server_reflection(services, self.server, pool=Symbols())
        for address in self.addresses:
            self.bound.append(_add_port(self.server, address, self.credentials))
        await self.server.start()
        return " ".join(f"grpc://{address}" if address.path is None else str(address) for address in self.bound)

    async def serve(self) -> None:
        await self.stopped.wait()

    async def reload(self) -> None:
        """Read the token file again. Raises BadConfiguration."""
        await self.options.reload(self.upstreams)
        self.streams.end_revoked()

    async def close(self) -> None:
        """Stop listening, end streams, let calls finish for GRPC_DRAIN_MS, disconnect from the daemon."""
        self.streams.end_all()
        if self.server is not None:
            await self.server.stop(GRPC_DRAIN_MS / 1000)
        await self.upstreams.close()
        for address in self.bound:
            if address.path is not None:
                address.path.unlink(missing_ok=True)
        self.stopped.set()


def _addresses_of(options: GatewayOptions) -> list[Address]:
    """Return the addresses of --listen. Raises BadConfiguration, also if systemd has passed sockets."""
    if socket_descriptors():
        raise BadConfiguration(
            "the gRPC library accepts no sockets from systemd: use --listen instead of a .socket unit"
        )
    addresses = [parse_address(text) for text in options.listen or (DEFAULT,)]
    for address in addresses:
        options.check_address(address)
    return addresses


def _credentials_of(options: GatewayOptions) -> Any:
    """Return the server's TLS credentials, or None. Raises BadConfiguration; the library would only log the error."""
    options.check_certificate()
    if options.certificate is None or options.certificate_key is None:
        return None
    return grpc.ssl_server_credentials([(options.certificate_key.read_bytes(), options.certificate.read_bytes())])


def _add_port(server: Any, address: Address, credentials: Any) -> Address:
    """Listen at an address; return it with its actual port. Only its owner can use a unix socket. Raises InUse."""
    # The library binds by itself: it would replace another program's unix socket, and its error names no reason.
    bind(address).close()
    before = os.umask(0o177)
    try:
        if address.path is not None:
            server.add_insecure_port(f"{UNIX}{address.path}")
            return address
        if credentials is not None:
            return address._replace(port=server.add_secure_port(str(address), credentials))
        return address._replace(port=server.add_insecure_port(str(address)))
    except RuntimeError as error:
        raise InUse(f"cannot listen on {address}: {error}") from error
    finally:
        os.umask(before)


def _handlers(upstreams: UpstreamPool, streams: Streams) -> tuple[Any, ...]:
    """Return the handlers of all services. They parse messages themselves, to report bad ones like other errors."""
    older, current = kvs2.Kvs2(upstreams), kvd_v1.Kvd(upstreams, streams)
    health_calls = health.Health(upstreams.own, streams, frozenset({"", kvs2.SERVICE, kvd_v1.SERVICE}))
    return (
        _service(kvs2.SERVICE, {"Get": older.get, "Set": older.set, "MultiGet": older.multi_get}, {}),
        _service(kvd_v1.SERVICE, current.commands(), {"Watch": current.watch}),
        _service(health.SERVICE, {"Check": health_calls.check}, {"Watch": health_calls.watch}),
    )


def _service(name: str, calls: dict[str, Callable[..., Any]], streams: dict[str, Callable[..., Any]]) -> Any:
    """Return the handler of a service, from its unary calls and its streams."""
    methods = {rpc: grpc.unary_unary_rpc_method_handler(call) for rpc, call in calls.items()}
    methods |= {rpc: grpc.unary_stream_rpc_method_handler(call) for rpc, call in streams.items()}
    return grpc.method_handlers_generic_handler(name, methods)
