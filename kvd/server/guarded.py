"""The changes socket where clients have keys: who subscribes to what is decided here, not by libzmq.

XPUB_MANUAL hands each subscription to us, with the key of who sent it, and does nothing by itself. Its
count of who still listens cannot be trusted then: it tells also of the end of what was never subscribed.
"""

from collections import Counter

import zmq

from kvd import wire
from kvd.commands.entry import Milliseconds
from kvd.server.doorkeeper import Doorkeeper, Sparing
from kvd.server.frames import user_of
from kvd.server.publisher import NOBLOCK, SUBSCRIBE, UNSUBSCRIBE, Publisher


class GuardedPublisher(Publisher):
    """Publishes to those who may see it."""

    def __init__(self, context: zmq.Context[zmq.Socket[bytes]], doorkeeper: Doorkeeper) -> None:
        super().__init__(context)
        self.doorkeeper = doorkeeper
        self.sparing = Sparing()
        self.counts: Counter[bytes] = Counter()
        self.denied = 0
        self.is_heard = False
        self.socket.set(zmq.XPUB_MANUAL, 1)
        doorkeeper.guard(self.socket)

    @property
    def has_subscribers(self) -> bool:
        """Return whether somebody may be listening."""
        return self.is_heard

    @property
    def topics_count(self) -> int:
        """Return to how many topics somebody has subscribed, as far as subscribers tell."""
        return len(self.counts)

    def nobody_is_connected(self) -> None:
        """There is nobody to publish to."""
        self.is_heard = False
        self.counts.clear()

    def next_subscription(self, now: Milliseconds) -> bytes:
        """Return what a subscriber says, put into effect if it may; raises `zmq.Again` when there is nothing."""
        frame = self.socket.recv(NOBLOCK, copy=False)
        message, topic = frame.bytes, frame.bytes[1:]
        if message[:1] == SUBSCRIBE:
            return message if self.subscribe(topic, user_of(frame), now) else b""
        if message[:1] == UNSUBSCRIBE:
            self.socket.set(zmq.UNSUBSCRIBE, topic)  # of the one who said so; without effect if it is gone
            self.counts[topic] -= 1
            if self.counts[topic] <= 0:
                del self.counts[topic]
        return b""

    def subscribe(self, topic: bytes, user: str, now: Milliseconds) -> bool:
        """Subscribe the sender of the last message received to a topic, if it may; return whether."""
        if not self.may_subscribe(user, topic):
            self.denied += 1
            self.sparing.warn(now, "event=denied_subscription key=%s topic=%.80r", user, topic)
            return False
        self.socket.set(zmq.SUBSCRIBE, topic)
        self.counts[topic] += 1
        self.is_heard = True
        return True

    def may_subscribe(self, user: str, topic: bytes) -> bool:
        """Return whether a client may have a topic: the control topic, or changes of keys it may read."""
        access = self.doorkeeper.access
        if topic == wire.CONTROL_TOPIC:
            return user in access.clients
        # The empty topic is all of them.
        return topic[:1] in (wire.CHANGE_TOPIC, b"") and access.may_watch(user, topic[1:])
