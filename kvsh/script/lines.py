"""Bytes to lines: chunks come in as they are read, whole lines go out. No I/O; memory holds one chunk and one line."""

from collections.abc import Iterator
from typing import NamedTuple

from kvd.limits import COMMAND_BYTES_MAX

BOM = b"\xef\xbb\xbf"
# Every byte of a command's arguments may be written as `\xHH`.
LINE_BYTES_MAX = 4 * COMMAND_BYTES_MAX


class SourceLine(NamedTuple):
    """A line of a script."""

    name: str
    number: int
    line: bytes

    def each(self) -> Iterator["SourceLine"]:
        """Yield it: a line is a run of one."""
        yield self

    def length(self) -> int:
        """Return how long it is."""
        return len(self.line)


class LineBlock(NamedTuple):
    """Lines of a script that follow each other; `first` is the number of the first."""

    name: str
    first: int
    lines: list[bytes]

    def parts(self, size: int) -> Iterator["LineBlock"]:
        """Yield it in parts of so many lines."""
        for at in range(0, len(self.lines), size):
            yield LineBlock(self.name, self.first + at, self.lines[at : at + size])

    def each(self) -> Iterator[SourceLine]:
        """Yield the lines, each with its number."""
        return (SourceLine(self.name, number, line) for number, line in enumerate(self.lines, self.first))

    def length(self) -> int:
        """Return how long they are together."""
        return sum(map(len, self.lines))


class LineTooLong(ValueError):
    """A line that no command can be."""


class Lines:
    """A splitter. A line ends with a newline or the input; a CR before that, and a BOM at the start, are dropped."""

    def __init__(self) -> None:
        self.parts: list[bytes] = []
        self.size = 0
        self.is_first = True

    def feed(self, chunk: bytes) -> list[bytes]:
        """Take a chunk; return the lines that are whole now. Raises LineTooLong."""
        *whole, rest = chunk.split(b"\n")
        if whole:
            whole[0] = b"".join([*self.parts, whole[0]])
            self.parts, self.size = [], 0
        self.parts.append(rest)
        self.size += len(rest)
        if self.size > LINE_BYTES_MAX:
            raise LineTooLong(f"a line is longer than {LINE_BYTES_MAX} bytes")
        # Of most chunks nothing is to be cleaned, and to look at each line costs as much as to cut it.
        if whole and (self.is_first or b"\r" in chunk or whole[0].endswith(b"\r")):
            return [self.clean(line) for line in whole]
        return whole

    def finish(self) -> list[bytes]:
        """Return the last line if the input ended without a newline."""
        rest = b"".join(self.parts)
        self.parts = []
        return [self.clean(rest)] if rest else []

    def clean(self, line: bytes) -> bytes:
        """Return a line without what editors of other systems add."""
        if self.is_first:
            self.is_first = False
            line = line.removeprefix(BOM)
        return line.removesuffix(b"\r")
