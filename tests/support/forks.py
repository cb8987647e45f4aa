"""Python programs of the project, started by a fork instead of an exec: that saves their imports.

`ForkedPopen` takes the command lines that `subprocess.Popen` takes, as long as they run this Python. The child is a
process of its own in every respect that the tests look at: pid, streams, signals, exit code, environment. Two things
differ: its command line in /proc, and the modules in `fork_server.PRELOADED` are imported already. A test of one of
these uses `subprocess`. So does everything here when KVD_TESTS_EXEC is set, and under coverage, which measures only
what it starts itself.

One server for each pytest process waits on a socket. It has no threads and no ZeroMQ context, so it is safe to fork. It
forks twice and waits for the middle process, and pytest's process is a subreaper (see prctl(2)): so the program becomes
a child of pytest's process, and `waitpid` works as usual.
"""

import atexit
import ctypes
import functools
import json
import os
import socket
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

TESTS = Path(__file__).resolve().parents[1]
REQUEST_BYTES = 200_000  # wmem_max of most machines is 212,992
PR_SET_CHILD_SUBREAPER = 36


def is_forking() -> bool:
    return "KVD_TESTS_EXEC" not in os.environ and "COVERAGE_PROCESS_CONFIG" not in os.environ


class ForkServer:
    """The client's end: it starts the server and asks it for processes."""

    def __init__(self) -> None:
        if ctypes.CDLL(None, use_errno=True).prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0) != 0:
            raise OSError(ctypes.get_errno(), "prctl")
        self._lock = threading.Lock()
        self._socket, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, REQUEST_BYTES)
        with theirs:
            command = [sys.executable, "-m", "support.fork_server", str(theirs.fileno())]
            path = os.pathsep.join([str(TESTS), *filter(None, [os.environ.get("PYTHONPATH")])])
            self.process = subprocess.Popen(
                command, pass_fds=[theirs.fileno()], cwd=TESTS.parent, env={**os.environ, "PYTHONPATH": path}
            )

    def spawn(self, arguments: list[str], cwd: str, env: dict[str, str], fds: list[int], *, has_terminal: bool) -> int:
        request = json.dumps([arguments, cwd, env, has_terminal]).encode()
        with self._lock:
            socket.send_fds(self._socket, [request], fds)
            reply = self._socket.recv(64)
        if not reply:
            raise RuntimeError("the fork server has ended; its message is above")
        return int(reply)

    def close(self) -> None:
        """End the server."""
        self._socket.close()
        self.process.wait(10)


@functools.cache
def fork_server() -> ForkServer:
    """Return this process's server. pytest-xdist's workers are processes, each with one."""
    made = ForkServer()
    atexit.register(made.close)
    return made


class ForkedPopen(subprocess.Popen):  # type: ignore[type-arg]
    """A `Popen` of a command line that begins with this Python or one of its scripts; it is forked.

    It takes no option of `Popen` but the streams, `cwd`, `env` and what is about text.
    """

    def _execute_child(self, *arguments: Any) -> None:
        command, _, _, _, _, cwd, env, _, _, _, *pipes = arguments
        p2cread, _, _, c2pwrite, _, errwrite = pipes[:6]
        if not is_forking():
            super()._execute_child(*arguments)
            return
        fds = [number if own == -1 else own for number, own in enumerate((p2cread, c2pwrite, errwrite))]
        self.pid = spawn([os.fsdecode(word) for word in command], cwd, env, fds)
        self._child_created = True
        self._close_pipe_fds(*pipes[:6])


def spawn(
    arguments: list[str], cwd: Any, env: dict[str, str] | None, fds: list[int], *, has_terminal: bool = False
) -> int:
    """Fork a program; return its pid. `has_terminal`: its standard input becomes its controlling terminal."""
    variables = {os.fsdecode(name): os.fsdecode(value) for name, value in (os.environ if env is None else env).items()}
    return fork_server().spawn(arguments, os.fspath(cwd or Path.cwd()), variables, fds, has_terminal=has_terminal)


def run(command: list[str], *, input: bytes | str | None = None, timeout: float = 60, **options: Any) -> Any:  # noqa: A002
    """Do what `subprocess.run` does with its output captured, by a fork."""
    pipes = dict.fromkeys(("stdin", "stdout", "stderr"), subprocess.PIPE) | options
    with ForkedPopen(command, **pipes) as process:
        try:
            output, messages = process.communicate(input, timeout)
        except BaseException:
            process.kill()
            raise
    return subprocess.CompletedProcess(command, process.returncode, output, messages)
