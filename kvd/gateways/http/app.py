"""The ASGI application: the table of routes, and the middleware around them."""

from collections.abc import Sequence

from starlette.applications import Starlette
from starlette.convertors import Convertor, register_url_convertor
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.middleware.cors import CORSMiddleware
from starlette.requests import ClientDisconnect
from starlette.routing import BaseRoute, Route, WebSocketRoute

from kvd.errors import KvdError
from kvd.gateways.http import admin, commands, kafka_dialect, nats_dialect, openapi, rest, watch
from kvd.gateways.http.auth import Authenticator, Rules
from kvd.gateways.http.context import GatewayState
from kvd.gateways.http.errors import on_disconnect, on_http_error, on_kvd_error, on_unexpected_error

REQUEST_HEADERS = ("Authorization", "Content-Type", "If-Match", "If-None-Match", "If-Range", "Last-Event-ID", "Range")
RESPONSE_HEADERS = (
    "Accept-Ranges",
    "Content-Range",
    "ETag",
    "Kvd-Expires",
    "Kvd-History",
    "Kvd-Omitted",
    "Kvd-Revision",
    "Retry-After",
)
METHODS = ("GET", "HEAD", "POST", "PUT", "DELETE")


class KeyConvertor(Convertor[str]):
    """Matches the rest of a path, including line ends. Handlers take the key itself from the raw path."""

    regex = "(?s:.*)"

    def convert(self, value: str) -> str:
        return value

    def to_string(self, value: str) -> str:
        return value


register_url_convertor("key", KeyConvertor())

ROUTES: Sequence[BaseRoute] = (
    Route("/kv/{key:key}", rest.Keys()),
    Route("/kv", rest.get_page),
    Route("/v1/commands", commands.run, methods=["POST"]),
    Route("/v1/watch", watch.events),
    WebSocketRoute("/v1/watch", watch.websocket),
    Route("/get", nats_dialect.either_get, methods=["GET", "POST"]),
    Route("/set", nats_dialect.either_set, methods=["POST"]),
    Route("/getall", kafka_dialect.get_all),
    WebSocketRoute("/subscribe", kafka_dialect.subscribe),
    Route("/", nats_dialect.up),
    Route("/rm", nats_dialect.remove, methods=["DELETE", "POST"]),
    Route("/openapi.json", openapi.document),
    Route("/livez", admin.live),
    Route("/readyz", admin.ready),
    Route("/metrics", admin.metrics),
)


def make_application(state: GatewayState, rules: Rules) -> Starlette:
    """Return the application of a gateway."""
    middleware = [Middleware(Authenticator, gateway=state, rules=rules)]
    if rules.origins:  # before authentication, because a browser's preflight request has no token
        cors = Middleware(
            CORSMiddleware,
            allow_origins=rules.origins,
            allow_methods=METHODS,
            allow_headers=REQUEST_HEADERS,
            expose_headers=RESPONSE_HEADERS,
        )
        middleware.insert(0, cors)
    app = Starlette(
        routes=[*ROUTES, *admin.page_routes(), WebSocketRoute("/{path:key}", watch.unknown_path)],
        middleware=middleware,
        exception_handlers={
            KvdError: on_kvd_error,
            HTTPException: on_http_error,
            ClientDisconnect: on_disconnect,
            Exception: on_unexpected_error,
        },
    )
    app.router.redirect_slashes = False
    return app
