"""kvsh on a pty, with the screen that a person would see (a module on the path by pytest)."""

import fcntl
import os
import pty
import select
import signal
import struct
import termios
import time
from contextlib import suppress

import pyte

from support.forks import is_forking, spawn
from support.kvsh_cases import KVSH, PATIENCE_S

LEAVE_S = 20.0
PLACE = "data0"


class Screen(pyte.Screen):
    """A screen that answers when asked where its cursor is."""

    def write_process_input(self, data):
        os.write(self.fd, data.encode())


def start(command, environment, terminal):
    """Start a program with this as its controlling terminal; return its pid."""
    if is_forking():
        return spawn(command, None, environment, [terminal] * 3, has_terminal=True)
    pid = os.fork()
    if pid == 0:
        os.login_tty(terminal)
        os.execve(command[0], command, environment)
    return pid


class Terminal:
    """kvsh on a pty."""

    def __init__(self, arguments, environment, *, columns=150, rows=24):
        self.screen = Screen(columns, rows)
        self.feeder = pyte.ByteStream(self.screen)
        self.seen = b""
        self.code = None
        self.fd, inner = pty.openpty()
        self.screen.fd = self.fd
        termios.tcsetwinsize(inner, (rows, columns))
        self.pid = start([*KVSH, *arguments], {"TERM": "xterm", **environment}, inner)
        os.close(inner)

    @property
    def lines(self):
        return [line.rstrip() for line in self.screen.display if line.strip()]

    def type(self, text):
        os.write(self.fd, text if isinstance(text, bytes) else text.encode())

    def until(self, condition, what="the expected output"):
        """Read until a condition holds on the lines of the screen; return them."""
        limit = time.monotonic() + PATIENCE_S
        while not condition(self.lines):
            assert time.monotonic() < limit, f"{what} never came; the screen is:\n" + "\n".join(self.lines)
            self.read()
        return self.lines

    def read(self, wait_s=0.5):
        """Take in what there is; wait so long for it. Raises OSError when there is no more to come."""
        if select.select([self.fd], [], [], wait_s)[0]:
            data = os.read(self.fd, 65536)
            self.seen += data
            self.feeder.feed(data)

    def shows(self, text):
        return self.until(lambda lines: any(text in line for line in lines), repr(text))

    def prompts(self):
        """Read until the prompt waits for a line."""
        return self.until(is_prompting, "the prompt")

    def runs(self, line):
        """Type a line and Enter; return when the command is on its way."""
        self.type(line + "\r")
        self.until(lambda lines: lines[-1].endswith(f"> {line}") and self.screen.cursor.x == 0)
        self.settle()

    def interrupts(self):
        """Hit Ctrl-C until the shell has heard it; while the terminal is still the prompt's, it has not."""
        limit = time.monotonic() + PATIENCE_S
        while not any("(interrupted" in line for line in self.lines):
            assert time.monotonic() < limit, "the shell does not hear Ctrl-C:\n" + "\n".join(self.lines)
            self.type("\x03")
            self.settle(1.0)

    def settle(self, quiet_s=0.2):
        """Read until nothing comes for a while."""
        while select.select([self.fd], [], [], quiet_s)[0]:
            self.read()

    def color_of(self, text):
        """Return the colour in which a text stands on the screen, where it stands last."""
        y, line = max((y, line) for y, line in enumerate(self.screen.display) if text in line)
        return self.screen.buffer[y][line.index(text)].fg

    def resize(self, rows, columns):
        self.screen.resize(rows, columns)
        fcntl.ioctl(self.fd, termios.TIOCSWINSZ, struct.pack("HHHH", rows, columns, 0, 0))

    def wait_for_exit(self, within_s=PATIENCE_S):
        """Read to the end; return the exit code, or None if there is no end in this time."""
        limit = time.monotonic() + within_s
        try:
            while self.code is None and time.monotonic() < limit:
                self.read()
        except OSError:
            self.code = os.waitstatus_to_exitcode(os.waitpid(self.pid, 0)[1])
        return self.code

    def leave(self):
        """End kvsh as a person would, so that what it covers is written; return the exit code, or None if it stays."""
        limit = time.monotonic() + LEAVE_S
        while self.code is None and time.monotonic() < limit:
            with suppress(OSError):
                self.type("\x03\x04\x04")  # the second for the question that BEGIN brings
            self.wait_for_exit(0.3)
        return self.code

    def close(self):
        if self.leave() is None:
            os.kill(self.pid, signal.SIGKILL)
            os.waitpid(self.pid, 0)
        os.close(self.fd)


def long_command(kv, wait_ms=60_000):
    """Return a command that is answered after a time, and by nothing that happens meanwhile."""
    return f"changes {kv.info('server')['server']['revision']} nothing-here wait {wait_ms}"


def is_prompting(lines):
    """Return whether the prompt waits for a line: nothing but the toolbar is below it."""
    last = next((line for line in reversed(lines[-2:]) if line.startswith(PLACE)), "")
    return last.endswith(">")


def say(shell, line):
    """Type a line and Enter; wait for the next prompt; return the lines of the answer."""
    before = sum(f"> {line}" in text for text in shell.lines)
    shell.type(line + "\r")
    lines = shell.until(
        lambda lines: sum(f"> {line}" in text for text in lines) > before and is_prompting(lines),
        f"the answer to {line}",
    )
    start = max(at for at, text in enumerate(lines) if f"> {line}" in text)
    end = max(at for at, text in enumerate(lines) if text.startswith(PLACE) and text.endswith(">"))
    return lines[start + 1 : end]
