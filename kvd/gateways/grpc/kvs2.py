"""The service kvs2.Kvs2: get and set over bytes, as an older store had it. Its clients know two errors.

What is wrong with a request is told as kvd.v1 does. Whatever else goes wrong is UNAVAILABLE, but for a call that took
longer than 5 s: DEADLINE_EXCEEDED.
"""

import time
from typing import Any, NoReturn

from grpc import StatusCode

from kvd.commands import Command
from kvd.commands.values import Get, MultiGet, Set
from kvd.errors import BadArgument, BadRequest, ClientError, Denied, KvdError, TooLarge
from kvd.gateways.common.upstream import ANSWER_S, NotKnown, UpstreamPool
from kvd.gateways.grpc import kvs2_pb2 as pb
from kvd.gateways.grpc.calls import upstream_of
from kvd.gateways.grpc.status import metadata_of, sentence_of, status_of
from kvd.gateways.grpc.translate import parse
from kvd.limits import KEYS_MAX

SERVICE = "kvs2.Kvs2"
ITS_OWN = (BadRequest, BadArgument, TooLarge, Denied, NotKnown)  # the caller's doing


class Kvs2:
    """The three calls. Bytes come in and go out."""

    def __init__(self, links: UpstreamPool) -> None:
        self.upstreams = links

    async def get(self, body: bytes, context: Any) -> bytes:
        """Return a GetReply."""
        value = await self.run(body, context, pb.GetRequest, _get_of)
        reply = pb.GetReply(status=pb.NOT_FOUND) if value is None else pb.GetReply(data=value)
        return reply.SerializeToString()  # type: ignore[no-any-return]

    async def set(self, body: bytes, context: Any) -> bytes:
        """Return a SetReply: it is durable."""
        await self.run(body, context, pb.SetRequest, _set_of)
        return pb.SetReply(status=pb.PUBLISHED).SerializeToString()  # type: ignore[no-any-return]

    async def multi_get(self, body: bytes, context: Any) -> bytes:
        """Return a MultiGetReply, its parts in the order asked."""
        keys: list[bytes] = []

        def command(request: Any) -> Command | None:
            """Return the command; take note of the keys. Nothing is asked for no keys."""
            if len(request.keys) > KEYS_MAX:
                raise TooLarge(f"{len(request.keys)} keys are too many; at most {KEYS_MAX} are allowed")
            keys.extend(request.keys)
            return MultiGet(keys) if keys else None

        values = await self.run(body, context, pb.MultiGetRequest, command) or []
        reply = pb.MultiGetReply()
        for key, value in zip(keys, values, strict=True):
            if value is None:
                reply.parts.add(key=key, status=pb.NOT_FOUND)
            else:
                reply.parts.add(key=key, data=value)
        return reply.SerializeToString()  # type: ignore[no-any-return]

    async def run(self, body: bytes, context: Any, message: Any, command_of: Any) -> Any:
        """Run what a request asks for; return the result, or end the call with an error."""
        begun = time.monotonic()
        try:
            link = upstream_of(self.upstreams, context)
            command = command_of(parse(message, body))
            return None if command is None else (await link.answer(command)).result
        except KvdError as error:
            await fail(context, error, time.monotonic() - begun)


def _get_of(request: Any) -> Command:
    """Return the command of a GetRequest."""
    return Get(request.key)


def _set_of(request: Any) -> Command:
    """Return the command of a SetRequest."""
    return Set(request.key, request.value)


async def fail(context: Any, error: KvdError, took_s: float) -> NoReturn:
    """End a call with an error. The link gives up after ANSWER_S, so nothing here has a clock of its own."""
    status = status_of(error) if isinstance(error, ITS_OWN) else StatusCode.UNAVAILABLE
    if isinstance(error, ClientError) and took_s >= ANSWER_S:
        status = StatusCode.DEADLINE_EXCEEDED
    await context.abort(status, sentence_of(error), metadata_of(error))
    raise AssertionError from error  # abort does not return
