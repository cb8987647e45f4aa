"""What `kvd metrics` tells over HTTP, and the HTTP itself."""

import contextlib
import sys
import threading
from collections.abc import Iterator
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, NamedTuple

from kvd.client import Client
from kvd.client.keys import Keys
from kvd.errors import BadConfiguration, KvdError
from kvd.gateways.common.listeners import bind, bound_address, close_listeners, parse_address
from kvd.gateways.common.prometheus import exposition

ANSWER_S = 1.0
SILENT_S = 5.0
PLAIN = "text/plain; charset=utf-8"
PATHS = """\
/metrics  for Prometheus
/livez    whether this process answers
/readyz   whether the daemon answers and takes writes
"""

# What is told


class InfoCache:
    """Looks at a daemon: one at a time, each with a connection of its own, so none waits for one that is stale."""

    def __init__(self, url: str, keys: Keys | None) -> None:
        self.url = url
        self.keys = keys
        self.turn = threading.Lock()

    def info(self) -> dict[str, dict[str, Any]]:
        """Return INFO; raises KvdError when it does not come within a second."""
        with self.turn, Client(self.url, timeout=ANSWER_S, keys=self.keys) as client:
            return client.info()


class Page(NamedTuple):
    """An answer over HTTP."""

    status: HTTPStatus
    kind: str
    body: bytes


class Pages:
    """What each path says."""

    def __init__(self, look: InfoCache) -> None:
        self.info_cache = look

    def page(self, path: str, accept: str) -> Page:
        """Return what a path says to who accepts what."""
        if path == "/metrics":
            return self.metrics(accept)
        if path == "/livez":
            return plain(HTTPStatus.OK, "kvd metrics answers\n")
        if path == "/readyz":
            return self.ready()
        if path == "/":
            return plain(HTTPStatus.OK, PATHS)
        return plain(HTTPStatus.NOT_FOUND, f"there is nothing here, but:\n{PATHS}")

    def metrics(self, accept: str) -> Page:
        """Return the metrics; of a daemon that does not answer, that it is not up."""
        info = None
        with contextlib.suppress(KvdError):
            info = self.info_cache.info()
        return Page(HTTPStatus.OK, *exposition(info, accept))

    def ready(self) -> Page:
        """Return whether the daemon answers within a second and takes writes."""
        try:
            reason = self.info_cache.info()["server"]["read_only"]
        except KvdError as error:
            return plain(HTTPStatus.SERVICE_UNAVAILABLE, f"the daemon does not answer: {error}\n")
        if reason is not None:
            return plain(HTTPStatus.SERVICE_UNAVAILABLE, f"the daemon takes no writes: {reason}\n")
        return plain(HTTPStatus.OK, "the daemon answers and takes writes\n")


def plain(status: HTTPStatus, text: str) -> Page:
    """Return a page of plain text."""
    return Page(status, PLAIN, text.encode())


# HTTP


class Handler(BaseHTTPRequestHandler):
    """Answers GET and HEAD."""

    server: "MetricsServer"
    timeout = SILENT_S  # of who connects and says nothing
    server_version = "kvd"
    sys_version = ""

    def do_GET(self) -> None:  # the base class calls it so
        """Answer with the page of the path."""
        page = self.server.pages.page(self.path.partition("?")[0], self.headers.get("Accept", ""))
        self.send_response(page.status)
        self.send_header("Content-Type", page.kind)
        self.send_header("Content-Length", str(len(page.body)))
        self.end_headers()
        if self.command == "GET":
            self.wfile.write(page.body)

    do_HEAD = do_GET  # noqa: N815

    def log_message(self, *_: Any) -> None:
        """Say nothing of each look."""

    def address_string(self) -> str:
        """Return nothing: over a unix socket there is no address."""
        return ""


class MetricsServer(ThreadingHTTPServer):
    """An HTTP server of pages."""

    pages: Pages
    daemon_threads = True
    block_on_close = False

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Say nothing of who went away in the middle; anything else is told."""
        if not isinstance(sys.exception(), ConnectionError | TimeoutError):
            super().handle_error(request, client_address)


@contextlib.contextmanager
def listen_on(listen: str, *, is_insecure: bool) -> Iterator[MetricsServer]:
    """Lend a server that listens; raises BadConfiguration or InUse."""
    place = parse_address(listen)
    if not (place.is_local or is_insecure):
        raise BadConfiguration(
            f"{listen}: whoever reaches this address could look. Listen on 127.0.0.1 or unix:PATH, behind what asks "
            "who comes; or give --insecure"
        )
    server = MetricsServer(("", 0), Handler, bind_and_activate=False)
    server.socket.close()
    server.socket = bind(place)
    try:
        yield server
    finally:
        close_listeners([server.socket])


def listen_text(server: MetricsServer) -> str:
    """Return where a server listens, the port as it was given to it."""
    place = bound_address(server.socket)
    return f"http://{place}" if place.path is None else str(place)
