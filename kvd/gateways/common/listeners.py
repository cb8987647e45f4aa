"""Where a gateway listens: ADDRESS:PORT, unix:PATH, or the sockets that systemd passed."""

import contextlib
import ipaddress
import os
import socket
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NamedTuple

from kvd.errors import BadConfiguration, InUse
from kvd.systemd import adopt_socket, socket_descriptors

UNIX = "unix:"
PORTS = 2**16
BACKLOG = 1024


class Address(NamedTuple):
    """An address in digits and a port, or the path of a unix socket."""

    host: str
    port: int
    path: Path | None

    @property
    def is_local(self) -> bool:
        """Return whether only this machine reaches it."""
        return self.path is not None or ipaddress.ip_address(self.host).is_loopback

    def __str__(self) -> str:
        if self.path is not None:
            return f"{UNIX}{self.path}"
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"


class UnixSocket(socket.socket):
    """One that we bound: asyncio closes sockets by itself, and a closed one does not know its path any more."""

    path: Path
    file: tuple[int, ...]

    def own(self, path: Path) -> None:
        """Keep in mind which file is ours."""
        self.path, self.file = path, _file_at(path)

    def remove(self) -> None:
        """Remove our file, unless it is gone, or another has taken the place since."""
        with contextlib.suppress(FileNotFoundError):
            if _file_at(self.path) == self.file:
                self.path.unlink()


def _file_at(path: Path) -> tuple[int, ...]:
    """Return what tells a file from others that had or will have its path. Raises OSError."""
    found = path.lstat()
    return found.st_dev, found.st_ino, found.st_mtime_ns


def parse_address(text: str) -> Address:
    """Return the place that an option names; raises BadConfiguration."""
    if text.startswith(UNIX):
        return Address("", 0, Path(text.removeprefix(UNIX)))
    host, _, port = text.rpartition(":")
    host = host.removeprefix("[").removesuffix("]")
    try:
        address = ipaddress.ip_address("127.0.0.1" if host == "localhost" else host)
        return Address(str(address), range(PORTS).index(int(port)), None)
    except ValueError:
        raise BadConfiguration(f"{text}: --listen takes ADDRESS:PORT, the address in digits, or unix:PATH") from None


def bind(place: Address) -> socket.socket:
    """Return a socket that listens. A unix socket is its owner's alone. Raises InUse."""
    try:
        return _bind_unix(place.path) if place.path is not None else _bind_tcp(place)
    except OSError as error:
        raise InUse(f"cannot listen on {place}: {error.strerror or error}") from error


def _bind_tcp(place: Address) -> socket.socket:
    """Return a TCP socket that listens. Raises OSError."""
    sock = socket.socket(socket.AF_INET6 if ":" in place.host else socket.AF_INET)
    try:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        sock.bind((place.host, place.port))
        sock.listen(BACKLOG)
    except OSError:
        sock.close()
        raise
    return sock


def _bind_unix(path: Path) -> socket.socket:
    """Return a unix socket that listens, in the place of one that nobody answers at. Raises InUse, OSError."""
    _remove_stale_socket(path)
    sock = UnixSocket(socket.AF_UNIX)
    before = os.umask(0o177)
    try:
        sock.bind(str(path))
        sock.own(path)
        sock.listen(BACKLOG)
    except OSError:
        sock.close()
        raise
    finally:
        os.umask(before)
    return sock


def _remove_stale_socket(path: Path) -> None:
    """Remove the unix socket of one that was killed. Raises InUse."""
    with contextlib.suppress(FileNotFoundError, ConnectionRefusedError), socket.socket(socket.AF_UNIX) as trial:
        trial.connect(str(path))
        raise InUse(f"{UNIX}{path} is in use by another program")
    if path.is_socket():
        path.unlink()


def bound_address(sock: socket.socket) -> Address:
    """Return where a socket listens, the port as it was given to it."""
    name = sock.getsockname()
    return Address("", 0, Path(name)) if sock.family == socket.AF_UNIX else Address(name[0], name[1], None)


def open_listeners(listen: Sequence[str], default: str, check: Callable[[Address], None]) -> list[socket.socket]:
    """Return the sockets to serve at: those passed by systemd besides those named; the default when there is neither.

    Each that we bind is checked first, which may raise BadConfiguration. Raises InUse.
    """
    opened = [adopt_socket(name, fd) for name, fd in socket_descriptors()]
    places = [parse_address(text) for text in listen or ([] if opened else [default])]
    for place in places:
        check(place)
    try:
        for place in places:
            opened.append(bind(place))  # noqa: PERF401  # those before one that fails are to be closed
    except InUse:
        close_listeners(opened)
        raise
    return opened


def close_listeners(sockets: Sequence[socket.socket]) -> None:
    """Close them; the files of those that we bound are removed, not of those that systemd passed."""
    for sock in sockets:
        if isinstance(sock, UnixSocket):
            sock.remove()
        sock.close()
