"""How many peers a socket has, as libzmq's monitor tells it."""

import struct
from typing import Any

import zmq

# Both tell the descriptor; the event of a handshake's end does not.
COME, GONE = zmq.EVENT_ACCEPTED, zmq.EVENT_DISCONNECTED
EVENT = struct.Struct("=HI")
EVENTS_PER_TURN_MAX = 1_000


class Connections:
    """The peers of a bound socket. Its own socket has to be read when it is readable, or libzmq's I/O thread waits."""

    def __init__(self, watched: zmq.Socket[Any]) -> None:
        self.socket: Any = watched.get_monitor_socket(COME | GONE)
        self.peers: set[int] = set()  # descriptors

    @property
    def count(self) -> int:
        """Return how many there are."""
        return len(self.peers)

    def take_events(self) -> None:
        """Take note of who came and went."""
        try:
            for _ in range(EVENTS_PER_TURN_MAX):
                event, _endpoint = self.socket.recv_multipart(zmq.NOBLOCK)
                kind, descriptor = EVENT.unpack(event)
                (self.peers.add if kind == COME else self.peers.discard)(descriptor)
        except zmq.Again:
            pass
