"""The service kvs2.Kvs2: get and set of bytes, the interface of an older store.

An error in the request is reported as in kvd.v1. Every other error is UNAVAILABLE, or DEADLINE_EXCEEDED if the call
took longer than 5 s: the clients know only these two.
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
CALLER_ERRORS = (BadRequest, BadArgument, TooLarge, Denied, NotKnown)


class Kvs2:
    """The three calls, from and to serialized messages."""

    def __init__(self, upstreams: UpstreamPool) -> None:
        self.upstreams = upstreams

    async def get(self, body: bytes, context: Any) -> bytes:
        """Return a GetReply."""
        value = await self._run(body, context, pb.GetRequest, _get_of)
        reply = pb.GetReply(status=pb.NOT_FOUND) if value is None else pb.GetReply(data=value)
        return reply.SerializeToString()  # type: ignore[no-any-return]

    async def set(self, body: bytes, context: Any) -> bytes:
        """Return a SetReply once the write is durable."""
        await self._run(body, context, pb.SetRequest, _set_of)
        return pb.SetReply(status=pb.PUBLISHED).SerializeToString()  # type: ignore[no-any-return]

    async def multi_get(self, body: bytes, context: Any) -> bytes:
        """Return a MultiGetReply, with its parts in the order of the request."""
        keys: list[bytes] = []

        def command(request: Any) -> Command | None:
            """Return the command and store the keys; None if there are no keys."""
            if len(request.keys) > KEYS_MAX:
                raise TooLarge(f"{len(request.keys)} keys are too many; at most {KEYS_MAX} are allowed")
            keys.extend(request.keys)
            return MultiGet(keys) if keys else None

        values = await self._run(body, context, pb.MultiGetRequest, command) or []
        reply = pb.MultiGetReply()
        for key, value in zip(keys, values, strict=True):
            if value is None:
                reply.parts.add(key=key, status=pb.NOT_FOUND)
            else:
                reply.parts.add(key=key, data=value)
        return reply.SerializeToString()  # type: ignore[no-any-return]

    async def _run(self, body: bytes, context: Any, message: Any, command_of: Any) -> Any:
        """Run the command of a request; return its result, or end the call with an error."""
        started = time.monotonic()
        try:
            upstream = upstream_of(self.upstreams, context)
            command = command_of(parse(message, body))
            return None if command is None else (await upstream.answer(command)).result
        except KvdError as error:
            await _fail(context, error, time.monotonic() - started)


def _get_of(request: Any) -> Command:
    return Get(request.key)


def _set_of(request: Any) -> Command:
    return Set(request.key, request.value)


async def _fail(context: Any, error: KvdError, took_s: float) -> NoReturn:
    """End a call with an error. The upstream connection enforces ANSWER_S, so no timer is needed here."""
    status = status_of(error) if isinstance(error, CALLER_ERRORS) else StatusCode.UNAVAILABLE
    if isinstance(error, ClientError) and took_s >= ANSWER_S:
        status = StatusCode.DEADLINE_EXCEEDED
    await context.abort(status, sentence_of(error), metadata_of(error))
    raise AssertionError from error  # abort does not return
