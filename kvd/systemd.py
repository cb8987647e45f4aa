"""systemd's interface for services: sockets passed as descriptors, readiness, the watchdog, the descriptor limit.

systemd uses environment variables. Without them nothing here has an effect.
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
    """Remove the variables from the environment; return (name, descriptor) of each socket passed to this process."""
    pid, count, names = (environment.pop(f"LISTEN_{name}", "") for name in ("PID", "FDS", "FDNAMES"))
    if pid != str(os.getpid()) or not count.isdigit():
        return []
    fds = range(FIRST_FD, FIRST_FD + int(count))
    named = [*names.split(":"), *["unknown"] * len(fds)]
    return list(zip(named, fds, strict=False))


def adopt_socket(name: str, fd: int) -> socket.socket:
    """Return a descriptor's socket; raises BadConfiguration unless it is a listening stream socket."""
    try:
        os.set_inheritable(fd, False)  # noqa: FBT003  # positional only
        sock = socket.socket(fileno=os.dup(fd))
        if sock.type != socket.SOCK_STREAM or not sock.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN):
            sock.close()
            raise BadConfiguration(
                f"the socket {name} that systemd passed does not listen: use ListenStream= in its unit"
            )
    except OSError as error:
        raise BadConfiguration(f"the socket {name} that systemd passed cannot be used: {error.strerror}") from error
    sock.settimeout(0)
    return sock


def raise_descriptor_limit() -> int:
    """Raise the soft limit of descriptors to the hard one, and return it.

    libzmq ends the process when it has no descriptor left for a client.
    """
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft != hard:  # a sandbox may forbid even a call that changes nothing
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    return hard


class Notifier:
    """Sends the state of the service to systemd, if systemd asked for it."""

    def __init__(self, environment: MutableMapping[str, str] = os.environ) -> None:
        """Remove the variables from the environment, so that child processes do not get them."""
        address, self.interval_ms = environment.pop("NOTIFY_SOCKET", ""), 0
        period_us, pid = environment.pop("WATCHDOG_USEC", ""), environment.pop("WATCHDOG_PID", "")
        self.socket: socket.socket | None = None
        if address:
            self.socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC)
            self.address = f"\0{address[1:]}" if address.startswith("@") else address
            if period_us.isdigit() and pid in ("", str(os.getpid())):
                self.interval_ms = int(period_us) // 3000

    def notify(self, *states: str) -> None:
        """Send states such as READY=1. Errors are ignored: systemd may not listen."""
        if self.socket is not None:
            with suppress(OSError):
                self.socket.sendto("\n".join(states).encode(), socket.MSG_DONTWAIT, self.address)
