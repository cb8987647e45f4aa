"""Shows results longer than the screen through a pager: $KVSH_PAGER, else the configured one, else $PAGER, else less.

Only between a keyboard and a screen, never in a pipe. An empty variable, or `cat`, means no pager.
"""

import os
import shutil
import signal
import subprocess
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from itertools import chain

from kvsh.ui.settings import POOR_TERMINALS

LESS_OPTIONS = "FRX"  # for a plain `less`, the same options as git's
LESS = "less -FRX"  # exit if the text fits on the screen, pass colours, do not clear the screen at exit
NO_PAGER = ("", "cat")
UTF8_BYTES_MAX = 4
NOT_RUN = (126, 127)  # a shell's exit codes when it cannot start a program


def show_long(make: Callable[[], Iterator[bytes]], configured: str | None = None) -> bool:
    """Show a text through the pager if it is longer than the screen; return whether it was shown.

    `make` starts the text. Its pieces are made as the pager reads them, and nothing in it acts on the terminal.
    """
    if not is_interactive():
        return False
    text = make()
    head = head_of(text)
    program = pager_for(head, configured)
    return program is not None and page(chain([head], text), program)


def is_interactive() -> bool:
    """Return whether standard input and output are a terminal on which a pager works."""
    return os.isatty(0) and os.isatty(1) and os.environ.get("TERM", "") not in POOR_TERMINALS


def head_of(text: Iterator[bytes]) -> bytes:
    """Return enough of the beginning of a text to fill more than the screen, or all of a shorter text."""
    head, size = b"", os.get_terminal_size(1)
    for piece in text:
        head += piece
        if is_longer(head, size):
            break
    return head


def feed_program(child: "subprocess.Popen[bytes]", text: Iterable[bytes]) -> int:
    """Write a text to a program until it stops reading, and wait for its end; return its exit code."""
    assert child.stdin is not None
    with suppress(BrokenPipeError):
        for piece in text:
            child.stdin.write(piece)
    with suppress(BrokenPipeError):
        child.stdin.close()
    return child.wait()


def pager_for(data: bytes, configured: str | None = None) -> str | None:
    """Return the command line of the pager for this data; None if it is shown without one."""
    return choose_pager(configured) if is_interactive() and is_longer(data, os.get_terminal_size(1)) else None


def choose_pager(configured: str | None = None) -> str | None:
    """Return the pager's command line, or None."""
    choices = (os.environ.get("KVSH_PAGER"), configured, os.environ.get("PAGER"))
    program = next((each for each in choices if each is not None), None)
    if program is None:
        program = LESS if shutil.which("less") else ""
    return None if program.strip() in NO_PAGER else program


def is_longer(data: bytes, size: os.terminal_size) -> bool:
    """Return whether a text takes more lines than the screen has above the next prompt."""
    height = size.lines - 1
    if size.lines == 0 or size.columns == 0:  # the terminal does not know its size
        return False
    if data.count(b"\n") > height or len(data) > UTF8_BYTES_MAX * height * size.columns:
        return True
    lines = data.decode(errors="replace").removesuffix("\n").split("\n")
    return sum(max(1, -(-len(line) // size.columns)) for line in lines) > height


def page(text: Iterable[bytes], program: str) -> bool:
    """Show a text through a pager; return whether it ran. Ctrl-C goes to the pager, which may exit early."""
    # Not SIG_IGN: a child inherits ignored signals, but not handlers.
    interrupts = signal.signal(signal.SIGINT, lambda *_: None)
    pipes = signal.signal(signal.SIGPIPE, signal.SIG_IGN)
    try:
        environment = {"LESS": LESS_OPTIONS, **os.environ}
        child = subprocess.Popen(program, shell=True, stdin=subprocess.PIPE, env=environment)  # noqa: S602  # the user's own command line
        return feed_program(child, text) not in NOT_RUN
    finally:
        signal.signal(signal.SIGINT, interrupts)
        signal.signal(signal.SIGPIPE, pipes)
