"""How many peers the sockets have, as libzmq's monitor tells it, and no more than there is room for.

libzmq accepts whoever comes, and without a descriptor left it ends the process (ipc) or runs in circles (tcp).
To stop listening is no way: it ends the connections that stand as well. So one too many is cut by shutting its
descriptor down, which libzmq takes for a peer that has gone.
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

# Both tell the descriptor; the event of a handshake's end does not.
COME, GONE = zmq.EVENT_ACCEPTED, zmq.EVENT_DISCONNECTED
EVENT = struct.Struct("=HI")
CREDENTIALS = struct.Struct("=iII")  # ucred: pid, uid, gid
EVENTS_PER_TURN_MAX = 1_000
ROOM_AGAIN = 0.9  # of the bound: or it would be told at each that comes and goes


class Capacity:
    """How many connections there may be, over all sockets."""

    def __init__(self, limit: int) -> None:
        self.limit = limit
        self.sockets: list[Connections] = []
        self.refused = 0
        self.is_full = False

    @property
    def _in_use(self) -> int:
        """Return how many there are."""
        return sum(connections.count for connections in self.sockets)

    def has(self) -> bool:
        """Return whether there is room for those who are there; log when it becomes too small, and counts who goes."""
        if self._in_use <= self.limit:
            return True
        self.refused += 1
        if not self.is_full:
            self.is_full = True
            log.warning("event=connections_full limit=%d others are refused until some have gone", self.limit)
        return False

    def check(self) -> None:
        """Log when there is room again."""
        if self.is_full and self._in_use <= self.limit * ROOM_AGAIN:
            self.is_full = False
            log.info("event=connections_room refused=%d", self.refused)


class Peer(NamedTuple):
    """One that is connected: over `tcp`, with its address, or over `ipc`, with its process and user.

    Empty or None is what the system did not tell: whoever has gone again, or is in another namespace. `since` in Unix
    ms. Whose key it came with cannot be told: libzmq tells that of messages and handshakes, and these without the
    descriptor.
    """

    transport: str
    address: str
    pid: int | None
    uid: int | None
    since: Milliseconds

    def __str__(self) -> str:
        """Return it as the log tells it."""
        return f"{self.transport}:{self.address or f'pid={self.pid},uid={self.uid}'}"


class Connections:
    """The peers of a socket not bound yet. Its own socket has to be read when it is readable, or libzmq waits."""

    def __init__(
        self,
        watched: zmq.Socket[Any],
        capacity: Capacity,
        now: Callable[[], Milliseconds] = lambda: 0,
        *,
        name: str = "commands",
    ) -> None:
        self.name = name
        self.socket: Any = watched.get_monitor_socket(COME | GONE)
        self.peers: dict[int, Peer] = {}  # by descriptor
        self.now = now
        self.disconnected = 0  # how many were ended that might have stayed
        self.knows_all = False
        self.capacity = capacity
        capacity.sockets.append(self)

    @property
    def count(self) -> int:
        """Return how many there are."""
        return len(self.peers)

    def take_events(self, events_max: int = EVENTS_PER_TURN_MAX) -> None:
        """Take note of who came and went; end those there is no room for."""
        self.knows_all = False
        try:
            for _ in range(events_max):
                event, _endpoint = self.socket.recv_multipart(zmq.NOBLOCK)
                kind, descriptor = EVENT.unpack(event)
                if kind == GONE:
                    if peer := self.peers.pop(descriptor, None):
                        log.debug("event=disconnected socket=%s peer=%s", self.name, str(peer))
                    continue
                peer = self.peers[descriptor] = peer_of(descriptor, self.now())
                log.debug("event=connected socket=%s peer=%s", self.name, str(peer))
                if not self.capacity.has():
                    disconnect(descriptor)
        except zmq.Again:
            self.knows_all = True
        self.capacity.check()

    def disconnect_all(self) -> None:
        """End all connections: whoever still may will connect again."""
        self.knows_all = False
        while not self.knows_all:
            self.take_events()
        self.disconnected += len(self.peers)
        for descriptor in self.peers:
            disconnect(descriptor)


def connections_max() -> int:
    """Return how many connections this process has room for."""
    return min(CONNECTIONS_MAX, resource.getrlimit(resource.RLIMIT_NOFILE)[0] // 2)


def disconnect(descriptor: int) -> None:
    """End a connection that libzmq holds.

    It may have ended by itself, and the number be that of a file or of another connection: nothing
    happens to the one, and the other one connects again.
    """
    with contextlib.suppress(OSError), borrow_socket(descriptor) as connection:
        connection.shutdown(socket.SHUT_RDWR)


def peer_of(descriptor: int, since: Milliseconds) -> Peer:
    """Return what the system tells of a connection that libzmq holds. It takes 4 us, once for each connection."""
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
    """Lend a socket of a descriptor that is not ours to close. Raises OSError if it is no socket."""
    connection = socket.socket(socket.AF_INET, socket.SOCK_STREAM, fileno=descriptor)
    try:
        yield connection
    finally:
        connection.detach()
