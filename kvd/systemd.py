"""What systemd gives a service, and is told: descriptors of sockets, readiness, the watchdog; how many there may be.

All of it by the environment, and nothing happens where that is empty.
https://www.freedesktop.org/software/systemd/man/latest/sd_listen_fds.html and sd_notify.html
"""

import os
import resource
import socket
from collections.abc import MutableMapping
from contextlib import suppress

from kvd.errors import BadConfiguration

FIRST_FD = 3


def socket_descriptors(environment: MutableMapping[str, str] = os.environ) -> list[tuple[str, int]]:
    """Return the name and the descriptor of each socket passed to this process; take them out of the environment."""
    pid, count, names = (environment.pop(f"LISTEN_{name}", "") for name in ("PID", "FDS", "FDNAMES"))
    if pid != str(os.getpid()) or not count.isdigit():
        return []
    fds = range(FIRST_FD, FIRST_FD + int(count))
    named = [*names.split(":"), *["unknown"] * len(fds)]
    return list(zip(named, fds, strict=False))


def listening_socket(name: str, fd: int) -> socket.socket:
    """Return a descriptor's socket; raises BadConfiguration unless it is one of streams that listens."""
    try:
        os.set_inheritable(fd, False)  # noqa: FBT003  # positional only
        sock = socket.socket(fileno=os.dup(fd))
        if sock.type != socket.SOCK_STREAM or not sock.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN):
            sock.close()
            raise BadConfiguration(f"the socket {name} that systemd passed does not listen: it wants ListenStream=")
    except OSError as error:
        raise BadConfiguration(f"the socket {name} that systemd passed cannot be used: {error.strerror}") from error
    sock.settimeout(0)
    return sock


def raise_descriptor_limit() -> int:
    """Allow as many descriptors as the system lets us: libzmq ends the process when it has none for a client.

    Returns how many that are.
    """
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft != hard:  # a sandbox may forbid even to ask for what is so already
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    return hard


class Notifier:
    """Tells systemd how we are, if it wants to know."""

    def __init__(self, environment: MutableMapping[str, str] = os.environ) -> None:
        """Take the variables out of the environment of our children."""
        address, self.interval_ms = environment.pop("NOTIFY_SOCKET", ""), 0
        period_us, pid = environment.pop("WATCHDOG_USEC", ""), environment.pop("WATCHDOG_PID", "")
        self.socket: socket.socket | None = None
        if address:
            self.socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC)
            self.address = f"\0{address[1:]}" if address.startswith("@") else address
            if period_us.isdigit() and pid in ("", str(os.getpid())):
                self.interval_ms = int(period_us) // 3000

    def notify(self, *states: str) -> None:
        """Send states, as READY=1. A systemd that does not listen is not our defect."""
        if self.socket is not None:
            with suppress(OSError):
                self.socket.sendto("\n".join(states).encode(), socket.MSG_DONTWAIT, self.address)
