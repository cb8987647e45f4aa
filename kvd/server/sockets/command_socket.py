"""The command socket: a ROUTER that serves REQ and DEALER clients alike. Frames in, frames out."""

from collections.abc import Sequence

import zmq

from kvd import wire
from kvd.errors import BadRequest
from kvd.limits import (
    BATCH_BYTES_MAX,
    BATCH_COMMANDS_MAX,
    ENVELOPE_FRAMES_MAX,
    FRAME_BYTES_MAX,
    HANDSHAKE_MS_MAX,
    HEARTBEAT_MS,
    REPLY_QUEUE_MAX,
    SILENT_CLIENT_MS,
)
from kvd.server.sockets.authenticator import ANY_KEYS, ZapAuthenticator
from kvd.server.sockets.frames import Request, frames_of

REQUEST_QUEUE_MAX = 256
KEEPALIVE_IDLE_S = 60
# Identity, envelope, the empty frame, the body; one more tells that there were too many.
FRAMES_MAX = ENVELOPE_FRAMES_MAX + 4

__all__ = ["CommandSocket", "Request"]


class CommandSocket:
    """Receives requests in batches and sends replies."""

    def __init__(self, context: zmq.Context[zmq.Socket[bytes]], doorkeeper: ZapAuthenticator | None = None) -> None:
        """With a doorkeeper, each request tells whose it is."""
        self.socket = context.socket(zmq.ROUTER)
        self.socket.set(zmq.LINGER, 0)
        # Without MANDATORY, a reply that has no room is dropped silently.
        self.socket.set(zmq.ROUTER_MANDATORY, 1)
        self.socket.set(zmq.SNDHWM, REPLY_QUEUE_MAX)
        self.socket.set(zmq.RCVHWM, REQUEST_QUEUE_MAX)
        self.socket.set(zmq.MAXMSGSIZE, FRAME_BYTES_MAX)
        # A client that awaits a reply takes three seconds of silence for the end: PING is part of the protocol. A
        # blocking client answers it only when it is used, so a silent one is given up much later.
        self.socket.set(zmq.HEARTBEAT_IVL, HEARTBEAT_MS)
        self.socket.set(zmq.HEARTBEAT_TIMEOUT, SILENT_CLIENT_MS)
        self.socket.set(zmq.BACKLOG, 512)
        self.socket.set(zmq.HANDSHAKE_IVL, HANDSHAKE_MS_MAX)
        self.socket.set(zmq.TCP_KEEPALIVE, 1)
        self.socket.set(zmq.TCP_KEEPALIVE_IDLE, KEEPALIVE_IDLE_S)
        if doorkeeper is not None:
            doorkeeper.secure(self.socket, ANY_KEYS)
        self.frames = frames_of(self.socket, tells_users=doorkeeper is not None)
        self.malformed = 0
        self.replies_dropped = 0

    def drain(self) -> list[Request]:
        """Return what has arrived, within the bounds of a batch."""
        requests, others = self.frames.receive(BATCH_COMMANDS_MAX, BATCH_BYTES_MAX, FRAMES_MAX)
        for frames in others:
            self._refuse(frames)
        return requests

    def _refuse(self, frames: list[bytes]) -> None:
        """Count a message that is no request; answer it if it is clear to whom."""
        self.malformed += 1
        at = frames.index(b"", 1) if b"" in frames[1:] else ENVELOPE_FRAMES_MAX + 2
        if at <= ENVELOPE_FRAMES_MAX + 1:
            error = BadRequest("after the empty frame comes the body, in one frame")
            self.reply(frames[: at + 1], wire.encode(wire.error_reply(error)))

    def send(self, requests: list[Request], replies: Sequence[bytes | None]) -> None:
        """Send replies; one whose client is gone or does not read is counted and dropped."""
        self.replies_dropped += self.frames.send(requests, replies)

    def reply(self, envelope: list[bytes], body: bytes) -> None:
        """Send one reply."""
        self.send([(envelope, b"")], [body])

    def is_begun(self, envelope: list[bytes]) -> bool:
        """Begin a reply, which `end` has to follow before anything else is sent; return whether its client is there."""
        self.socket.get(zmq.EVENTS)  # lets libzmq take in who has gone
        try:
            self.socket.send(envelope[0], zmq.SNDMORE | zmq.NOBLOCK)
        except zmq.ZMQError as error:
            if error.errno not in (zmq.EHOSTUNREACH, zmq.EAGAIN):
                raise
            self.replies_dropped += 1
            return False
        return True

    def end(self, envelope: list[bytes], body: bytes) -> None:
        """End a reply that was begun."""
        for frame in envelope[1:]:
            self.socket.send(frame, zmq.SNDMORE)
        self.socket.send(body)
