"""When a watch tries again after it has lost its daemon, and what its owner hears of it. Pure."""

from collections.abc import Callable

from kvd.limits import RECONNECT_MS, RECONNECT_MS_MAX

OnState = Callable[[str], None]


class Reconnects:
    """Calls `on_state` with "disconnected" and "reconnected". Pauses are doubled from attempt to attempt."""

    def __init__(self, on_state: OnState | None) -> None:
        self.due_at: float | None = None
        self._on_state = on_state or (lambda _: None)
        self._pause_ms = RECONNECT_MS
        self._is_connected = self._was_connected = False

    def on_complete(self) -> None:
        """Nothing is missing but what has been asked for."""
        self._pause_ms = RECONNECT_MS
        if not self._is_connected:
            self._is_connected = True
            if self._was_connected:
                self._on_state("reconnected")
            self._was_connected = True

    def on_loss(self, now: float) -> None:
        """Schedule the next attempt, unless one is scheduled."""
        if self._is_connected:
            self._is_connected = False
            self._on_state("disconnected")
        if self.due_at is None:
            self.due_at = now + self._pause_ms / 1000
            self._pause_ms = min(2 * self._pause_ms, RECONNECT_MS_MAX)

    def start(self, now: float) -> bool:
        """Return whether an attempt is due; it is then no longer scheduled."""
        if self.due_at is None or now < self.due_at:
            return False
        self.due_at = None
        return True

    def cancel(self) -> None:
        """Schedule no attempt."""
        self.due_at = None
