"""The pages of `kvd metrics`, and their HTTP server."""

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

# Pages


class InfoReader:
    """Reads INFO from a daemon, one request at a time, each over a new connection: no request waits for a stale one."""

    def __init__(self, url: str, keys: Keys | None) -> None:
        self.url = url
        self.keys = keys
        self._lock = threading.Lock()

    def info(self) -> dict[str, dict[str, Any]]:
        """Return INFO. Raises KvdError when it does not arrive within a second."""
        with self._lock, Client(self.url, timeout=ANSWER_S, keys=self.keys) as client:
            return client.info()


class Page(NamedTuple):
    """An HTTP response."""

    status: HTTPStatus
    kind: str
    body: bytes


class Pages:
    """The response for each path."""

    def __init__(self, reader: InfoReader) -> None:
        self._reader = reader

    def page(self, path: str, accept: str) -> Page:
        """Return the response for a path, in a format that the client accepts."""
        if path == "/metrics":
            return self._metrics(accept)
        if path == "/livez":
            return plain(HTTPStatus.OK, "kvd metrics answers\n")
        if path == "/readyz":
            return self._readiness()
        if path == "/":
            return plain(HTTPStatus.OK, PATHS)
        return plain(HTTPStatus.NOT_FOUND, f"there is no such page; the pages are:\n{PATHS}")

    def _metrics(self, accept: str) -> Page:
        """Return the metrics; without an answer of the daemon, report that it is down."""
        info = None
        with contextlib.suppress(KvdError):
            info = self._reader.info()
        return Page(HTTPStatus.OK, *exposition(info, accept))

    def _readiness(self) -> Page:
        """Return whether the daemon answers within a second and takes writes."""
        try:
            reason = self._reader.info()["server"]["read_only"]
        except KvdError as error:
            return plain(HTTPStatus.SERVICE_UNAVAILABLE, f"the daemon does not answer: {error}\n")
        if reason is not None:
            return plain(HTTPStatus.SERVICE_UNAVAILABLE, f"the daemon takes no writes: {reason}\n")
        return plain(HTTPStatus.OK, "the daemon answers and takes writes\n")


def plain(status: HTTPStatus, text: str) -> Page:
    return Page(status, PLAIN, text.encode())


# HTTP


class Handler(BaseHTTPRequestHandler):
    """Answers GET and HEAD."""

    server: "MetricsServer"
    timeout = SILENT_S  # for a client that connects and sends nothing
    server_version = "kvd"
    sys_version = ""

    def do_GET(self) -> None:  # the name that the base class calls
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
        """Log no requests."""

    def address_string(self) -> str:
        """Return an empty text: a unix socket has no address."""
        return ""


class MetricsServer(ThreadingHTTPServer):
    """An HTTP server for the pages."""

    daemon_threads = True
    block_on_close = False

    def __init__(self, pages: Pages) -> None:
        super().__init__(("", 0), Handler, bind_and_activate=False)
        self.pages = pages

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Ignore clients that disconnect; report any other error."""
        if not isinstance(sys.exception(), ConnectionError | TimeoutError):
            super().handle_error(request, client_address)


@contextlib.contextmanager
def listen_on(listen: str, pages: Pages, *, is_insecure: bool) -> Iterator[MetricsServer]:
    """Yield a server that listens. Raises BadConfiguration, InUse."""
    place = parse_address(listen)
    if not (place.is_local or is_insecure):
        raise BadConfiguration(
            f"{listen}: everybody who reaches this address could read the metrics. Listen on 127.0.0.1 or unix:PATH, "
            "behind a proxy that authenticates; or give --insecure"
        )
    server = MetricsServer(pages)
    server.socket.close()
    server.socket = bind(place)
    try:
        yield server
    finally:
        close_listeners([server.socket])


def listen_text(server: MetricsServer) -> str:
    """Return the server's address, with the actual port."""
    place = bound_address(server.socket)
    return f"http://{place}" if place.path is None else str(place)
