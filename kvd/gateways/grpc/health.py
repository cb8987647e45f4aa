"""grpc.health.v1: serving while the daemon answers. It is asked when somebody looks, once a second at most.

A daemon that takes no writes does answer: who reads would lose more than who writes gains.
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
LOOK_S = 1.0


class Health:
    """The two calls. They need no token."""

    def __init__(self, link: Upstream, streams: Streams, services: frozenset[str]) -> None:
        self.upstream = link
        self.streams = streams
        self.services = services
        self.lock = asyncio.Lock()
        self.is_serving = False
        self.next_check = 0.0
        self.watches = 0

    async def status(self) -> bool:
        """Return whether the daemon answers, as of this second."""
        async with self.lock:
            if asyncio.get_running_loop().time() >= self.next_check:
                self.is_serving = await is_answered(self.upstream)
                self.next_check = asyncio.get_running_loop().time() + LOOK_S
            return self.is_serving

    async def check(self, body: bytes, context: Any) -> bytes:
        """Return a HealthCheckResponse."""
        try:
            request = parse(pb.HealthCheckRequest, body)
        except KvdError as error:
            await refuse(context, error)
        if request.service not in self.services:
            await context.abort(StatusCode.NOT_FOUND, "there is no such service here")
        return response(pb.HealthCheckResponse.SERVING if await self.status() else NOT_SERVING)

    async def watch(self, body: bytes, context: Any) -> None:
        """Write what it is now, and each time it changes."""
        try:
            request = parse(pb.HealthCheckRequest, body)
            if self.watches >= GRPC_HEALTH_WATCHES_MAX:  # they need no token, and calls are bounded together
                raise Busy(f"{self.watches} watch the health already: one more is too many")
            self.watches += 1
            try:
                with self.streams.endable(None):
                    await self.show(request.service, context)
            finally:
                self.watches -= 1
        except KvdError as error:
            await refuse(context, error)

    async def show(self, service: str, context: Any) -> None:
        """Do so without end."""
        shown = None
        while True:
            status = NOT_SERVING
            if service not in self.services:
                status = pb.HealthCheckResponse.SERVICE_UNKNOWN
            elif await self.status():
                status = pb.HealthCheckResponse.SERVING
            if status != shown:
                await context.write(response(status))
                shown = status
            await asyncio.sleep(LOOK_S)


NOT_SERVING = pb.HealthCheckResponse.NOT_SERVING


def response(status: Any) -> bytes:
    """Return the bytes of a HealthCheckResponse."""
    return pb.HealthCheckResponse(status=status).SerializeToString()  # type: ignore[no-any-return]


async def is_answered(link: Upstream) -> bool:
    """Return whether the daemon answers. One that says what we may not has answered."""
    try:
        await link.info()
    except Denied:
        return True
    except (KvdError, TimeoutError):
        return False
    return True
