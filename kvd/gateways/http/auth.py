"""Authenticates requests by their Host, Origin and token, before anything else is processed."""

from collections.abc import Sequence
from functools import lru_cache
from ipaddress import IPv4Address, IPv6Address, ip_address
from typing import NamedTuple
from urllib.parse import urlsplit

from starlette.responses import Response
from starlette.types import ASGIApp, Receive, Scope, Send
from starlette.websockets import WebSocket

from kvd.gateways.common.tokens import bearer
from kvd.gateways.common.upstream import NotKnown
from kvd.gateways.http.context import Context, GatewayState, attach_context
from kvd.gateways.http.errors import error_response, refusal_response

LOCALHOST = "localhost"
SAFE = frozenset({"GET", "HEAD", "OPTIONS"})
# Paths that reveal no data, so they need no token.
OPEN = ("/livez", "/readyz", "/ui")
OPEN_BEGIN = "/ui/"  # the page's files
ONCE = {b"host", b"authorization"}


class Rules(NamedTuple):
    """Accepted Host names (None: any), whether IP addresses are accepted, and the allowed CORS origins.

    Addresses of this machine, including 0.0.0.0, are always accepted: DNS rebinding cannot put one into a Host header.
    """

    hosts: frozenset[str] | None
    origins: Sequence[str]
    accepts_addresses: bool = False

    def accepts_host(self, host: str) -> bool:
        """Return whether a Host header names this gateway."""
        if self.hosts is None or _name_of(host) in self.hosts:
            return True
        address = _address_of(_name_of(host))
        return address is not None and (self.accepts_addresses or address.is_loopback or address.is_unspecified)


class Authenticator:
    """ASGI middleware: refuses a request, or selects its upstream connection and passes it on."""

    def __init__(self, app: ASGIApp, gateway: GatewayState, rules: Rules) -> None:
        self.app = app
        self.gateway = gateway
        self.rules = rules

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        context = attach_context(scope, self.gateway)
        if scope["type"] != "lifespan" and (response := self._authenticate(scope, context)) is not None:
            if scope["type"] == "websocket":
                await WebSocket(scope, receive, send).send_denial_response(response)
            else:
                await response(scope, receive, send)
            return
        try:
            await self.app(scope, receive, send)
        finally:
            context.release()

    def _authenticate(self, scope: Scope, context: Context) -> Response | None:
        """Return the response that refuses a request; None if it is accepted, with its upstream in the context."""
        headers = dict(scope["headers"])
        host, origin = headers.get(b"host", b"").decode("latin-1"), headers.get(b"origin")
        if len([name for name, _ in scope["headers"] if name in ONCE]) > len(ONCE & headers.keys()):
            return refusal_response(400, "the request has two Host or two Authorization headers")
        if not self.rules.accepts_host(host):
            # With DNS rebinding, a foreign page's name resolves to this address, and the Host header has that name.
            return refusal_response(
                403, f"this gateway is not {host[:255]!r}: start it with --host for each name it has"
            )
        if origin is not None and not self._is_origin_allowed(origin.decode("latin-1"), host, scope):
            return refusal_response(
                403, f"pages of {origin[:255]!r} are not allowed: start the gateway with --origin to allow them"
            )
        if scope["path"] in OPEN or scope["path"].startswith(OPEN_BEGIN):
            return None
        try:
            context.authenticate(bearer(headers.get(b"authorization", b"").decode("latin-1")))
        except NotKnown as error:
            return error_response(error)
        return None

    def _is_origin_allowed(self, origin: str, host: str, scope: Scope) -> bool:
        """Return whether a page of an origin may send this request. Browsers keep it from reading replies (CORS)."""
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
    """Return the IP address of a numeric name, or None; an IPv4-mapped IPv6 address as IPv4."""
    try:
        address = ip_address(name)
    except ValueError:
        return None
    return getattr(address, "ipv4_mapped", None) or address
