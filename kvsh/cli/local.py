"""`kvsh --local DIR`: a daemon of its own, for as long as the shell runs.

The child has a session of its own, so the terminal's Ctrl-C is not its; the kernel ends it when we end, however
that happens (PR_SET_PDEATHSIG). If another daemon serves the directory, that one is used.
"""

import ctypes
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

from kvd.client import Client
from kvd.commands.server import Ping
from kvd.errors import InUse, KvdError, NoReply, Unreachable

SOCKET_PATH_BYTES_MAX = 107  # sockaddr_un, less its last NUL
READY_S = 60.0
TRY_S = 0.2
STOP_S = 15.0
PR_SET_PDEATHSIG = 1


class NotStarted(KvdError):
    """The daemon did not start; the sentence is its own."""


@contextmanager
def local_daemon(directory: str) -> Iterator[str]:
    """Run a daemon on a directory; yield its endpoint. Raises NotStarted."""
    data = Path(directory).resolve()
    sockets, is_private = socket_directory(data)
    endpoint = f"ipc://{sockets / 'kvd.sock'}"
    try:
        with tempfile.TemporaryFile() as log, started(data, sockets, log) as child:
            wait_ready(child, endpoint, log)
            yield endpoint
    finally:
        if is_private:
            shutil.rmtree(sockets, ignore_errors=True)


def socket_directory(data: Path) -> tuple[Path, bool]:
    """Return where the sockets are, and whether that is a directory made for them as the data's path is too long."""
    if len(os.fsencode(data / "changes.sock")) <= SOCKET_PATH_BYTES_MAX:
        return data, False
    return Path(tempfile.mkdtemp(prefix="kvsh-")), True


@contextmanager
def started(data: Path, sockets: Path, log: IO[bytes]) -> Iterator["subprocess.Popen[bytes]"]:
    """Start the daemon; end it afterwards, and wait until it has."""
    command = [sys.executable, "-m", "kvd", "serve", "--data", str(data), "--log-level", "warning"]
    command += ["--listen", f"ipc://{sockets / 'kvd.sock'}", "--publish", f"ipc://{sockets / 'changes.sock'}"]
    child = subprocess.Popen(  # noqa: S603  # our own module
        command,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=log,
        start_new_session=True,
        preexec_fn=end_with_parent(),  # noqa: PLW1509  # we have no threads yet
    )
    try:
        yield child
    finally:
        child.terminate()
        try:
            child.wait(STOP_S)
        except subprocess.TimeoutExpired:
            child.kill()
            child.wait()


def end_with_parent() -> Callable[[], None]:
    """Return what a child calls first so that it never outlives us."""
    prctl, parent = ctypes.CDLL(None).prctl, os.getpid()

    def arrange() -> None:
        prctl(PR_SET_PDEATHSIG, signal.SIGTERM)
        if os.getppid() != parent:
            os._exit(1)

    return arrange


def wait_ready(child: "subprocess.Popen[bytes]", endpoint: str, log: IO[bytes]) -> None:
    """Return when the daemon, or the one that was there before, answers; raises NotStarted."""
    until = time.monotonic() + READY_S
    while not is_answered(endpoint):
        if child.poll() not in (None, InUse.exit_code):
            log.seek(0)
            raise NotStarted(log.read().decode(errors="replace").strip() or f"the daemon ended with {child.returncode}")
        if child.poll() == InUse.exit_code and not is_answered(endpoint):
            log.seek(0)
            raise NotStarted(f"{log.read().decode(errors='replace').strip()}; and nothing answers at {endpoint}")
        if time.monotonic() > until:
            raise NotStarted(f"the daemon did not answer within {READY_S:.0f} s")


def is_answered(endpoint: str) -> bool:
    """Return whether a daemon answers there within a moment."""
    with Client(endpoint, timeout=TRY_S) as client:
        try:
            client.run(Ping())
        except (Unreachable, NoReply):
            return False
        return True
