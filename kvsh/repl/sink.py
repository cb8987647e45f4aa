"""Where a result goes when the line says so: into a program's standard input, or into a file."""

import asyncio
import os

from kvsh.grammar.line import Sink
from kvsh.grammar.vocabulary import Mistake


async def pour(data: bytes, sink: Sink) -> None:
    """Give the data to the sink; raises Mistake when it cannot be written."""
    if sink.sign == "|":
        await feed(data, os.fsdecode(sink.target))
    else:
        await asyncio.to_thread(store, data, os.fsdecode(sink.target), at_end=sink.sign == ">>")


async def feed(data: bytes, program: str) -> None:
    """Run a program of the shell's with the data as its input; it writes to the terminal itself."""
    child = await asyncio.create_subprocess_shell(program, stdin=asyncio.subprocess.PIPE)
    try:
        await child.communicate(data)
    except BaseException:
        if child.returncode is None:
            child.terminate()
        raise


def store(data: bytes, name: str, *, at_end: bool) -> None:
    """Write the data into a file; raises Mistake."""
    try:
        with open(os.path.expanduser(name), "ab" if at_end else "wb") as file:  # noqa: PTH111, PTH123  # names may be no text
            file.write(data)
    except OSError as error:
        raise Mistake(f"cannot write {name}: {error.strerror}") from None
