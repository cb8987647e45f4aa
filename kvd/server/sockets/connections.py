"""Counts the connections of the sockets by libzmq's monitor, and limits them.

libzmq accepts every connection. Without a free descriptor it ends the process (ipc) or spins (tcp). The daemon cannot
stop listening, because that would end the open connections as well. So a connection beyond the limit is ended by
shutting its descriptor down, which libzmq sees as a client that left.
"""

import contextlib
import logging
import resource
import socket
import struct
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import zmq

from kvd.commands.model import Milliseconds
from kvd.limits import CONNECTIONS_MAX

log = logging.getLogger("kvd")

# Both events have the descriptor; those of a handshake do not.
CONNECTED, DISCONNECTED = zmq.EVENT_ACCEPTED, zmq.EVENT_DISCONNECTED
EVENT = struct.Struct("=HI")
CREDENTIALS = struct.Struct("=iII")  # ucred: pid, uid, gid
EVENTS_PER_TURN_MAX = 1_000
REOPEN_SHARE = 0.9  # of the limit: avoids a log line for each connection around it


class Capacity:
    """The limit of connections over all sockets."""

    def __init__(self, limit: int) -> None:
        self.limit = limit
        self.sockets: list[Connections] = []
        self.refused = 0
        self.is_full = False

    @property
    def _in_use(self) -> int:
        return sum(connections.count for connections in self.sockets)

    def admit(self) -> bool:
        """Return whether the connections are within the limit. Counts refusals and logs the first."""
        if self._in_use <= self.limit:
            return True
        self.refused += 1
        if not self.is_full:
            self.is_full = True
            log.warning("event=connections_full limit=%d others are refused until some have left", self.limit)
        return False

    def check(self) -> None:
        """Log when connections are accepted again."""
        if self.is_full and self._in_use <= self.limit * REOPEN_SHARE:
            self.is_full = False
            log.info("event=connections_room refused=%d", self.refused)


class Peer(NamedTuple):
    """A connected client: over `tcp` with its address, or over `ipc` with its process and user.

    Empty or None is unknown: the client left at once, or is in another namespace. `since` in Unix ms. Its key is not
    known: libzmq reports keys with messages and handshakes, which have no descriptor.
    """

    transport: str
    address: str
    pid: int | None
    uid: int | None
    since: Milliseconds

    def __str__(self) -> str:
        """Return its form in the log."""
        return f"{self.transport}:{self.address or f'pid={self.pid},uid={self.uid}'}"


class Connections:
    """The connections of a socket that is not bound yet. Read `socket` when it is readable, or libzmq blocks."""

    def __init__(
        self,
        watched: zmq.Socket[Any],
        capacity: Capacity,
        now: Callable[[], Milliseconds] = lambda: 0,
        *,
        name: str = "commands",
    ) -> None:
        self.name = name
        self.socket: Any = watched.get_monitor_socket(CONNECTED | DISCONNECTED)
        self.peers: dict[int, Peer] = {}  # by descriptor
        self.now = now
        self.disconnected = 0  # connections ended although within the limit
        self.knows_all = False
        self.capacity = capacity
        capacity.sockets.append(self)

    @property
    def count(self) -> int:
        return len(self.peers)

    def take_events(self, events_max: int = EVENTS_PER_TURN_MAX) -> None:
        """Read connects and disconnects; end connections beyond the limit."""
        self.knows_all = False
        try:
            for _ in range(events_max):
                event, _endpoint = self.socket.recv_multipart(zmq.NOBLOCK)
                kind, descriptor = EVENT.unpack(event)
                if kind == DISCONNECTED:
                    if peer := self.peers.pop(descriptor, None):
                        log.debug("event=disconnected socket=%s peer=%s", self.name, str(peer))
                    continue
                peer = self.peers[descriptor] = peer_of(descriptor, self.now())
                log.debug("event=connected socket=%s peer=%s", self.name, str(peer))
                if not self.capacity.admit():
                    disconnect(descriptor)
        except zmq.Again:
            self.knows_all = True
        self.capacity.check()

    def disconnect_all(self) -> None:
        """End all connections: clients with rights connect again."""
        self.knows_all = False
        while not self.knows_all:
            self.take_events()
        self.disconnected += len(self.peers)
        for descriptor in self.peers:
            disconnect(descriptor)


def connections_max() -> int:
    """Return how many connections the descriptors of this process allow."""
    return min(CONNECTIONS_MAX, resource.getrlimit(resource.RLIMIT_NOFILE)[0] // 2)


def disconnect(descriptor: int) -> None:
    """End a connection of libzmq.

    It may have ended already, and its descriptor may be a file or another connection by now. A file is not affected,
    and a client connects again.
    """
    with contextlib.suppress(OSError), borrow_socket(descriptor) as connection:
        connection.shutdown(socket.SHUT_RDWR)


def peer_of(descriptor: int, since: Milliseconds) -> Peer:
    """Return the system's facts about a connection of libzmq. Takes 4 us, once for each connection."""
    with contextlib.suppress(OSError), borrow_socket(descriptor) as connection:
        name = connection.getpeername()
        if isinstance(name, tuple):
            host = f"[{name[0]}]" if ":" in name[0] else name[0]
            return Peer("tcp", f"{host}:{name[1]}", None, None, since)
        pid, uid, _gid = CREDENTIALS.unpack(
            connection.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, CREDENTIALS.size)
        )
        return Peer("ipc", "", pid or None, uid, since)
    return Peer("", "", None, None, since)


@contextlib.contextmanager
def borrow_socket(descriptor: int) -> Iterator[socket.socket]:
    """Yield a socket for a descriptor that libzmq owns and closes. Raises OSError if it is not a socket."""
    connection = socket.socket(socket.AF_INET, socket.SOCK_STREAM, fileno=descriptor)
    try:
        yield connection
    finally:
        connection.detach()
