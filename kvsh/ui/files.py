"""A script's file, opened for reading."""

import os
from collections.abc import Iterator
from contextlib import contextmanager

from kvsh.grammar.vocabulary import Mistake


@contextmanager
def opened(name: str) -> Iterator[int]:
    """Open a file for reading. Raises Mistake when that fails."""
    try:
        fd = os.open(name, os.O_RDONLY | os.O_CLOEXEC)
    except OSError as error:
        raise Mistake(f"cannot read {name}: {error.strerror}") from None
    except ValueError:
        raise Mistake("cannot read a file with a NUL byte in its name") from None
    try:
        if os.path.isdir(name):  # noqa: PTH112  # opening a directory succeeds, reading it fails
            raise Mistake(f"cannot read {name}: it is a directory")
        yield fd
    finally:
        os.close(fd)
