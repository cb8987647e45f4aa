"""What is about the gateway itself: /livez, /readyz, /metrics, and the page at /ui."""

from importlib.resources import files

from starlette.requests import Request
from starlette.responses import PlainTextResponse, RedirectResponse, Response
from starlette.routing import Route

from kvd.errors import KvdError
from kvd.gateways.http.guard import link_free
from kvd.gateways.link import Link
from kvd.gateways.measures import exposition

# Nothing but our own three files runs or is loaded, and nobody frames the page.
PAGE_HEADERS = {
    "Content-Security-Policy": (
        "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; img-src 'self' data:; "
        "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    ),
    "Referrer-Policy": "no-referrer",
    "Cache-Control": "no-cache",
}
KINDS = {"index.html": "text/html", "ui.css": "text/css", "ui.js": "text/javascript"}


async def live(request: Request) -> Response:  # noqa: ARG001
    """GET /livez: that this process answers."""
    return PlainTextResponse("the gateway answers\n")


async def ready(request: Request) -> Response:
    """GET /readyz: whether the daemon answers and takes writes, and we are not about to end."""
    reason = await link_free(request).own.hindrance()
    if request.scope["app"].state.is_ending:
        reason = "the gateway is about to end"
    if reason is not None:
        return PlainTextResponse(f"{reason}\n", 503)
    return PlainTextResponse("the daemon answers and takes writes\n")


async def metrics(request: Request) -> Response:
    """GET /metrics: INFO for Prometheus, as `kvd metrics` tells it."""
    link: Link = request.scope["link"]
    try:
        info = await link.info()
    except (KvdError, TimeoutError):
        info = None
    kind, content = exposition(info, request.headers.get("accept", ""))
    return Response(content, media_type=kind)


def page(name: str) -> Route:
    """Return the route of one of the page's files, read once."""
    content = files(__package__).joinpath("ui", name).read_bytes()

    async def show(request: Request) -> Response:  # noqa: ARG001
        return Response(content, headers=PAGE_HEADERS, media_type=KINDS[name])

    return Route("/ui" if name == "index.html" else f"/ui/{name}", show)


async def to_page(request: Request) -> Response:  # noqa: ARG001
    """GET /ui/: the page is at /ui."""
    return RedirectResponse("/ui")


def page_routes() -> list[Route]:
    """Return the routes of the page."""
    return [*map(page, KINDS), Route("/ui/", to_page)]
