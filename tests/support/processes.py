"""A gateway as a process of its own."""

import re
import signal
import subprocess
import sys
import time
from pathlib import Path

from support.forks import ForkedPopen

ROOT = Path(__file__).resolve().parents[2]
PROGRAM = (sys.executable, "-m", "kvd")
READY = re.compile(r'event=gateway_ready at="?(?:[a-z]+://)?([^\s"]+)')


class Gateway:
    """`kvd gateway KIND`. It can be killed and started again, at the same address."""

    def __init__(
        self,
        directory: Path,
        kind: str,
        url: str,
        *options: str,
        listen: str | None = "127.0.0.1:0",
        before: tuple[str, ...] = (),
        program: tuple[str, ...] = (),
    ) -> None:
        self.log = directory / "gateway-log"
        self.kind, self.url, self.options, self.listen = kind, url, options, listen
        self.before = before  # what the gateway is started by
        self.program = program or PROGRAM
        self.process: subprocess.Popen[bytes] | None = None
        self.starts = 0

    def spawn(self) -> "Gateway":
        listen = [] if self.listen is None else ["--listen", self.listen]
        named = ["gateway", self.kind, "--url", self.url, *listen, *self.options]
        with self.log.open("ab") as log:
            start = ForkedPopen if (*self.before, *self.program) == PROGRAM else subprocess.Popen
            self.process = start([*self.before, *self.program, *named], stderr=log, stdout=log, cwd=ROOT)
        self.starts += 1
        return self

    def start(self) -> "Gateway":
        self.spawn()
        limit = time.monotonic() + 60
        while len(found := READY.findall(self.log.read_text())) < self.starts:
            assert self.process.poll() is None, self.log.read_text()
            assert time.monotonic() < limit, self.log.read_text()
            time.sleep(0.01)
        self.address = found[-1]
        if self.listen is not None:
            self.listen = self.address
        return self

    @property
    def host(self) -> str:
        return self.address.rpartition(":")[0]

    @property
    def port(self) -> int:
        return int(self.address.rpartition(":")[2])

    def kill(self) -> None:
        self.process.kill()
        self.process.wait()

    def stop(self) -> int:
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGCONT)
            self.process.terminate()
        return self.process.wait(60)
