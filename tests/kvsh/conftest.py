"""A daemon for the tests that need one, and kvsh run as a process: with pipes, and on a pty with a screen."""

import os
import pty
import select
import signal
import subprocess
import termios
import time

import pyte
import pytest
from conftest_kvsh import KVSH, PATIENCE_S

from kvd.client import Client
from kvsh.cli.local import local_daemon


@pytest.fixture(scope="session")
def daemon(tmp_path_factory):
    """Return the endpoint of a daemon that all tests share."""
    with local_daemon(str(tmp_path_factory.mktemp("data"))) as endpoint:
        yield endpoint


@pytest.fixture
def kv(daemon):
    """Return a client of the shared daemon, with no keys in it."""
    with Client(daemon) as client:
        for key in list(client.scan()):
            client.clear(key)
        yield client


@pytest.fixture
def environment(daemon, tmp_path):
    """Return an environment in which kvsh talks to the shared daemon."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("KVSH_", "NO_COLOR"))}
    return {**kept, "KVSH_URL": daemon, "XDG_STATE_HOME": str(tmp_path / "state")}


@pytest.fixture
def kvsh(kv, environment):
    """Return what runs kvsh with arguments and standard input, and gives (code, output, messages)."""

    def run(*arguments, stdin=b"", **changed):
        done = subprocess.run(
            [*KVSH, *arguments],
            input=stdin,
            capture_output=True,
            env={**environment, **changed},
            timeout=60,
            check=False,
        )
        return done.returncode, done.stdout, done.stderr.decode()

    return run


class Screen(pyte.Screen):
    """A screen that answers when asked where its cursor is."""

    def write_process_input(self, data):
        os.write(self.fd, data.encode())


class Terminal:
    """kvsh on a pty, with the screen that a person would see."""

    def __init__(self, arguments, environment, *, columns=150, rows=24):
        self.screen = Screen(columns, rows)
        self.feeder = pyte.ByteStream(self.screen)
        self.seen = b""
        self.pid, self.fd = pty.fork()
        self.screen.fd = self.fd
        if self.pid == 0:
            termios.tcsetwinsize(0, (rows, columns))
            os.execve(
                KVSH[0],
                [*KVSH, *arguments],
                {"TERM": "xterm", **environment, "LINES": str(rows), "COLUMNS": str(columns)},
            )

    @property
    def lines(self):
        return [line.rstrip() for line in self.screen.display if line.strip()]

    def type(self, text):
        os.write(self.fd, text.encode())

    def until(self, condition, what="what was awaited"):
        """Read until a condition holds on the lines of the screen; return them."""
        limit = time.monotonic() + PATIENCE_S
        while not condition(self.lines):
            assert time.monotonic() < limit, f"{what} never came; the screen is:\n" + "\n".join(self.lines)
            if select.select([self.fd], [], [], 0.5)[0]:
                self.read()
        return self.lines

    def read(self):
        data = os.read(self.fd, 65536)
        self.seen += data
        self.feeder.feed(data)

    def shows(self, text):
        return self.until(lambda lines: any(text in line for line in lines), repr(text))

    def ended(self):
        """Read to the end; return the exit code."""
        try:
            while True:
                self.read()
        except OSError:
            return os.waitstatus_to_exitcode(os.waitpid(self.pid, 0)[1])

    def close(self):
        os.close(self.fd)
        try:
            os.kill(self.pid, signal.SIGKILL)
            os.waitpid(self.pid, 0)
        except (ProcessLookupError, ChildProcessError):
            pass


@pytest.fixture
def terminal(kv, environment):
    """Return what starts kvsh on a pty."""
    opened = []

    def start(*arguments, **changed):
        opened.append(Terminal(arguments, {**environment, **changed}))
        return opened[-1]

    yield start
    for each in opened:
        each.close()
