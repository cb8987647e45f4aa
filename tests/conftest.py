"""What the tests share: a daemon as a process of its own, on endpoints of its own."""

import contextlib
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import zmq
from hypothesis import settings

from kvd.client import Client
from kvd.errors import ClientError

ROOT = Path(__file__).resolve().parent.parent

settings.register_profile("kvd", deadline=None)  # nothing is measured by the clock of a shared machine
settings.load_profile("kvd")

# Who runs the tests by nohup ignores it, and children would too.
signal.signal(signal.SIGHUP, signal.SIG_DFL)


class Daemon:
    """`kvd serve` in a directory. It can be killed and started again."""

    def __init__(self, directory: Path, *options: str) -> None:
        self.directory = directory
        self.data = directory / "data"
        self.commands = f"ipc://{directory}/c.sock"
        self.changes = f"ipc://{directory}/p.sock"
        self.options = options
        self.program = [sys.executable, "-m", "kvd", "serve"]
        self.log = directory / "log"
        self.process: subprocess.Popen[bytes] | None = None
        self.keys = None  # a client's
        self.before: list[str] = []  # what the daemon is started by

    def spawn(self) -> "Daemon":
        arguments = ["--data", str(self.data), "--listen", self.commands, "--publish", self.changes, *self.options]
        with self.log.open("ab") as log:
            self.process = subprocess.Popen([*self.before, *self.program, *arguments], stderr=log, stdout=log, cwd=ROOT)
        return self

    def start(self) -> "Daemon":
        self.spawn()
        deadline = time.monotonic() + 20
        while time.monotonic() < deadline:
            assert self.process.poll() is None, self.log.read_text()
            with contextlib.suppress(ClientError), Client(self.commands, timeout=1, keys=self.keys) as kv:
                kv.ping()
                return self
        raise AssertionError(f"not ready: {self.log.read_text()}")

    def signal(self, number: int) -> None:
        os.kill(self.process.pid, number)

    def kill(self) -> None:
        self.signal(signal.SIGKILL)
        self.process.wait()

    def stop(self) -> int:
        if self.process.poll() is None:
            self.signal(signal.SIGCONT)
            self.signal(signal.SIGTERM)
        return self.process.wait(20)

    def client(self, **options) -> Client:
        return Client(self.commands, **{"keys": self.keys, **options})


@pytest.fixture
def make_daemon(tmp_path_factory):
    """Make daemons, not started yet, each in a directory of its own; all are stopped at the end."""
    made = []

    def make(*options: str) -> Daemon:
        # Short, because the path of a unix socket has 107 bytes at most.
        made.append(Daemon(tmp_path_factory.mktemp("d"), *options))
        return made[-1]

    yield make
    for daemon in made:
        if daemon.process is not None:
            daemon.stop()


@pytest.fixture
def daemon(make_daemon):
    return make_daemon().start()


@pytest.fixture
def kv(daemon):
    with daemon.client() as client:
        yield client


@pytest.fixture
def context():
    """Return a context that ends with the test, however that ends."""
    made = zmq.Context()
    yield made
    made.destroy(linger=0)
