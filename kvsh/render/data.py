"""Results for programs: raw bytes, one JSON document, RFC 4180 rows. A documented contract.

raw: bytes unchanged and a newline; nil is an empty line; a list is its items, a map is `name value` lines. nul: the
same with a NUL byte for each newline, so that an item may hold newlines. JSON: one document a line. Bytes are a string
if they are UTF-8, else `{"base64": "..."}`; an error is `{"error": {"code", "message", "outcome", ...}}`. CSV: one row
a result; a list of rows is rows, a map is rows of name and value; nil is an empty field and an empty value is `""`;
CRLF ends a row.
"""

import re
from typing import Any

import msgspec

from kvd.commands import Command
from kvd.json_bytes import to_json
from kvsh.render.result import display_result

NEEDS_QUOTES = re.compile(rb'[",\r\n]|^$|^[ \t]|[ \t]$')


def raw(command: Command, result: Any) -> bytes:
    return b"".join(_raw_lines(display_result(command, result), b"\n"))


def nul(command: Command, result: Any) -> bytes:
    """Return a result as its bytes, each item followed by a NUL byte."""
    return b"".join(_raw_lines(display_result(command, result), b"\0"))


def _raw_lines(value: Any, end: bytes) -> list[bytes]:
    """Return a value as lines, each with its end. Nested values are flattened."""
    if isinstance(value, dict):
        return [line for name, item in value.items() for line in _named(str(name).encode(), item, end)]
    if isinstance(value, list | tuple):
        return [line for item in value for line in _raw_lines(item, end)]
    return [plain(value) + end]


def _named(name: bytes, value: Any, end: bytes) -> list[bytes]:
    """Return the lines of one item of a map. A nested map gives `name.inner value`."""
    if isinstance(value, dict):
        return [name + b"." + line for line in _raw_lines(value, end)]
    return [name + b" " + line for line in _raw_lines(value, end)]


def plain(value: Any) -> bytes:
    """Return a single value as bytes."""
    if value is None:
        return b""
    if isinstance(value, bytes):
        return value
    return str(value).lower().encode() if isinstance(value, bool) else str(value).encode()


def json(command: Command, result: Any) -> bytes:  # noqa: ARG001  # every format is given both
    """Return a result as a JSON document and a newline, with the structure it has on the wire."""
    return document(result)


def json_error(code: str, message: str, outcome: str, **details: Any) -> bytes:
    """Return an error as a JSON document and a newline."""
    return document({"error": {"code": code, "message": message, "outcome": outcome, **details}})


def document(value: Any) -> bytes:
    """Return a JSON document and a newline. No character in it acts on a terminal."""
    text = msgspec.json.encode(to_json(value)).decode()
    if not text.isprintable():
        text = "".join([character if character.isprintable() else escape(character) for character in text])
    return text.encode() + b"\n"


def escape(character: str) -> str:
    r"""Return a character as JSON's `\\uXXXX`."""
    units = character.encode("utf-16-be")
    return "".join(f"\\u{units[at]:02x}{units[at + 1]:02x}" for at in range(0, len(units), 2))


def csv(command: Command, result: Any) -> bytes:
    return b"".join([row(each) for each in _rows_of(display_result(command, result))])


def _rows_of(value: Any) -> list[list[Any]]:
    if isinstance(value, dict):
        return [[name, *_flat(item)] for name, item in value.items()]
    if not isinstance(value, list | tuple):
        return [[value]]
    if any(isinstance(item, list | tuple | dict) for item in value):
        return [row for item in value for row in _rows_of(item)]
    return [list(value)]


def _flat(value: Any) -> list[Any]:
    """Return a value as fields of one row."""
    if isinstance(value, dict):
        return [field for name, item in value.items() for field in (name, *_flat(item))]
    return [field for item in value for field in _flat(item)] if isinstance(value, list | tuple) else [value]


def row(fields: list[Any]) -> bytes:
    """Return one row by RFC 4180."""
    return b",".join([field(value) for value in fields]) + b"\r\n"


def field(value: Any) -> bytes:
    """Return a field, in quotes where it needs them."""
    data = plain(value)
    quotes = value is not None and NEEDS_QUOTES.search(data)
    return b'"' + data.replace(b'"', b'""') + b'"' if quotes else data
