"""Binds endpoints safely, or adopts the sockets that systemd has bound.

libzmq unlinks a live unix socket when it binds the same path, so a lock and a trial connection come first.
"""

import fcntl
import grp
import ipaddress
import os
import socket
import stat
from collections.abc import Iterator, MutableMapping, Sequence
from pathlib import Path
from typing import NamedTuple
from urllib.parse import urlsplit

import zmq

from kvd.errors import BadConfiguration, InUse
from kvd.systemd import adopt_socket, socket_descriptors

UNIX_PATH_BYTES_MAX = 107
CHANGES = "changes"  # prefix of the names (FileDescriptorName=) of sockets for changes; the others are for commands


class PassedSocket(NamedTuple):
    """A listening socket that systemd has bound: its name, its descriptor, its endpoint."""

    name: str
    fd: int
    endpoint: str

    @property
    def is_for_changes(self) -> bool:
        return self.name.startswith(CHANGES)


def _socket_path(endpoint: str) -> Path:
    """Return the path of a unix socket, also if the locale's encoding lacks its characters."""
    return Path(os.fsdecode(endpoint.removeprefix("ipc://").encode()))


class BoundEndpoint:
    """An endpoint that this process has bound, until `close`."""

    def __init__(
        self, sock: zmq.Socket[bytes], endpoint: str, *, has_keys: bool = False, group: str | None = None
    ) -> None:
        """Bind; raises BadConfiguration or InUse. Without keys, only addresses of this machine are allowed.

        A unix socket may be used by its owner, or by a group as well.
        """
        self.sock = sock
        self.group = _group_id(group)
        self.lock_fd: int | None = None
        self.endpoint = ""
        if endpoint.startswith("ipc://"):
            self.lock_fd = self._prepare_ipc(_socket_path(endpoint))
        else:
            _check_tcp(endpoint, has_keys=has_keys)
            _check_netlink()
        self.bind(endpoint)
        if self.group is not None and self.lock_fd is not None:
            _share(_socket_path(endpoint), self.group, 0o660)
        self.endpoint = sock.getsockopt_string(zmq.LAST_ENDPOINT)

    def bind(self, endpoint: str) -> None:
        """Bind with a umask that gives a unix socket the mode 0600."""
        before = os.umask(0o177)
        try:
            self.sock.setsockopt(zmq.IPV6, int("[" in endpoint))
            self.sock.bind(endpoint)
        except zmq.ZMQError as error:
            self.close()
            if error.errno == zmq.EADDRINUSE:
                raise InUse(f"{endpoint} is in use by another program: is a kvd running already?") from error
            raise BadConfiguration(f"cannot bind {endpoint}: {error.strerror}") from error
        finally:
            os.umask(before)

    def _prepare_ipc(self, path: Path) -> int:
        """Lock the path of a unix socket, check that no program listens there; return the lock's descriptor."""
        if len(os.fsencode(path)) > UNIX_PATH_BYTES_MAX or not path.name:
            raise BadConfiguration(f"ipc://{path}: the path of a unix socket has 1 to {UNIX_PATH_BYTES_MAX} bytes")
        try:
            _make_directory(path.parent, self.group)
            fd = os.open(f"{path}.lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        except OSError as error:
            raise BadConfiguration(f"cannot use ipc://{path}: {error.strerror}") from error
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
            _check_stale(path)
        except OSError as error:
            os.close(fd)
            raise InUse(f"ipc://{path} is in use by another kvd") from error
        except (InUse, BadConfiguration):
            os.close(fd)
            raise
        return fd

    def close(self) -> None:
        """Release the path of a unix socket, after the socket itself is closed."""
        if self.lock_fd is not None:
            if self.endpoint:
                _socket_path(self.endpoint).unlink(missing_ok=True)
            os.close(self.lock_fd)
            self.lock_fd = None


class AdoptedEndpoint:
    """An endpoint that systemd has bound and keeps: clients that connect during a restart are answered after it."""

    def __init__(self, sock: zmq.Socket[bytes], given: PassedSocket, *, has_keys: bool) -> None:
        """Listen on it; raises BadConfiguration."""
        if given.endpoint.startswith("tcp:"):
            _check_tcp(given.endpoint, has_keys=has_keys)
        sock.setsockopt(zmq.USE_FD, given.fd)
        try:
            sock.bind(given.endpoint)
        except zmq.ZMQError as error:
            raise BadConfiguration(
                f"cannot use the socket {given.name} that systemd passed: {error.strerror}"
            ) from error
        finally:
            sock.setsockopt(zmq.USE_FD, -1)
        self.endpoint = given.endpoint

    def close(self) -> None:
        """Do nothing: systemd keeps the socket."""


class Endpoints(NamedTuple):
    """The endpoints of a server: those to bind, the sockets passed by systemd, and the group that may use ipc."""

    listen: Sequence[str]
    publish: Sequence[str]
    passed: Sequence[PassedSocket] = ()
    group: str | None = None

    def bind(
        self, sock: zmq.Socket[bytes], *, is_for_changes: bool, has_keys: bool
    ) -> Iterator["BoundEndpoint | AdoptedEndpoint"]:
        """Bind the endpoints of a socket, and yield each; raises BadConfiguration or InUse."""
        for given in self.passed:
            if given.is_for_changes == is_for_changes:
                yield AdoptedEndpoint(sock, given, has_keys=has_keys)
        for endpoint in self.publish if is_for_changes else self.listen:
            yield BoundEndpoint(sock, endpoint, has_keys=has_keys, group=self.group)


def _group_id(name: str | None) -> int | None:
    """Return the id of a group; raises BadConfiguration."""
    try:
        return None if name is None else grp.getgrnam(name).gr_gid
    except KeyError:
        raise BadConfiguration(f"no group {name} exists: groupadd --system {name}") from None


def _make_directory(directory: Path, group: int | None) -> None:
    """Create the directory of a unix socket if it is missing, for its owner or a group. Raises OSError."""
    if not directory.exists():
        directory.mkdir(mode=0o700, parents=True)
        if group is not None:
            _share(directory, group, 0o710)


def _share(path: Path, group: int, mode: int) -> None:
    """Give a path to a group; raises BadConfiguration."""
    try:
        os.chown(path, -1, group)
        path.chmod(mode)
    except OSError as error:
        raise BadConfiguration(f"cannot give {path} to the group: {error.strerror}; is kvd's user in it?") from error


def _check_stale(path: Path) -> None:
    """Raise InUse when a program answers at a unix socket, BadConfiguration when the path is not a socket."""
    try:
        if not stat.S_ISSOCK(path.lstat().st_mode):
            raise BadConfiguration(f"ipc://{path}: this file is not a socket: move it away")
    except FileNotFoundError:
        return
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as trial:
        try:
            trial.connect(str(path))
        except ConnectionRefusedError:
            return  # a killed daemon left it; libzmq unlinks it
    raise InUse(f"ipc://{path} is in use by another program")


def sockets_from(environment: MutableMapping[str, str] = os.environ) -> list[PassedSocket]:
    """Return the sockets that systemd passed; raises BadConfiguration if one cannot be used by ZeroMQ."""
    return [_describe_socket(name, fd) for name, fd in socket_descriptors(environment)]


def _describe_socket(name: str, fd: int) -> PassedSocket:
    """Return the facts of a descriptor; raises BadConfiguration."""
    with adopt_socket(name, fd) as sock:
        return PassedSocket(name, fd, _endpoint_of(sock))


def _endpoint_of(sock: socket.socket) -> str:
    """Return the ZeroMQ endpoint of a listening socket."""
    if sock.family == socket.AF_UNIX:
        return f"ipc://{sock.getsockname()}"
    host, port = sock.getsockname()[:2]
    return f"tcp://[{host}]:{port}" if sock.family == socket.AF_INET6 else f"tcp://{host}:{port}"


def _check_netlink() -> None:
    """Raise BadConfiguration if AF_NETLINK is refused: libzmq would end the process."""
    try:
        socket.socket(socket.AF_NETLINK, socket.SOCK_RAW).close()
    except OSError as error:
        raise BadConfiguration(
            f"the daemon cannot listen on TCP, because AF_NETLINK is refused ({error.strerror}): let systemd "
            "pass the socket (kvd-tcp.socket), or give the service "
            "RestrictAddressFamilies=AF_UNIX AF_INET AF_INET6 AF_NETLINK"
        ) from error


def _check_tcp(endpoint: str, *, has_keys: bool) -> None:
    """Raise BadConfiguration unless the endpoint is TCP, and on this machine if clients have no keys."""
    parts = urlsplit(endpoint)
    if parts.scheme != "tcp" or ":" not in endpoint.removeprefix("tcp://"):
        raise BadConfiguration(f"{endpoint}: an endpoint is tcp://ADDRESS:PORT or ipc://PATH")
    if has_keys:
        return
    host = parts.hostname or ""
    try:
        is_loopback = host == "localhost" or ipaddress.ip_address(host).is_loopback
    except ValueError:
        is_loopback = False
    if not is_loopback:
        raise BadConfiguration(
            f"{endpoint}: any program that reaches this address could read and write everything. Make keys with "
            "`kvd keygen daemon` and `kvd keygen NAME` for each client, put its output into a file access.toml, "
            "and run: "
            f"kvd serve --key daemon.key_secret --access access.toml --listen {endpoint} (with your other options)"
        )
