"""The process that `support.forks` asks for processes: it has imported the project, and forks."""

import atexit
import fcntl
import gc
import importlib
import json
import os
import random
import runpy
import signal
import socket
import sys
import termios
import threading
import time
from typing import Any, NoReturn

PRELOADED = (
    "kvd.cli.offline",
    "kvd.cli.gateway",
    "kvd.cli.keygen",
    "kvd.cli.metrics",
    "kvd.cli.serve",
    "kvd.cli.transfer",
    "kvd.gateways.http.server",
    "kvd.gateways.nats.bridge",
    "kvd.gateways.tcp.gateway",
    "kvd.server",
    "kvd.storage",
    "kvsh.cli.app",
    "kvsh.cli.oneshot",
    "kvsh.cli.script",
    "kvsh.repl.prompt",
)
REQUEST_BYTES_MAX = 1 << 20


def preload() -> None:
    for module in PRELOADED:
        importlib.import_module(module)
    gc.collect()
    gc.freeze()


def serve(control: socket.socket) -> None:
    """Fork a program for each request until the other end is closed."""
    while True:
        request, fds, _, _ = socket.recv_fds(control, REQUEST_BYTES_MAX, 3)
        if not request:
            return
        pid = fork_twice()
        if pid == 0:
            control.close()
            arguments, directory, variables, has_terminal = json.loads(request)
            become(fds, arguments, directory, variables, has_terminal=has_terminal)
        for fd in fds:
            os.close(fd)
        control.send(b"%d" % pid)


def fork_twice() -> int:
    """Return 0 in a grandchild, and its pid here. The process between them has ended by then."""
    reading, writing = os.pipe()
    middle = os.fork()
    if middle == 0:
        os.close(reading)
        pid = os.fork()
        if pid == 0:
            os.close(writing)
            return 0
        os.write(writing, b"%d" % pid)
        os._exit(0)
    os.close(writing)
    with os.fdopen(reading, "rb") as pipe:
        pid = int(pipe.read())
    os.waitpid(middle, 0)
    return pid


def become(
    fds: list[int], arguments: list[str], directory: str, variables: dict[str, str], *, has_terminal: bool
) -> NoReturn:
    """Run a command line as a new interpreter would; then end."""
    for number, fd in enumerate(fds):
        os.dup2(fd, number)
    for fd in fds:
        os.close(fd)
    if has_terminal:
        os.setsid()
        fcntl.ioctl(0, termios.TIOCSCTTY, 0)
    os.environ.clear()
    os.environ.update(variables)
    time.tzset()
    os.chdir(directory)
    random.seed()
    signal.signal(signal.SIGINT, signal.default_int_handler)
    open_streams()
    gc.enable()
    try:
        run_program(arguments)
        sys.exit(0)
    except SystemExit as end:
        leave_at_once(end.code)
        raise


def leave_at_once(code: object) -> None:
    """End the process if nothing but the interpreter's own tidying is left to do: it takes 30 ms."""
    if isinstance(code, int | None) and threading.active_count() == 1 and sys.stdout is not None:
        atexit._run_exitfuncs()
        sys.stdout.flush()
        os._exit((code or 0) & 0xFF)


def open_streams() -> None:
    """Make the three standard streams as an interpreter does at its start."""
    sys.stdin = sys.__stdin__ = stream(0, "r", "strict")  # type: ignore[misc]
    sys.stdout = sys.__stdout__ = stream(1, "w", "strict")  # type: ignore[misc]
    sys.stderr = sys.__stderr__ = stream(2, "w", "backslashreplace")  # type: ignore[misc]


def stream(fd: int, mode: str, errors: str) -> Any:
    made = open(fd, mode, encoding="utf-8", errors=errors, closefd=False)  # noqa: SIM115  # it stays open
    made.reconfigure(line_buffering=fd == 2 or made.isatty())
    return made


def run_program(arguments: list[str]) -> None:
    """Run `python -m MODULE`, `python -c TEXT`, `python FILE` or one of this environment's scripts."""
    words = arguments[1:] if arguments[0] == sys.executable else arguments
    if words[0] == "-m":
        sys.argv = words[1:]
        runpy.run_module(words[1], run_name="__main__", alter_sys=True)
    elif words[0] == "-c":
        sys.argv = ["-c", *words[2:]]
        exec(compile(words[1], "<string>", "exec"), {"__name__": "__main__"})
    else:
        sys.argv = words
        runpy.run_path(words[0], run_name="__main__")


def main() -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C ends pytest, and its end closes the socket
    with socket.socket(fileno=int(sys.argv[1])) as control:
        preload()
        serve(control)


if __name__ == "__main__":
    main()
