r"""JSON of results and changes, also of large ones, in pieces of bounded size. Pure.

Bytes are a string when they are UTF-8, else `{"base64": "..."}`, as in `kvd.json_bytes`. In addition, bytes are base64
where their control characters would make the string longer than that: JSON writes such a character as `\u0007`, so
that 16 MiB of them would become 96 MiB.

One call that encodes 16 MiB holds Python's lock for some 100 ms, in a thread too. A piece is made in less than a
millisecond, and between two pieces other threads run.
"""

import binascii
import codecs
from collections.abc import Iterator, Sequence
from typing import Any

import msgspec

from kvd.json_bytes import BASE64, encode_bytes

PIECE_BYTES = 48 * 1024  # of the value; a multiple of 3, for base64
LEAF_BYTES = 16  # what a number, or the frame of a text, counts
# Those that JSON writes in 6 characters. The others (backspace, tab, line feed, form feed, return) take 2.
CONTROLS = bytes(set(range(32)) - set(b"\b\t\n\f\r"))
BASE64_FRAME_BYTES = len('{"base64":""}') - len('""')

encode = msgspec.json.encode


def bytes_to_json(data: bytes) -> str | dict[str, str]:
    """Return bytes as JSON has them."""
    if _is_shorter_in_base64(len(data), len(data) - len(data.translate(None, CONTROLS))):
        return {BASE64: binascii.b2a_base64(data, newline=False).decode()}
    return encode_bytes(data)


def _is_shorter_in_base64(size: int, controls: int) -> bool:
    """Return whether base64 takes less room than a string in which so many control characters are escaped."""
    return size + 5 * controls > (size + 2) // 3 * 4 + BASE64_FRAME_BYTES


def to_json(value: Any) -> Any:
    """Return a result, or a part of one, as JSON has it."""
    if isinstance(value, bytes):
        return bytes_to_json(value)
    if isinstance(value, list | tuple):
        return [to_json(each) for each in value]
    if isinstance(value, dict):
        return {name: to_json(each) for name, each in value.items()}
    return value


def weight(value: Any, enough: int) -> int:
    """Return about how many bytes a result has; it is not looked at beyond those that are enough."""
    if isinstance(value, bytes | str):
        return LEAF_BYTES + len(value)
    if isinstance(value, dict):
        return _weight_of_all([*value.values()], enough)
    if isinstance(value, list | tuple):
        return _weight_of_all(value, enough)
    return LEAF_BYTES


def _weight_of_all(values: Sequence[Any], enough: int) -> int:
    """Return the weight of several values together."""
    total = 0
    for value in values:
        if total >= enough:
            break
        total += weight(value, enough - total)
    return total


def pieces_of(value: Any) -> Iterator[bytes]:
    """Yield the JSON of a result. Each piece is of about PIECE_BYTES of it, so has at most six times as many bytes."""
    if weight(value, PIECE_BYTES) < PIECE_BYTES:
        yield encode(to_json(value))
    elif isinstance(value, bytes):
        yield from _pieces_of_bytes(value)
    elif isinstance(value, list | tuple):
        yield from _pieces_of_array(value)
    elif isinstance(value, dict):
        yield from _pieces_of_object(value)
    else:
        yield encode(value)


def join_small(pieces: Iterator[bytes]) -> Iterator[bytes]:
    """Yield pieces of PIECE_BYTES at least, but for the last."""
    parts: list[bytes] = []
    size = 0
    for piece in pieces:
        parts.append(piece)
        size += len(piece)
        if size >= PIECE_BYTES:
            yield b"".join(parts)
            parts.clear()
            size = 0
    if parts:
        yield b"".join(parts)


def _pieces_of_array(values: Sequence[Any]) -> Iterator[bytes]:
    """Yield the JSON of an array: small elements together, large ones each in pieces of their own."""
    yield b"["
    separator = b""
    for portion in chunks(values):
        yield separator
        if len(portion) == 1:
            yield from pieces_of(portion[0])
        else:
            yield encode(to_json(portion))[1:-1]
        separator = b","
    yield b"]"


def chunks(values: Sequence[Any]) -> Iterator[Sequence[Any]]:
    """Yield values, at least one, in order: several that are less than PIECE_BYTES together, or a single one."""
    begin, total = 0, 0
    for at, value in enumerate(values):
        size = weight(value, PIECE_BYTES)
        if at > begin and total + size >= PIECE_BYTES:
            yield values[begin:at]
            begin, total = at, 0
        total += size
    yield values[begin:]


def _pieces_of_object(members: dict[str, Any]) -> Iterator[bytes]:
    """Yield the JSON of an object."""
    begin = b"{"
    for name, value in members.items():
        yield begin + encode(name) + b":"
        yield from pieces_of(value)
        begin = b","
    yield b"}" if members else b"{}"


def _pieces_of_bytes(data: bytes) -> Iterator[bytes]:
    """Yield the JSON of bytes."""
    slices = [memoryview(data)[at : at + PIECE_BYTES] for at in range(0, len(data), PIECE_BYTES)]
    if _is_string(slices):
        yield b'"'
        decoder = codecs.getincrementaldecoder("utf-8")()
        for each in slices:
            yield encode(decoder.decode(each))[1:-1]
        yield b'"'
    else:
        yield b'{"base64":"'
        for each in slices:
            yield binascii.b2a_base64(each, newline=False)
        yield b'"}'


def _is_string(slices: Sequence[memoryview]) -> bool:
    """Return whether bytes are a string in JSON."""
    decoder = codecs.getincrementaldecoder("utf-8")()
    size = controls = 0
    try:
        for each in slices:
            decoder.decode(each)
            part = bytes(each)
            size += len(part)
            controls += len(part) - len(part.translate(None, CONTROLS))
        decoder.decode(b"", final=True)
    except UnicodeDecodeError:
        return False
    return not _is_shorter_in_base64(size, controls)
