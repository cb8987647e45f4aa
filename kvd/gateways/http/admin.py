"""What is about the gateway itself: /livez, /readyz, /metrics, and the page at /ui."""

from hashlib import sha256
from importlib.resources import files
from importlib.resources.abc import Traversable

from starlette.requests import Request
from starlette.responses import PlainTextResponse, RedirectResponse, Response
from starlette.routing import Route

from kvd.errors import KvdError
from kvd.gateways.common.prometheus import exposition
from kvd.gateways.common.upstream import Upstream
from kvd.gateways.http.auth import without_upstream

# Only our own files run or are loaded, and no other page frames this one.
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
    """GET /livez: that this process answers."""
    return PlainTextResponse("the gateway answers\n")


async def ready(request: Request) -> Response:
    """GET /readyz: whether the daemon answers and takes writes, and we are not about to end."""
    reason = await without_upstream(request).own.problem()
    if request.scope["app"].state.is_ending:
        reason = "the gateway is about to end"
    if reason is not None:
        return PlainTextResponse(f"{reason}\n", 503)
    return PlainTextResponse("the daemon answers and takes writes\n")


async def metrics(request: Request) -> Response:
    """GET /metrics: INFO for Prometheus, as `kvd metrics` tells it."""
    link: Upstream = request.scope["link"]
    try:
        info = await link.info()
    except (KvdError, TimeoutError):
        info = None
    kind, content = exposition(info, request.headers.get("accept", ""))
    return Response(content, media_type=kind)


def page(file: Traversable) -> Route:
    """Return the route of one of the page's files, which is read once."""
    content = file.read_bytes()
    kind = KINDS[file.name.rpartition(".")[2]]
    headers = {**PAGE_HEADERS, "ETag": f'"{sha256(content).hexdigest()[:16]}"'}

    async def show(request: Request) -> Response:
        if request.headers.get("if-none-match") == headers["ETag"]:
            return Response(status_code=304, headers=headers)
        return Response(content, headers=headers, media_type=kind)

    return Route("/ui" if file.name == INDEX else f"/ui/{file.name}", show)


async def _to_page(request: Request) -> Response:  # noqa: ARG001
    """GET /ui/: the page is at /ui."""
    return RedirectResponse("/ui")


def page_routes() -> list[Route]:
    """Return the routes of the page."""
    return [*map(page, files(__package__).joinpath("ui").iterdir()), Route("/ui/", _to_page)]
