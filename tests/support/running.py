"""`kvd` as a process, run to its end, and waiting for what comes to hold."""

import contextlib
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from itertools import chain
from pathlib import Path

from kvd.client import Client
from kvd.errors import ClientError
from support.forks import ForkedPopen, run

ROOT = Path(__file__).resolve().parents[2]
PROGRAM = [sys.executable, "-m", "kvd", "serve"]


def run_kvd(*arguments: object) -> "subprocess.CompletedProcess[str]":
    """Run `kvd` to its end."""
    return run([sys.executable, "-m", "kvd", *map(str, arguments)], text=True)


def serve(*arguments: object) -> tuple[int, str]:
    """Run `kvd serve`, which is to be refused; return exit code and what it said. No test binds the default ports."""
    with tempfile.TemporaryDirectory() as folder:
        ends = [(option, f"ipc://{folder}/{option}") for option in ("--listen", "--publish") if option not in arguments]
        done = run_kvd("serve", *arguments, *chain.from_iterable(ends))
    return done.returncode, done.stderr


def eventually(holds: Callable[[], object], seconds: float = 60) -> None:
    """Wait until something holds; it is asked again and again."""
    limit = time.monotonic() + seconds
    while not holds():
        assert time.monotonic() < limit, "it did not come to hold"
        time.sleep(0.01)


class Daemon:
    """`kvd serve` in a directory. It can be killed and started again."""

    def __init__(self, directory: Path, *options: str) -> None:
        self.directory = directory
        self.data = directory / "data"
        self.commands = f"ipc://{directory}/c.sock"
        self.changes = f"ipc://{directory}/p.sock"
        self.options = options
        self.program = PROGRAM
        self.log = directory / "log"
        self.process: subprocess.Popen[bytes] | None = None
        self.keys = None  # a client's
        self.before: list[str] = []  # what the daemon is started by

    def spawn(self) -> "Daemon":
        arguments = ["--data", str(self.data), "--listen", self.commands, "--publish", self.changes, *self.options]
        with self.log.open("ab") as log:
            start = ForkedPopen if [*self.before, *self.program] == PROGRAM else subprocess.Popen
            self.process = start([*self.before, *self.program, *arguments], stderr=log, stdout=log, cwd=ROOT)
        return self

    def start(self) -> "Daemon":
        self.spawn()
        deadline = time.monotonic() + 60
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
        return self.process.wait(60)

    def client(self, **options) -> Client:
        return Client(self.commands, **{"keys": self.keys, "timeout": 60, **options})
