"""`kvsh --local DIR`: a daemon for as long as kvsh runs.

The daemon has its own session, so the terminal's Ctrl-C does not reach it. It exits with kvsh, however kvsh ends (`kvd
serve --end-with`). If another kvsh's daemon serves the directory, that daemon is used; when it is killed or its kvsh
exits, a new one takes its place.
"""

import fcntl
import os
import shutil
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

from kvd.client import Client
from kvd.commands.server import Ping
from kvd.errors import InUse, KvdError, NoReply, Unreachable

SOCKET_PATH_BYTES_MAX = 107  # sockaddr_un without its final NUL
READY_S = 60.0
TRY_S = 0.2
STOP_S = 15.0
CHECK_S = 0.3
CHECK_S_MAX = 10.0


class NotStarted(KvdError):
    """The daemon did not start; the sentence is the daemon's."""


@contextmanager
def local_daemon(directory: str) -> Iterator[str]:
    """Run a daemon on a directory; yield its endpoint. Raises NotStarted."""
    data = Path(directory).resolve()
    sockets, is_private = _socket_directory(data)
    endpoint = f"ipc://{sockets / 'kvd.sock'}"
    try:
        with tempfile.TemporaryFile() as log:
            keeper = Keeper(data, sockets, log)
            try:
                _wait_ready(keeper.child, endpoint, log)
                keeper.start()
                yield endpoint
            finally:
                keeper.stop()
    finally:
        if is_private:
            shutil.rmtree(sockets, ignore_errors=True)


class Keeper(threading.Thread):
    """Keeps a daemon running on the directory: starts one, and restarts it when it has exited."""

    def __init__(self, data: Path, sockets: Path, log: IO[bytes]) -> None:
        super().__init__(name="keeper", daemon=True)
        self.data = data
        self.log = log
        # -P: a file in the working directory must not be imported as a module.
        self.command = [sys.executable, "-P", "-m", "kvd", "serve", "--data", str(data), "--log-level", "warning"]
        self.command += ["--listen", f"ipc://{sockets / 'kvd.sock'}", "--publish", f"ipc://{sockets / 'changes.sock'}"]
        self.command += ["--end-with", str(os.getpid())]
        self.leaving = threading.Event()
        self.child = self._spawn()

    def _spawn(self) -> "subprocess.Popen[bytes]":
        """Start a daemon."""
        devnull = subprocess.DEVNULL
        return subprocess.Popen(self.command, stdin=devnull, stdout=devnull, stderr=self.log, start_new_session=True)  # noqa: S603  # our own module

    def run(self) -> None:
        """Start a daemon whenever no daemon serves the directory, less often if it keeps exiting."""
        pause = CHECK_S
        while not self.leaving.wait(pause):
            if self.child.poll() is None or not is_free(self.data / "lock"):
                pause = CHECK_S
            else:
                self.child = self._spawn()
                pause = min(2 * pause, CHECK_S_MAX)

    def stop(self) -> None:
        """Stop the daemon, and wait for its exit."""
        self.leaving.set()
        if self.is_alive():
            self.join()
        self.child.terminate()
        try:
            self.child.wait(STOP_S)
        except subprocess.TimeoutExpired:
            self.child.kill()
            self.child.wait()


def is_free(lock: Path) -> bool:
    """Return whether no process holds the lock of a data directory."""
    try:
        fd = os.open(lock, os.O_RDWR | os.O_CLOEXEC)
    except OSError:
        return True
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        return False
    finally:
        os.close(fd)
    return True


def _socket_directory(data: Path) -> tuple[Path, bool]:
    """Return the directory of the sockets, and whether it is temporary because the data's path is too long."""
    if len(os.fsencode(data / "changes.sock")) <= SOCKET_PATH_BYTES_MAX:
        return data, False
    return Path(tempfile.mkdtemp(prefix="kvsh-")), True


def _wait_ready(child: "subprocess.Popen[bytes]", endpoint: str, log: IO[bytes]) -> None:
    """Return when the new daemon or an earlier one answers. Raises NotStarted."""
    until = time.monotonic() + READY_S
    while not is_answering(endpoint):
        if child.poll() not in (None, InUse.exit_code):
            log.seek(0)
            raise NotStarted(log.read().decode(errors="replace").strip() or f"the daemon ended with {child.returncode}")
        if child.poll() == InUse.exit_code and not is_answering(endpoint):
            log.seek(0)
            raise NotStarted(f"{log.read().decode(errors='replace').strip()}; and nothing answers at {endpoint}")
        if time.monotonic() > until:
            raise NotStarted(f"the daemon did not answer within {READY_S:.0f} s")


def is_answering(endpoint: str) -> bool:
    """Return whether a daemon answers at an endpoint within TRY_S."""
    with Client(endpoint, timeout=TRY_S) as client:
        try:
            client.run(Ping())
        except (Unreachable, NoReply):
            return False
        return True
