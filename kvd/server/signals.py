"""What signals do to a server: they end it, or have it read its access file again."""

import signal
import socket
from types import FrameType

import zmq

from kvd.server.loop import Server


def stop_on_signals(server: Server) -> None:
    """Let SIGTERM and SIGINT stop the loop at once, SIGHUP read the access file again: also while it waits in poll."""
    ours, theirs = socket.socketpair()
    ours.settimeout(0)
    theirs.settimeout(0)
    signal.set_wakeup_fd(theirs.fileno(), warn_on_full_buffer=False)
    server.poller.register(ours, zmq.POLLIN)
    server.signals = ours
    server.signal_sender = theirs  # type: ignore[attr-defined]  # kept open as long as the server

    def stop(number: int, frame: FrameType | None) -> None:  # noqa: ARG001
        server.stop()

    def hang_up(number: int, frame: FrameType | None) -> None:  # noqa: ARG001
        server.reload_requested = True

    signal.signal(signal.SIGTERM, stop)
    signal.signal(signal.SIGINT, stop)
    signal.signal(signal.SIGHUP, hang_up)
