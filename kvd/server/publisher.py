"""Publishes committed changes: to watchers over the change socket, and to clients that wait."""

from kvd import wire
from kvd.commands.model import Milliseconds, Row
from kvd.server.sockets.change_socket import ChangeSocket
from kvd.server.waits import Waits
from kvd.storage import Store


class Publisher:
    """Publishes the changes of each commit."""

    def __init__(self, store: Store, changes: ChangeSocket, waits: Waits) -> None:
        self._store = store
        self._changes = changes
        self._waits = waits
        self._compacted = 0  # announced to watchers

    def publish(self, rows: list[Row], now: Milliseconds) -> None:
        """Publish changes, and answer the clients that wait for them."""
        if rows:
            self._changes.publish(rows)
            self._waits.wake(rows, now)
        if self._store.compacted > self._compacted:
            self._compacted = self._store.compacted
            self._changes.send_control(wire.encode_compacted(self._compacted))
