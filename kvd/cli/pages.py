"""What `kvd metrics` tells over HTTP, and the HTTP itself."""

import contextlib
import ipaddress
import os
import socket
import socketserver
import sys
import threading
from collections.abc import Iterator
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, NamedTuple

from prometheus_client.exposition import choose_encoder

from kvd.client import Client
from kvd.client.keys import Keys
from kvd.errors import BadConfiguration, InUse, KvdError
from kvd.gateways.measures import Measured

ANSWER_S = 1.0
SILENT_S = 5.0
PORTS = 2**16
PLAIN = "text/plain; charset=utf-8"
PATHS = """\
/metrics  for Prometheus
/livez    whether this process answers
/readyz   whether the daemon answers and takes writes
"""

# What is told


class Look:
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

    def __init__(self, look: Look) -> None:
        self.look = look

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
            info = self.look.info()
        encode, kind = choose_encoder(accept)
        return Page(HTTPStatus.OK, kind, encode(Measured(info)))

    def ready(self) -> Page:
        """Return whether the daemon answers within a second and takes writes."""
        try:
            reason = self.look.info()["server"]["read_only"]
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

    server: "Serving"
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


class Serving(ThreadingHTTPServer):
    """An HTTP server of pages."""

    pages: Pages
    daemon_threads = True
    block_on_close = False

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Say nothing of who went away in the middle; anything else is told."""
        if not isinstance(sys.exception(), ConnectionError | TimeoutError):
            super().handle_error(request, client_address)


class UnixServing(Serving):
    """The same over a unix socket."""

    address_family = socket.AF_UNIX

    def server_bind(self) -> None:
        """Bind, without asking for the name of a host."""
        socketserver.TCPServer.server_bind(self)


class Serving6(Serving):
    """The same over IPv6."""

    address_family = socket.AF_INET6


@contextlib.contextmanager
def listening(listen: str, *, is_insecure: bool) -> Iterator[Serving]:
    """Lend a server that listens; raises BadConfiguration or InUse."""
    path = Path(listen.removeprefix("unix:")) if listen.startswith("unix:") else None
    try:
        server = serving(listen, is_insecure=is_insecure) if path is None else serving_unix(path)
    except OSError as error:
        raise InUse(f"cannot listen on {listen}: {error.strerror or error}") from error
    try:
        yield server
    finally:
        server.server_close()
        if path is not None:
            path.unlink(missing_ok=True)


def serving(listen: str, *, is_insecure: bool) -> Serving:
    """Return a server at ADDRESS:PORT. Raises BadConfiguration, OSError."""
    host, _, port = listen.rpartition(":")
    host = host.removeprefix("[").removesuffix("]")
    try:
        address = ipaddress.ip_address("127.0.0.1" if host == "localhost" else host)
        number = range(PORTS).index(int(port))
    except ValueError:
        raise BadConfiguration(f"{listen}: --listen takes ADDRESS:PORT, the address in digits, or unix:PATH") from None
    if not address.is_loopback and not is_insecure:
        raise BadConfiguration(
            f"{listen}: whoever reaches this address could look. Listen on 127.0.0.1 or unix:PATH, behind what asks "
            "who comes; or give --insecure"
        )
    kind = Serving if address.version == 4 else Serving6  # noqa: PLR2004
    return kind((str(address), number), Handler)


def serving_unix(path: Path) -> Serving:
    """Return a server at a unix socket, for its owner alone. Raises InUse, OSError."""
    with contextlib.suppress(FileNotFoundError, ConnectionRefusedError), socket.socket(socket.AF_UNIX) as trial:
        trial.connect(str(path))
        raise InUse(f"unix:{path} is in use by another program")
    if path.is_socket():
        path.unlink()  # left behind by one that was killed
    before = os.umask(0o177)
    try:
        return UnixServing(str(path), Handler)  # type: ignore[arg-type]  # for a unix socket the address is a path
    finally:
        os.umask(before)


def listen_text(server: Serving) -> str:
    """Return where a server listens, the port as it was given to it."""
    address: Any = server.server_address
    if server.address_family == socket.AF_UNIX:
        return f"unix:{address}"
    host = f"[{address[0]}]" if ":" in address[0] else address[0]
    return f"http://{host}:{address[1]}"
