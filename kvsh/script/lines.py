"""Bytes to lines: takes chunks as they are read, and returns whole lines. No I/O; it holds one chunk and one line."""

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
        """Yield this line: it is a block of one."""
        yield self

    def length(self) -> int:
        return len(self.line)


class LineBlock(NamedTuple):
    """Consecutive lines of a script; `first` is the number of the first."""

    name: str
    first: int
    lines: list[bytes]

    def parts(self, size: int) -> Iterator["LineBlock"]:
        """Yield blocks of at most `size` lines."""
        for at in range(0, len(self.lines), size):
            yield LineBlock(self.name, self.first + at, self.lines[at : at + size])

    def each(self) -> Iterator[SourceLine]:
        """Yield the lines, each with its number."""
        return (SourceLine(self.name, number, line) for number, line in enumerate(self.lines, self.first))

    def length(self) -> int:
        return sum(map(len, self.lines))


class LineTooLong(ValueError):
    """A line is longer than any command."""


class Lines:
    """Splits chunks into lines. A CR at the end of a line is dropped, and a byte order mark at the start."""

    def __init__(self) -> None:
        self.parts: list[bytes] = []
        self.size = 0
        self.is_first = True

    def feed(self, chunk: bytes) -> list[bytes]:
        """Take a chunk; return the lines that are complete now. Raises LineTooLong."""
        *whole, rest = chunk.split(b"\n")
        if whole:
            whole[0] = b"".join([*self.parts, whole[0]])
            self.parts, self.size = [], 0
        self.parts.append(rest)
        self.size += len(rest)
        if self.size > LINE_BYTES_MAX:
            raise LineTooLong(f"a line is longer than {LINE_BYTES_MAX} bytes")
        # Most chunks need no cleaning, and checking each line costs as much as splitting it.
        if whole and (self.is_first or b"\r" in chunk or whole[0].endswith(b"\r")):
            return [self._clean(line) for line in whole]
        return whole

    def finish(self) -> list[bytes]:
        """Return the last line if the input ended without a newline."""
        rest = b"".join(self.parts)
        self.parts = []
        return [self._clean(rest)] if rest else []

    def _clean(self, line: bytes) -> bytes:
        """Return a line without its CR and byte order mark."""
        if self.is_first:
            self.is_first = False
            line = line.removeprefix(BOM)
        return line.removesuffix(b"\r")
