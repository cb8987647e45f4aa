"""Results into a program's standard input, or into a file."""

import os
import subprocess
from collections.abc import Iterable

from kvsh.grammar.vocabulary import Mistake
from kvsh.repl.threads import in_thread
from kvsh.ui.pager import LESS_OPTIONS, feed_program


async def feed(text: Iterable[bytes], program: str) -> int:
    """Run a command line of the system's shell with a text as its input; return its exit code. Raises Mistake.

    The program has the terminal. Not asyncio's subprocess: before Python 3.11.4 it raises when the program does not
    read all of its input.
    """
    if not program:
        raise Mistake("| is followed by a program")
    try:
        environment = {"LESS": LESS_OPTIONS, **os.environ}
        child = subprocess.Popen(program, shell=True, stdin=subprocess.PIPE, env=environment)  # noqa: ASYNC220, S602  # the user's own command line
    except (OSError, ValueError) as error:
        raise Mistake(f"cannot run a program: {error}") from None
    try:
        return await in_thread(lambda: feed_program(child, text))
    except BaseException:
        child.terminate()
        raise


def store(data: bytes, name: str, *, at_end: bool) -> None:
    """Write data into a file. Raises Mistake."""
    try:
        with open(os.path.expanduser(name), "ab" if at_end else "wb") as file:  # noqa: PTH111, PTH123  # names may not be text
            file.write(data)
    except OSError as error:
        raise Mistake(f"cannot write {name}: {error.strerror}") from None
    except ValueError:
        raise Mistake("cannot write a file with a NUL byte in its name") from None
