"""Listening sockets of a gateway: ADDRESS:PORT, unix:PATH, or sockets passed by systemd."""

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
    """A numeric address and a port, or the path of a unix socket."""

    host: str
    port: int
    path: Path | None

    @property
    def is_local(self) -> bool:
        """Return whether only this machine can connect."""
        return self.path is not None or ipaddress.ip_address(self.host).is_loopback

    def __str__(self) -> str:
        if self.path is not None:
            return f"{UNIX}{self.path}"
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"


class UnixSocket(socket.socket):
    """A unix socket that remembers its path: asyncio closes sockets, and a closed socket no longer knows its path."""

    path: Path
    file: tuple[int, ...]

    def own(self, path: Path) -> None:
        """Remember the file that bind() has created."""
        self.path, self.file = path, _file_at(path)

    def remove(self) -> None:
        """Remove the file, unless another program has replaced it."""
        with contextlib.suppress(FileNotFoundError):
            if _file_at(self.path) == self.file:
                self.path.unlink()


def _file_at(path: Path) -> tuple[int, ...]:
    """Return values that identify the file at a path. Raises OSError."""
    status = path.lstat()
    return status.st_dev, status.st_ino, status.st_mtime_ns


def parse_address(text: str) -> Address:
    """Parse the value of --listen. Raises BadConfiguration."""
    if text.startswith(UNIX):
        return Address("", 0, Path(text.removeprefix(UNIX)))
    host, _, port = text.rpartition(":")
    host = host.removeprefix("[").removesuffix("]")
    try:
        address = ipaddress.ip_address("127.0.0.1" if host == "localhost" else host)
        return Address(str(address), range(PORTS).index(int(port)), None)
    except ValueError:
        raise BadConfiguration(f"{text}: --listen takes ADDRESS:PORT, the address in digits, or unix:PATH") from None


def bind(address: Address) -> socket.socket:
    """Return a listening socket. Only its owner can connect to a unix socket (mode 0600). Raises InUse."""
    try:
        return _bind_unix(address.path) if address.path is not None else _bind_tcp(address)
    except OSError as error:
        raise InUse(f"cannot listen on {address}: {error.strerror or error}") from error


def _bind_tcp(address: Address) -> socket.socket:
    """Return a listening TCP socket. Raises OSError."""
    sock = socket.socket(socket.AF_INET6 if ":" in address.host else socket.AF_INET)
    try:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        sock.bind((address.host, address.port))
        sock.listen(BACKLOG)
    except OSError:
        sock.close()
        raise
    return sock


def _bind_unix(path: Path) -> socket.socket:
    """Return a listening unix socket; replaces a stale socket file. Raises InUse, OSError."""
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
    """Remove a unix socket that a killed process has left. Raises InUse if a process still accepts connections."""
    with contextlib.suppress(FileNotFoundError, ConnectionRefusedError), socket.socket(socket.AF_UNIX) as trial:
        trial.connect(str(path))
        raise InUse(f"{UNIX}{path} is in use by another program")
    if path.is_socket():
        path.unlink()


def bound_address(sock: socket.socket) -> Address:
    """Return a socket's address, with the port that the kernel has chosen for port 0."""
    name = sock.getsockname()
    return Address("", 0, Path(name)) if sock.family == socket.AF_UNIX else Address(name[0], name[1], None)


def open_listeners(listen: Sequence[str], default: str, check: Callable[[Address], None]) -> list[socket.socket]:
    """Return the sockets passed by systemd and those of --listen; without either, one at the default address.

    `check` is called with each address before it is bound, and may raise BadConfiguration. Raises InUse.
    """
    opened = [adopt_socket(name, fd) for name, fd in socket_descriptors()]
    addresses = [parse_address(text) for text in listen or ([] if opened else [default])]
    for address in addresses:
        check(address)
    try:
        for address in addresses:
            opened.append(bind(address))  # noqa: PERF401  # on an error the earlier ones are closed
    except InUse:
        close_listeners(opened)
        raise
    return opened


def close_listeners(sockets: Sequence[socket.socket]) -> None:
    """Close the sockets. Removes the files of unix sockets that this process bound, not of those passed by systemd."""
    for sock in sockets:
        if isinstance(sock, UnixSocket):
            sock.remove()
        sock.close()
