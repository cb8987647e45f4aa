"""The records of a file: read in large parts, counted by lines. Pure but for `read`."""

from collections.abc import Callable, Iterable, Iterator
from typing import NamedTuple

from kvd.limits import KIB
from kvd.transfer.formats import BYTE_ORDER_MARK, RECORD_BYTES_MAX, Entry, Format, Malformed

READ_BYTES = 256 * KIB


class BadLine(Exception):
    """A line that cannot be imported: its number, from 1, and the reason."""

    def __init__(self, number: int, message: str) -> None:
        super().__init__(message)
        self.number = number


class Record(NamedTuple):
    """An entry and its first and last line in the file, from 1."""

    first: int
    last: int
    entry: Entry


class Lines:
    """The lines of a file, without their ends. `read(size)` returns at most `size` bytes, and none at the end."""

    def __init__(self, read: Callable[[int], bytes]) -> None:
        self.read = read
        self.bytes = 0  # read so far
        self.is_cut = False  # the last line has no end

    def __iter__(self) -> Iterator[tuple[int, bytes]]:
        """Yield (number, line), from 1. Raises BadLine at a line longer than any record, before all of it is read."""
        number, size = 1, 0
        parts: list[bytes] = []
        while chunk := self.read(READ_BYTES):
            self.bytes += len(chunk)
            first, *others = chunk.split(b"\n")
            parts.append(first)
            size += len(first)
            if size > RECORD_BYTES_MAX:
                raise BadLine(number, "the line is longer than any entry can be")
            if others:
                yield number, b"".join(parts)
                yield from enumerate(others[:-1], number + 1)
                number += len(others)
                parts = [others[-1]]
                size = len(others[-1])
        if size:
            self.is_cut = True
            yield number, b"".join(parts)


def parse_records(lines: Lines, form: Format, skip: int) -> Iterator[Record]:
    """Yield the entries after `skip` lines. Raises BadLine.

    Empty lines are ignored. The header counts as a line, and is checked even when it is skipped.
    """
    numbered = iter(lines)
    if form.header:
        _check_header(next(numbered, (1, b""))[1], form.header)
    kept = ((number, line) for number, line in numbered if number > skip)
    whole = _join_quoted(kept, lines) if form.is_quoted else ((number, number, line) for number, line in kept)
    for first, last, record in whole:
        if record and not record.isspace():
            try:
                yield Record(first, last, form.decode(record))
            except Malformed as error:
                raise BadLine(first, str(error)) from None


def _check_header(line: bytes, header: bytes) -> None:
    """Raise BadLine when the first line is not the header."""
    if line.removeprefix(BYTE_ORDER_MARK).rstrip(b"\r") != header:
        raise BadLine(1, f"the first line is not {header.decode()}")


def _join_quoted(numbered: Iterable[tuple[int, bytes]], lines: Lines) -> Iterator[tuple[int, int, bytes]]:
    """Yield (first, last, record): a line end within quotes belongs to the record. Raises BadLine."""
    record = bytearray()
    first = 0  # the first line of `record`; 0: it is empty
    for number, line in numbered:
        is_odd = line.count(b'"') % 2 == 1
        if not first and not is_odd:
            if lines.is_cut:
                raise BadLine(number, "the last line has no line end: is the file whole?")
            yield number, number, line
            continue
        first = first or number
        record += line
        if is_odd and first != number:
            if lines.is_cut:
                raise BadLine(first, "the last line has no line end: is the file whole?")
            yield first, number, bytes(record)
            record, first = bytearray(), 0
            continue
        record += b"\n"
        if len(record) > RECORD_BYTES_MAX:
            break
    if first:
        raise BadLine(first, "a quote is opened and never closed")
