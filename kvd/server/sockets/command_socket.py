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
# Identity, envelope, the empty frame, the body; one more frame means that the message has too many.
FRAMES_MAX = ENVELOPE_FRAMES_MAX + 4

__all__ = ["CommandSocket", "Request"]


class CommandSocket:
    """Receives requests in batches and sends replies."""

    def __init__(self, context: zmq.Context[zmq.Socket[bytes]], authenticator: ZapAuthenticator | None = None) -> None:
        """With an authenticator, each request has its client's public key."""
        self.socket = context.socket(zmq.ROUTER)
        self.socket.set(zmq.LINGER, 0)
        # Without MANDATORY, a reply to a full queue is dropped silently.
        self.socket.set(zmq.ROUTER_MANDATORY, 1)
        self.socket.set(zmq.SNDHWM, REPLY_QUEUE_MAX)
        self.socket.set(zmq.RCVHWM, REQUEST_QUEUE_MAX)
        self.socket.set(zmq.MAXMSGSIZE, FRAME_BYTES_MAX)
        # ZMTP heartbeats: a client that awaits a reply gives up after three seconds of silence. A blocking client
        # answers them only while it is in use, so the daemon drops a silent client much later.
        self.socket.set(zmq.HEARTBEAT_IVL, HEARTBEAT_MS)
        self.socket.set(zmq.HEARTBEAT_TIMEOUT, SILENT_CLIENT_MS)
        self.socket.set(zmq.BACKLOG, 512)
        self.socket.set(zmq.HANDSHAKE_IVL, HANDSHAKE_MS_MAX)
        self.socket.set(zmq.TCP_KEEPALIVE, 1)
        self.socket.set(zmq.TCP_KEEPALIVE_IDLE, KEEPALIVE_IDLE_S)
        if authenticator is not None:
            authenticator.secure(self.socket, ANY_KEYS)
        self.frames = frames_of(self.socket, with_users=authenticator is not None)
        self.malformed = 0
        self.replies_dropped = 0

    def drain(self) -> list[Request]:
        """Return the requests that have arrived, within the limits of a batch."""
        requests, others = self.frames.receive(BATCH_COMMANDS_MAX, BATCH_BYTES_MAX, FRAMES_MAX)
        for frames in others:
            self._refuse(frames)
        return requests

    def _refuse(self, frames: list[bytes]) -> None:
        """Count a malformed message; send an error if its envelope is valid."""
        self.malformed += 1
        at = frames.index(b"", 1) if b"" in frames[1:] else ENVELOPE_FRAMES_MAX + 2
        if at <= ENVELOPE_FRAMES_MAX + 1:
            error = BadRequest("the body has to follow the empty frame, in one frame")
            self.reply(frames[: at + 1], wire.encode(wire.error_reply(error)))

    def send(self, requests: list[Request], replies: Sequence[bytes | None]) -> None:
        """Send replies; one to a client that has left or does not read is counted and dropped."""
        self.replies_dropped += self.frames.send(requests, replies)

    def reply(self, envelope: list[bytes], body: bytes) -> None:
        self.send([(envelope, b"")], [body])

    def begin_reply(self, envelope: list[bytes]) -> bool:
        """Begin a reply that `end_reply` must complete before other sends. Return whether the client is connected."""
        self.socket.get(zmq.EVENTS)  # makes libzmq process disconnections
        try:
            self.socket.send(envelope[0], zmq.SNDMORE | zmq.NOBLOCK)
        except zmq.ZMQError as error:
            if error.errno not in (zmq.EHOSTUNREACH, zmq.EAGAIN):
                raise
            self.replies_dropped += 1
            return False
        return True

    def end_reply(self, envelope: list[bytes], body: bytes) -> None:
        """Send the rest of a reply that `begin_reply` began."""
        for frame in envelope[1:]:
            self.socket.send(frame, zmq.SNDMORE)
        self.socket.send(body)
