"""Where a result goes besides the screen: into a program's standard input, or into a file."""

import os
import subprocess
from collections.abc import Iterable

from kvsh.grammar.vocabulary import Mistake
from kvsh.repl.threads import in_thread
from kvsh.ui.pager import LESS_OPTIONS, pour


async def feed(text: Iterable[bytes], program: str) -> int:
    """Run a shell's command line; the text is its input. It has the terminal. Return its exit code; raises Mistake.

    Not asyncio's subprocess: before Python 3.11.4 a program that does not read all of its input makes it raise.
    """
    if not program:
        raise Mistake("| is followed by a program")
    try:
        environment = {"LESS": LESS_OPTIONS, **os.environ}
        child = subprocess.Popen(program, shell=True, stdin=subprocess.PIPE, env=environment)  # noqa: ASYNC220, S602  # the person's words
    except (OSError, ValueError) as error:
        raise Mistake(f"cannot run a program: {error}") from None
    try:
        return await in_thread(lambda: pour(child, text))
    except BaseException:
        child.terminate()
        raise


def store(data: bytes, name: str, *, at_end: bool) -> None:
    """Write data into a file; raises Mistake."""
    try:
        with open(os.path.expanduser(name), "ab" if at_end else "wb") as file:  # noqa: PTH111, PTH123  # names may be no text
            file.write(data)
    except OSError as error:
        raise Mistake(f"cannot write {name}: {error.strerror}") from None
    except ValueError:
        raise Mistake("cannot write a file whose name has a NUL byte") from None
