"""The service kvd.v1.Kvd: an rpc for each command, and Watch."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

from kvd.commands import COMMANDS, Command
from kvd.commands.model import Change
from kvd.errors import BadArgument, Busy, KvdError, TooLarge
from kvd.gateways.common.upstream import Upstream, UpstreamPool, watches_max
from kvd.gateways.grpc import kvd_v1_pb2 as pb
from kvd.gateways.grpc.calls import Streams, refuse, upstream_of
from kvd.gateways.grpc.schema import rpc_of
from kvd.gateways.grpc.translate import STILL, change_of, parse, reader_of, reply_of
from kvd.limits import GRPC_PREFIXES_MAX, GRPC_WATCHES_MAX, INTEGER_MAX, WATCH_HEARTBEAT_MS

SERVICE = "kvd.v1.Kvd"

Call = Callable[[bytes, Any], Awaitable[bytes]]


class Kvd:
    """The calls, from and to serialized messages."""

    def __init__(self, upstreams: UpstreamPool, streams: Streams) -> None:
        self.upstreams = upstreams
        self.streams = streams
        self.watches = 0
        self.watches_max = watches_max(GRPC_WATCHES_MAX)

    def commands(self) -> dict[str, Call]:
        """Return each command's call, keyed by the name of its rpc."""
        return {rpc_of(command): self._call_of(command) for command in COMMANDS.values()}

    def _call_of(self, command: type[Command]) -> Call:
        read = reader_of(command)

        async def call(body: bytes, context: Any) -> bytes:
            """Return a serialized Reply, or end the call with an error."""
            try:
                upstream = upstream_of(self.upstreams, context)
                return reply_of(await upstream.answer(read(body)))
            except KvdError as error:
                await refuse(context, error)

        return call

    async def watch(self, body: bytes, context: Any) -> None:
        """Write changes until the client cancels, or end the call with an error."""
        try:
            upstream = upstream_of(self.upstreams, context)
            request = parse(pb.WatchRequest, body)
            _check(request)
            if self.watches >= self.watches_max:
                raise Busy(
                    f"this gateway has {self.watches} watches open, and accepts no more: retry, or use another gateway"
                )
            self.watches += 1
            try:
                with self.streams.registered(upstream):
                    await _follow(upstream, request, context)
            finally:
                self.watches -= 1
        except KvdError as error:
            await refuse(context, error)


def _check(request: Any) -> None:
    """Raise TooLarge for too many prefixes, BadArgument for a `since` that is not a revision."""
    if len(request.prefixes) > GRPC_PREFIXES_MAX:
        raise TooLarge(f"{len(request.prefixes)} prefixes are too many; at most {GRPC_PREFIXES_MAX} are allowed")
    if request.since > INTEGER_MAX:
        raise BadArgument(f"since is a revision, at most {INTEGER_MAX}")


async def _follow(upstream: Upstream, request: Any, context: Any) -> None:
    """Write changes endlessly. Each write waits for the one before, so a slow reader delays only itself.

    Raises KvdError.
    """
    since = request.since if request.HasField("since") else None
    async with upstream.watching(request.prefixes, since, request.history or None) as watch:
        metadata = (("kvd-history", watch.inner.history), ("kvd-revision", str(watch.revision)))
        await context.send_initial_metadata(metadata)
        while True:
            try:
                async with asyncio.timeout(WATCH_HEARTBEAT_MS / 1000):
                    changes = await watch.take()
            except TimeoutError:
                changes = [Change(STILL, watch.revision, b"", None, 0, None, 0)]
            for change in changes:
                await context.write(change_of(change))
