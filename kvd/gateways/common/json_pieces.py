r"""Encodes results and changes as JSON, large ones in pieces of bounded size. Pure.

Bytes become a string if they are UTF-8, else `{"base64": "..."}`, as in `kvd.json_bytes`. Bytes also become base64 if
escaped control characters would make the string longer: JSON writes one as `\u0007`, so 16 MiB of them would take
96 MiB.

A single call that encodes 16 MiB holds the GIL for about 100 ms, even in a thread. Encoding a piece takes less than
a millisecond, and other threads run between two pieces.
"""

import binascii
import codecs
from collections.abc import Iterator, Sequence
from typing import Any

import msgspec

from kvd.json_bytes import BASE64, encode_bytes

PIECE_BYTES = 48 * 1024  # of the value; a multiple of 3, so that base64 needs no padding between pieces
LEAF_BYTES = 16  # the weight of a number, and of the quotes around a string
# Control characters that JSON writes with 6 characters. The others (\b, \t, \n, \f, \r) take 2.
CONTROLS = bytes(set(range(32)) - set(b"\b\t\n\f\r"))
BASE64_FRAME_BYTES = len('{"base64":""}') - len('""')

encode = msgspec.json.encode


def bytes_to_json(data: bytes) -> str | dict[str, str]:
    """Return bytes as a JSON string, or as an object with base64."""
    if _is_shorter_in_base64(len(data), len(data) - len(data.translate(None, CONTROLS))):
        return {BASE64: binascii.b2a_base64(data, newline=False).decode()}
    return encode_bytes(data)


def _is_shorter_in_base64(size: int, controls: int) -> bool:
    """Return whether base64 is shorter than a string with this number of escaped control characters."""
    return size + 5 * controls > (size + 2) // 3 * 4 + BASE64_FRAME_BYTES


def to_json(value: Any) -> Any:
    """Return a result with its bytes replaced by their JSON form."""
    if isinstance(value, bytes):
        return bytes_to_json(value)
    if isinstance(value, list | tuple):
        return [to_json(each) for each in value]
    if isinstance(value, dict):
        return {name: to_json(each) for name, each in value.items()}
    return value


def weight(value: Any, enough: int) -> int:
    """Return the approximate size of a result in bytes. Counting stops at `enough`."""
    if isinstance(value, bytes | str):
        return LEAF_BYTES + len(value)
    if isinstance(value, dict):
        return _weight_of_all([*value.values()], enough)
    if isinstance(value, list | tuple):
        return _weight_of_all(value, enough)
    return LEAF_BYTES


def _weight_of_all(values: Sequence[Any], enough: int) -> int:
    total = 0
    for value in values:
        if total >= enough:
            break
        total += weight(value, enough - total)
    return total


def pieces_of(value: Any) -> Iterator[bytes]:
    """Yield the JSON of a result in pieces of about PIECE_BYTES; escapes make a piece up to six times as long."""
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
    """Join pieces so that each but the last has at least PIECE_BYTES."""
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
    """Yield the JSON of an array: small elements together, a large one in pieces of its own."""
    yield b"["
    separator = b""
    for chunk in chunks(values):
        yield separator
        if len(chunk) == 1:
            yield from pieces_of(chunk[0])
        else:
            yield encode(to_json(chunk))[1:-1]
        separator = b","
    yield b"]"


def chunks(values: Sequence[Any]) -> Iterator[Sequence[Any]]:
    """Yield slices of the values: several that weigh less than PIECE_BYTES together, or a single one."""
    begin, total = 0, 0
    for at, value in enumerate(values):
        size = weight(value, PIECE_BYTES)
        if at > begin and total + size >= PIECE_BYTES:
            yield values[begin:at]
            begin, total = at, 0
        total += size
    yield values[begin:]


def _pieces_of_object(members: dict[str, Any]) -> Iterator[bytes]:
    begin = b"{"
    for name, value in members.items():
        yield begin + encode(name) + b":"
        yield from pieces_of(value)
        begin = b","
    yield b"}" if members else b"{}"


def _pieces_of_bytes(data: bytes) -> Iterator[bytes]:
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
    """Return whether these bytes become a JSON string rather than base64."""
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
