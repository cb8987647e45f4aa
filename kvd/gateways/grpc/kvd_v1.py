"""The service kvd.v1.Kvd: an rpc for each command, and Watch."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

from kvd.commands import COMMANDS, Command
from kvd.commands.entry import Change
from kvd.commands.server import Ping
from kvd.errors import BadArgument, Busy, HistoryChanged, KvdError, TooLarge
from kvd.gateways.grpc import kvd_v1_pb2 as pb
from kvd.gateways.grpc.calls import Streams, link_of, refuse
from kvd.gateways.grpc.schema import rpc_of
from kvd.gateways.grpc.translate import STILL, change_of, parsed, reader_of, reply_of
from kvd.gateways.link import Link, Links, watches_max
from kvd.limits import GRPC_PREFIXES_MAX, GRPC_WATCHES_MAX, INTEGER_MAX, KEY_BYTES_MAX, WATCH_SIGN_MS

SERVICE = "kvd.v1.Kvd"

Call = Callable[[bytes, Any], Awaitable[bytes]]


class Kvd:
    """The calls. Bytes come in and go out."""

    def __init__(self, links: Links, streams: Streams) -> None:
        self.links = links
        self.streams = streams
        self.watches = 0
        self.watches_max = watches_max(GRPC_WATCHES_MAX)

    def commands(self) -> dict[str, Call]:
        """Return the call of each command, by the name of its rpc."""
        return {rpc_of(command): self.call_of(command) for command in COMMANDS.values()}

    def call_of(self, command: type[Command]) -> Call:
        """Return a command's call."""
        read = reader_of(command)

        async def call(body: bytes, context: Any) -> bytes:
            """Return the bytes of a Reply, or end the call with an error."""
            try:
                link = link_of(self.links, context)
                return reply_of(await link.answer(read(body)))
            except KvdError as error:
                await refuse(context, error)

        return call

    async def watch(self, body: bytes, context: Any) -> None:
        """Write changes until the client leaves, or end the call with an error."""
        try:
            link = link_of(self.links, context)
            request = parsed(pb.WatchRequest, body)
            check(request)
            if self.watches >= self.watches_max:
                raise Busy(f"{self.watches} watches are open here: one more is too many")
            self.watches += 1
            try:
                with self.streams.endable(link):
                    await follow(link, request, context)
            finally:
                self.watches -= 1
        except KvdError as error:
            await refuse(context, error)


def check(request: Any) -> None:
    """Raise TooLarge for prefixes beyond the bounds."""
    if len(request.prefixes) > GRPC_PREFIXES_MAX:
        raise TooLarge(f"{len(request.prefixes)} prefixes are too many; at most {GRPC_PREFIXES_MAX} are allowed")
    if request.since > INTEGER_MAX:
        raise BadArgument(f"since is a revision, at most {INTEGER_MAX}")
    longest = max(map(len, request.prefixes), default=0)
    if longest > KEY_BYTES_MAX:
        raise TooLarge(f"a prefix has {longest} bytes; at most {KEY_BYTES_MAX} are allowed")


async def follow(link: Link, request: Any, context: Any) -> None:
    """Write changes without end. Each waits until the one before is under way: a slow reader holds up itself alone.

    Raises KvdError.
    """
    await link.answer(Ping())  # without a daemon it says so at once, where a watch would wait for one
    since = request.since if request.HasField("since") else None
    async with link.watch(*request.prefixes, since=since) as watch:
        # With a `since` it must not wait until it is ready: the changes since then would all gather here first.
        await (watch.ready() if since is None else watch.begun())
        history = watch.inner.history
        if request.history not in ("", history):
            raise HistoryChanged("the daemon has another history: it was restored, or it is another store")
        await context.send_initial_metadata((("kvd-history", history), ("kvd-revision", str(watch.revision))))
        while True:
            try:
                async with asyncio.timeout(WATCH_SIGN_MS / 1000):
                    changes = await watch.take()
            except TimeoutError:
                changes = [Change(STILL, watch.revision, b"", None, 0, None, 0)]
            for change in changes:
                await context.write(change_of(change))
