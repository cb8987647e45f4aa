"""Results longer than the screen go through a pager: $KVSH_PAGER, else the file's, else $PAGER, else less.

Only where a person sits at both ends, never in a pipe. An empty variable, or `cat`, means: no pager.
"""

import os
import shutil
import signal
import subprocess
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from itertools import chain

from kvsh.ui.settings import POOR_TERMINALS

LESS_OPTIONS = "FRX"  # for a `less` that is named without options, as git has it
LESS = "less -FRX"  # leave at once if it fits, pass colours, do not clear the screen at the end
NO_PAGER = ("", "cat")
UTF8_BYTES_MAX = 4
NOT_RUN = (126, 127)  # how a shell says that it could not start a program


def show_long(make: Callable[[], Iterator[bytes]], configured: str | None = None) -> bool:
    """Show a text through the pager if it is longer than the screen; return whether that was done (else: write it).

    `make` begins the text, whose pieces are made as the pager takes them; nothing in it acts on the terminal.
    """
    if not is_person():
        return False
    text = make()
    head = head_of(text)
    program = pager_for(head, configured)
    return program is not None and page(chain([head], text), program)


def is_person() -> bool:
    """Return whether a person sits at both ends, with a terminal that a pager can use."""
    return os.isatty(0) and os.isatty(1) and os.environ.get("TERM", "") not in POOR_TERMINALS


def head_of(text: Iterator[bytes]) -> bytes:
    """Take so much of a text that it is longer than the screen, or all of it."""
    head, size = b"", os.get_terminal_size(1)
    for piece in text:
        head += piece
        if is_longer(head, size):
            break
    return head


def pour(child: "subprocess.Popen[bytes]", text: Iterable[bytes]) -> int:
    """Write a text to a program, which need not take all of it, and wait for its end; return its exit code."""
    assert child.stdin is not None
    with suppress(BrokenPipeError):
        for piece in text:
            child.stdin.write(piece)
    with suppress(BrokenPipeError):
        child.stdin.close()
    return child.wait()


def pager_for(data: bytes, configured: str | None = None) -> str | None:
    """Return the command line of the pager that this data goes through; None when it goes through none."""
    return chosen(configured) if is_person() and is_longer(data, os.get_terminal_size(1)) else None


def chosen(configured: str | None = None) -> str | None:
    """Return the pager's command line; None when there is none."""
    named = (os.environ.get("KVSH_PAGER"), configured, os.environ.get("PAGER"))
    program = next((each for each in named if each is not None), None)
    if program is None:
        program = LESS if shutil.which("less") else ""
    return None if program.strip() in NO_PAGER else program


def is_longer(data: bytes, size: os.terminal_size) -> bool:
    """Return whether a text takes more lines than a screen has above the next prompt."""
    room = size.lines - 1
    if size.lines == 0 or size.columns == 0:  # a terminal that does not know
        return False
    if data.count(b"\n") > room or len(data) > UTF8_BYTES_MAX * room * size.columns:
        return True
    lines = data.decode(errors="replace").removesuffix("\n").split("\n")
    return sum(max(1, -(-len(line) // size.columns)) for line in lines) > room


def page(text: Iterable[bytes], program: str) -> bool:
    """Show a text through a pager; return whether it ran. Ctrl-C is the pager's; that it ends early is no error."""
    # Not SIG_IGN: what is ignored stays so in the child, what is handled does not.
    interrupts = signal.signal(signal.SIGINT, lambda *_: None)
    pipes = signal.signal(signal.SIGPIPE, signal.SIG_IGN)
    try:
        environment = {"LESS": LESS_OPTIONS, **os.environ}
        child = subprocess.Popen(program, shell=True, stdin=subprocess.PIPE, env=environment)  # noqa: S602  # the person's own words
        return pour(child, text) not in NOT_RUN
    finally:
        signal.signal(signal.SIGINT, interrupts)
        signal.signal(signal.SIGPIPE, pipes)
