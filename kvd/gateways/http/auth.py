"""Who is let in, before anything else is looked at: the Host, the Origin, the token."""

from collections.abc import Sequence
from functools import lru_cache
from ipaddress import IPv4Address, IPv6Address, ip_address
from typing import NamedTuple
from urllib.parse import urlsplit

from starlette.requests import HTTPConnection
from starlette.responses import Response
from starlette.types import ASGIApp, Receive, Scope, Send
from starlette.websockets import WebSocket

from kvd.gateways.common.tokens import bearer
from kvd.gateways.common.upstream import NotKnown, UpstreamPool
from kvd.gateways.http.errors import error_response, refusal_response
from kvd.gateways.http.request_data import BodyBudget

LOCALHOST = "localhost"
SAFE = frozenset({"GET", "HEAD", "OPTIONS"})
# Nothing of the store is in them.
OPEN = ("/livez", "/readyz", "/ui")
OPEN_BEGIN = "/ui/"  # the page's files
ONCE = {b"host", b"authorization"}


class Rules(NamedTuple):
    """Which names of ours are right (None: any), whether addresses are, and which origins may use us by a browser.

    Addresses that lead to this machine, 0.0.0.0 among them, always are: no page can be given one by DNS.
    """

    hosts: frozenset[str] | None
    origins: Sequence[str]
    are_addresses_right: bool = False

    def knows(self, host: str) -> bool:
        """Return whether a Host header means us."""
        if self.hosts is None or _name_of(host) in self.hosts:
            return True
        address = _address_of(_name_of(host))
        return address is not None and (self.are_addresses_right or address.is_loopback or address.is_unspecified)


class Authenticator:
    """ASGI around the application: it refuses, or says by which link a request goes on."""

    def __init__(self, app: ASGIApp, links: UpstreamPool, rules: Rules, room: BodyBudget) -> None:
        self.app = app
        self.room = room
        self.upstreams = links
        self.rules = rules

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Let a request through, or refuse it."""
        if scope["type"] != "lifespan" and (response := self._authenticate(scope)) is not None:
            if scope["type"] == "websocket":
                await WebSocket(scope, receive, send).send_denial_response(response)
            else:
                await response(scope, receive, send)
            return
        try:
            await self.app(scope, receive, send)
        finally:
            self.room.release(scope)

    def _authenticate(self, scope: Scope) -> Response | None:
        """Return why a request is refused; None when it is let in, with its link in the scope."""
        headers = dict(scope["headers"])
        host, origin = headers.get(b"host", b"").decode("latin-1"), headers.get(b"origin")
        if len([name for name, _ in scope["headers"] if name in ONCE]) > len(ONCE & headers.keys()):
            return refusal_response(400, "there are two Host or two Authorization headers")
        if not self.rules.knows(host):
            # A page whose name was made to mean this address (DNS rebinding) has its own name there.
            return refusal_response(
                403, f"this gateway is not {host[:255]!r}: start it with --host for each name it has"
            )
        if origin is not None and not self._is_origin_allowed(origin.decode("latin-1"), host, scope):
            return refusal_response(
                403, f"pages of {origin[:255]!r} may not: start the gateway with --origin to let them"
            )
        if scope["path"] in OPEN or scope["path"].startswith(OPEN_BEGIN):
            return None
        try:
            scope["link"] = self.upstreams.upstream_of(bearer(headers.get(b"authorization", b"").decode("latin-1")))
        except NotKnown as error:
            return error_response(error)
        return None

    def _is_origin_allowed(self, origin: str, host: str, scope: Scope) -> bool:
        """Return whether a page of an origin may ask this. To read is the browser's to allow (CORS), and off."""
        if origin in self.rules.origins or origin.partition("://")[2] == host:
            return True
        return scope["type"] == "http" and scope["method"] in SAFE


@lru_cache(64)
def _name_of(host: str) -> str:
    """Return the name in a Host header, without port and brackets."""
    try:
        return urlsplit(f"//{host}").hostname or ""
    except ValueError:
        return ""


@lru_cache(64)
def _address_of(name: str) -> IPv4Address | IPv6Address | None:
    """Return the address that a name in digits is; an IPv4 address that is written as one of IPv6 is that."""
    try:
        address = ip_address(name)
    except ValueError:
        return None
    return getattr(address, "ipv4_mapped", None) or address


def without_upstream(request: HTTPConnection) -> UpstreamPool:
    """Return the links of the gateway, for what needs no token."""
    links: UpstreamPool = request.scope["app"].state.links
    return links
