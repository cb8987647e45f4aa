"""The connection of a watch to the daemon's changes socket.

It never redials: the follower has to know of each break, because changes published meanwhile are lost without a trace.
"""

import time
from collections.abc import Sequence
from functools import partial

from kvd import wire
from kvd.client.channel import Channel
from kvd.client.connection import RECEIVED_BYTES, make_session
from kvd.client.endpoints import parse_endpoint
from kvd.client.keys import Keys
from kvd.client.stream import Resolve
from kvd.client.zmtp import SUBSCRIBER, Rejected
from kvd.limits import RECONNECT_MS, SUBSCRIBER_DEAD_MS

PUBLISHED_FRAMES = 2
# The kernel's buffer is small, so that a watcher that stands still soon fills the daemon's queue.
RECEIVE_BUFFER_BYTES = 256 * 1024


class ChangesSocket:
    """Subscribes to prefixes. Times are on the monotonic clock."""

    def __init__(self, prefixes: Sequence[bytes], keys: Keys | None, resolve: Resolve) -> None:
        # The control topic comes last: the first heartbeat then proves that the prefixes are subscribed.
        self._topics = (*[wire.CHANGE_TOPIC + prefix for prefix in prefixes], wire.CONTROL_TOPIC)
        self._keys = keys
        self._resolve = resolve
        self._is_resolving = False
        self._heard_at = 0.0
        self.channel: Channel | None = None

    @property
    def is_denied(self) -> bool:
        """Whether the daemon does not let this client subscribe to all keys."""
        return self.channel is not None and isinstance(self.channel.problem, Rejected)

    @property
    def is_lost(self) -> bool:
        """Whether the connection is gone, or has been silent for too long."""
        if self.channel is None:
            return False
        return self.channel.is_lost or time.monotonic() > self._heard_at + SUBSCRIBER_DEAD_MS / 1000

    def open(self, endpoint: str) -> None:
        """Start to connect; while the name is looked up, call it again."""
        addresses = self._resolve(parse_endpoint(endpoint))
        self._is_resolving = addresses is None
        if addresses is None:
            return
        self.channel = Channel(
            addresses,
            partial(make_session, self._keys, SUBSCRIBER, self._topics),
            receive_buffer_bytes=RECEIVE_BUFFER_BYTES,
            turn_bytes_max=RECEIVED_BYTES,
        )
        self._heard_at = time.monotonic()

    def receive(self) -> list[list[bytes]]:
        """Return the messages that have arrived, each a topic and a body."""
        if self.channel is None:
            return []
        messages = [parts for parts in self.channel.advance() if len(parts) == PUBLISHED_FRAMES]
        if messages:
            self._heard_at = self.channel.heard_at
        return messages

    def due(self) -> list[float | None]:
        """Return the times at which to call `receive` or `open` even if nothing arrives."""
        times: list[float | None] = []
        if self.channel is not None:
            times += [self._heard_at + SUBSCRIBER_DEAD_MS / 1000, self.channel.due]
        if self._is_resolving:
            times.append(time.monotonic() + RECONNECT_MS / 1000)
        return times

    def close(self) -> None:
        self._is_resolving = False
        if self.channel is not None:
            self.channel.close()
            self.channel = None
