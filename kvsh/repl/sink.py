"""Where a result goes besides the screen: into a program's standard input, or into a file."""

import asyncio
import os
from contextlib import suppress

from kvsh.grammar.vocabulary import Mistake


async def feed(data: bytes, program: str) -> int:
    """Run a shell's command line with data as its input; it has the terminal. Return its exit code; raises Mistake."""
    if not program:
        raise Mistake("| is followed by a program")
    try:
        child = await asyncio.create_subprocess_shell(program, stdin=asyncio.subprocess.PIPE)
    except (OSError, ValueError) as error:
        raise Mistake(f"cannot run a program: {error}") from None
    try:
        await child.communicate(data)
    except BaseException:
        with suppress(ProcessLookupError):
            child.terminate()
        raise
    return child.returncode or 0


def store(data: bytes, name: str, *, at_end: bool) -> None:
    """Write data into a file; raises Mistake."""
    try:
        with open(os.path.expanduser(name), "ab" if at_end else "wb") as file:  # noqa: PTH111, PTH123  # names may be no text
            file.write(data)
    except OSError as error:
        raise Mistake(f"cannot write {name}: {error.strerror}") from None
    except ValueError:
        raise Mistake("cannot write a file whose name has a NUL byte") from None
