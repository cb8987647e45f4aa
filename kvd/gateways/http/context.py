"""The state that handlers use: one `GatewayState` for the gateway, and one `Context` for each request."""

from typing import Any

from starlette.requests import HTTPConnection
from starlette.types import Scope

from kvd.errors import Busy
from kvd.gateways.common.upstream import Upstream, UpstreamPool
from kvd.gateways.http.feeds import Feeds
from kvd.limits import HTTP_BODIES_BYTES_MAX

_SCOPE_KEY = "kvd"


class BodyBudget:
    """The memory of all request bodies that are being read or processed."""

    def __init__(self) -> None:
        self.used = 0

    def acquire(self, size: int) -> None:
        """Raises Busy if the budget is exceeded; the bytes count nevertheless until they are released."""
        self.used += size
        if self.used > HTTP_BODIES_BYTES_MAX:
            raise Busy("too many large request bodies are being processed: try again")

    def release(self, size: int) -> None:
        """Return bytes to the budget."""
        self.used -= size


class GatewayState:
    """The state shared by all requests of a gateway."""

    def __init__(self, upstreams: UpstreamPool) -> None:
        self.upstreams = upstreams
        self.feeds = Feeds()
        self.bodies = BodyBudget()
        self.is_stopping = False

    def announce_stop(self) -> None:
        """Report the gateway as not ready from now on."""
        self.is_stopping = True

    def stop_feeds(self) -> None:
        """End all feeds of changes."""
        self.feeds.ending.set()


class Context:
    """A request's state. The authenticator creates it, and sets `upstream` for paths that need a token."""

    __slots__ = ("_upstream", "body_bytes", "connection", "gateway")

    def __init__(self, gateway: GatewayState, connection: Any) -> None:
        self.gateway = gateway
        self.connection = connection  # uvicorn's protocol, as extended in protocol.py and websocket.py
        self.body_bytes = 0
        self._upstream: Upstream | None = None

    @property
    def upstream(self) -> Upstream:
        """Return the connection to the daemon that belongs to the request's token."""
        assert self._upstream is not None
        return self._upstream

    def authenticate(self, token: str | None) -> None:
        """Select the upstream connection for a token. Raises NotKnown."""
        self._upstream = self.gateway.upstreams.upstream_of(token)

    def acquire_body(self, size: int) -> None:
        """Count memory for the request's body, until `release`. Raises Busy."""
        self.body_bytes += size
        self.gateway.bodies.acquire(size)

    def release(self) -> None:
        """Return the memory of the request's body to the budget."""
        self.gateway.bodies.release(self.body_bytes)


def attach_context(scope: Scope, gateway: GatewayState) -> Context:
    """Create the context of a request."""
    context = scope[_SCOPE_KEY] = Context(gateway, scope.get("connection"))
    return context


def context_of(request: HTTPConnection) -> Context:
    """Return the context of a request."""
    context: Context = request.scope[_SCOPE_KEY]
    return context
