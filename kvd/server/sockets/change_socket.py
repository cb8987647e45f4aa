"""The change socket: an XPUB that publishes committed changes, and heartbeats so that watchers notice a silent loss."""

from collections.abc import Sequence

import zmq

from kvd import wire
from kvd.commands.model import Milliseconds, Row
from kvd.limits import HANDSHAKE_MS_MAX, HEARTBEAT_MS, KEY_BYTES_MAX, PUBLISH_QUEUE_MAX
from kvd.server.sockets.authenticator import ALL_KEYS, ZapAuthenticator
from kvd.server.sockets.frames import frames_of

NOBLOCK, MORE = int(zmq.NOBLOCK), int(zmq.SNDMORE)
SUBSCRIPTIONS_PER_TURN_MAX = 1_000
# The k before a key, ZMTP's word SUBSCRIBE (10 bytes), and CURVE's overhead for a message (33).
TOPIC_BYTES_MAX = KEY_BYTES_MAX + 64


class ChangeSocket:
    """Publishes changes in order to all subscribers; a subscriber that does not read loses some."""

    def __init__(self, context: zmq.Context[zmq.Socket[bytes]], authenticator: ZapAuthenticator | None = None) -> None:
        """With an authenticator, only clients that may read all keys can connect.

        XPUB_MANUAL would allow a decision on each subscription. But it is unsafe against accepted clients: any message
        that is not a subscription makes libzmq (4.3.5) apply the next ones to another client's connection.
        """
        self.socket = context.socket(zmq.XPUB)
        self.socket.set(zmq.LINGER, 0)
        # Reports repeated subscriptions, so that each gets a heartbeat, and the last unsubscription. (VERBOSER reports
        # each unsubscription, but not one for each repeat: a count of them would drift.)
        self.socket.set(zmq.XPUB_VERBOSE, 1)
        self.socket.set(zmq.SNDHWM, PUBLISH_QUEUE_MAX)
        self.socket.set(zmq.MAXMSGSIZE, TOPIC_BYTES_MAX)
        self.socket.set(zmq.BACKLOG, 512)
        self.socket.set(zmq.HANDSHAKE_IVL, HANDSHAKE_MS_MAX)
        if authenticator is not None:
            authenticator.secure(self.socket, ALL_KEYS)
        self.frames = frames_of(self.socket)
        self.topics: set[bytes] = set()
        self.published = 0
        self.next_heartbeat: Milliseconds = 0

    def take_subscriptions(self, revision: int, now: Milliseconds) -> None:
        """Read subscriptions; a new subscription to the control topic gets a heartbeat at once."""
        beat = False
        for _ in range(SUBSCRIPTIONS_PER_TURN_MAX):
            try:
                message = self.socket.recv(NOBLOCK)
            except zmq.Again:
                break
            topic = message[1:]
            if message[:1] == b"\x01":
                self.topics.add(topic)
                beat |= topic == wire.CONTROL_TOPIC
            elif message[:1] == b"\x00":
                self.topics.discard(topic)
        if beat:
            self._send_heartbeat(revision, now)

    def _send_heartbeat(self, revision: int, now: Milliseconds) -> None:
        """Announce that all changes up to the revision have been published."""
        self.send_control(wire.heartbeat(revision, now))

    def tick(self, revision: int, now: Milliseconds) -> None:
        """Send a heartbeat when it is due."""
        if now >= self.next_heartbeat or self.next_heartbeat - now > HEARTBEAT_MS:
            self.next_heartbeat = now + HEARTBEAT_MS
            self._send_heartbeat(revision, now)

    def send_control(self, body: bytes) -> None:
        """Send a control message."""
        if self.topics:
            self.socket.send(wire.CONTROL_TOPIC, MORE | NOBLOCK)
            self.socket.send(body, NOBLOCK)

    def publish(self, rows: Sequence[Row]) -> None:
        """Publish committed changes. Without subscribers it costs nothing, not even the encoding."""
        if not self.topics:
            return
        self.frames.publish(*wire.encode_changes(rows))
        self.published += len(rows)
