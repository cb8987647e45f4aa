"""grpc.health.v1: SERVING while the daemon answers. The daemon is asked on demand, at most once a second.

A read-only daemon counts as SERVING: otherwise a balancer would take the gateway away from clients that only read.
"""

import asyncio
from typing import Any

from grpc import StatusCode
from grpc_health.v1 import health_pb2 as pb

from kvd.errors import Busy, Denied, KvdError
from kvd.gateways.common.upstream import Upstream
from kvd.gateways.grpc.calls import Streams, refuse
from kvd.gateways.grpc.translate import parse
from kvd.limits import GRPC_HEALTH_WATCHES_MAX

SERVICE = "grpc.health.v1.Health"
CHECK_S = 1.0


class Health:
    """The calls Check and Watch. They need no token."""

    def __init__(self, upstream: Upstream, streams: Streams, services: frozenset[str]) -> None:
        self.upstream = upstream
        self.streams = streams
        self.services = services
        self.lock = asyncio.Lock()
        self.is_serving = False
        self.next_check = 0.0
        self.watches = 0

    async def status(self) -> bool:
        """Return whether the daemon answers, checked at most once a second."""
        async with self.lock:
            if asyncio.get_running_loop().time() >= self.next_check:
                self.is_serving = await _is_answering(self.upstream)
                self.next_check = asyncio.get_running_loop().time() + CHECK_S
            return self.is_serving

    async def check(self, body: bytes, context: Any) -> bytes:
        """Return a HealthCheckResponse."""
        try:
            request = parse(pb.HealthCheckRequest, body)
        except KvdError as error:
            await refuse(context, error)
        if request.service not in self.services:
            await context.abort(StatusCode.NOT_FOUND, "this gateway has no such service")
        return _response(pb.HealthCheckResponse.SERVING if await self.status() else NOT_SERVING)

    async def watch(self, body: bytes, context: Any) -> None:
        """Write the current status, and each change of it."""
        try:
            request = parse(pb.HealthCheckRequest, body)
            if self.watches >= GRPC_HEALTH_WATCHES_MAX:  # these calls need no token, and all calls share one limit
                raise Busy(f"{self.watches} clients watch the health already, and no more are accepted")
            self.watches += 1
            try:
                with self.streams.registered(None):
                    await self._write_changes(request.service, context)
            finally:
                self.watches -= 1
        except KvdError as error:
            await refuse(context, error)

    async def _write_changes(self, service: str, context: Any) -> None:
        last = None
        while True:
            status = NOT_SERVING
            if service not in self.services:
                status = pb.HealthCheckResponse.SERVICE_UNKNOWN
            elif await self.status():
                status = pb.HealthCheckResponse.SERVING
            if status != last:
                await context.write(_response(status))
                last = status
            await asyncio.sleep(CHECK_S)


NOT_SERVING = pb.HealthCheckResponse.NOT_SERVING


def _response(status: Any) -> bytes:
    return pb.HealthCheckResponse(status=status).SerializeToString()  # type: ignore[no-any-return]


async def _is_answering(upstream: Upstream) -> bool:
    """Return whether the daemon answers; DENIED is an answer too."""
    try:
        await upstream.info()
    except Denied:
        return True
    except (KvdError, TimeoutError):
        return False
    return True
