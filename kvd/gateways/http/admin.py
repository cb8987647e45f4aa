"""Serves the health checks /livez and /readyz, /metrics, and the web page at /ui."""

from hashlib import sha256
from importlib.resources import files
from importlib.resources.abc import Traversable

from starlette.requests import Request
from starlette.responses import PlainTextResponse, RedirectResponse, Response
from starlette.routing import Route

from kvd.errors import KvdError
from kvd.gateways.common.prometheus import exposition
from kvd.gateways.http.context import context_of

# The page may load only the gateway's own files, and no other page may frame it.
PAGE_HEADERS = {
    "Content-Security-Policy": (
        "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; img-src 'self' data:; "
        "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    ),
    "Referrer-Policy": "no-referrer",
    "Cache-Control": "no-cache",
}
KINDS = {"html": "text/html", "css": "text/css", "js": "text/javascript"}
INDEX = "index.html"


async def live(request: Request) -> Response:  # noqa: ARG001
    """GET /livez: report that this process answers."""
    return PlainTextResponse("the gateway answers\n")


async def ready(request: Request) -> Response:
    """GET /readyz: report whether the daemon answers and accepts writes, and the gateway is not shutting down."""
    gateway = context_of(request).gateway
    reason = await gateway.upstreams.own.problem()
    if gateway.is_stopping:
        reason = "the gateway is shutting down"
    if reason is not None:
        return PlainTextResponse(f"{reason}\n", 503)
    return PlainTextResponse("the daemon answers and accepts writes\n")


async def metrics(request: Request) -> Response:
    """GET /metrics: return INFO for Prometheus, like `kvd metrics`."""
    try:
        info = await context_of(request).upstream.info()
    except (KvdError, TimeoutError):
        info = None
    kind, content = exposition(info, request.headers.get("accept", ""))
    return Response(content, media_type=kind)


def _page_route(file: Traversable) -> Route:
    """Return the route for one of the page's files. The file is read only once."""
    content = file.read_bytes()
    kind = KINDS[file.name.rpartition(".")[2]]
    headers = {**PAGE_HEADERS, "ETag": f'"{sha256(content).hexdigest()[:16]}"'}

    async def show(request: Request) -> Response:
        if request.headers.get("if-none-match") == headers["ETag"]:
            return Response(status_code=304, headers=headers)
        return Response(content, headers=headers, media_type=kind)

    return Route("/ui" if file.name == INDEX else f"/ui/{file.name}", show)


async def _to_page(request: Request) -> Response:  # noqa: ARG001
    """GET /ui/: redirect to /ui."""
    return RedirectResponse("/ui")


def page_routes() -> list[Route]:
    return [*map(_page_route, files(__package__).joinpath("ui").iterdir()), Route("/ui/", _to_page)]
