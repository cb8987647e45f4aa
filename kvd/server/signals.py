"""Signals: SIGTERM and SIGINT stop the server, SIGHUP makes it read its files again."""

import contextlib
import signal
import socket
from types import FrameType

SIGNALS_MAX = 4096


class Signals:
    """The requests by signals. `socket` is readable after a signal, so that a poll returns."""

    def __init__(self) -> None:
        self.is_stopping = False
        self.is_reload_due = False
        self._is_installed = False
        self.socket, self._sender = socket.socketpair()
        self.socket.settimeout(0)
        self._sender.settimeout(0)

    def install(self) -> None:
        """Handle the signals of this process from now on."""
        self._is_installed = True
        signal.set_wakeup_fd(self._sender.fileno(), warn_on_full_buffer=False)
        signal.signal(signal.SIGTERM, self._on_stop)
        signal.signal(signal.SIGINT, self._on_stop)
        signal.signal(signal.SIGHUP, self._on_hangup)

    def stop(self) -> None:
        """Stop the server after the current batch."""
        self.is_stopping = True

    def close(self) -> None:
        """Close the sockets; a later signal does not write to them."""
        if self._is_installed:
            signal.set_wakeup_fd(-1)
        self.socket.close()
        self._sender.close()

    def clear_reload(self) -> None:
        """Forget the request to reload."""
        self.is_reload_due = False
        with contextlib.suppress(BlockingIOError):
            self.socket.recv(SIGNALS_MAX)

    def _on_stop(self, number: int, frame: FrameType | None) -> None:  # noqa: ARG002
        self.stop()

    def _on_hangup(self, number: int, frame: FrameType | None) -> None:  # noqa: ARG002
        self.is_reload_due = True
