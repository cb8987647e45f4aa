"""FORMAT PRETTY: JSON values indented, texts in lines, binary values as a hex dump; the rest as in TERMINAL.

A result is a list of lines, and a line is a list of (style, text) pairs. A terminal shows each style in a colour
(`ui/looks.py`). Nothing in the texts acts on a terminal.
"""

import re
from itertools import starmap
from typing import Any

import msgspec

from kvd.commands import Command
from kvsh.render.data import escape
from kvsh.render.result import display_result
from kvsh.render.tables import name_columns
from kvsh.render.terminal import is_table, lines, named_cell, terminal
from kvsh.words import display_form, quote, split_at_joiners

Fragment = tuple[str, str]
Line = list[Fragment]

INDENT = 2
STYLED_BYTES_MAX = 1024 * 1024  # a larger JSON value is indented but has a single style
DUMPED_BYTES_MAX = 64 * 1024
ROW_BYTES, HALF_ROW_BYTES = 16, 8
CONTROL = re.compile(rb"[\x00-\x06\x0e-\x1a\x1c-\x1f\x7f]")
TEXT_BYTES = bytes(range(0x20, 0x7F))
TOKEN = re.compile(
    r'(?P<name>"(?:[^"\\]|\\.)*"(?=:))|(?P<string>"(?:[^"\\]|\\.)*")|(?P<number>-?[0-9][0-9.eE+-]*)'
    r"|(?P<literal>true|false|null)|(?P<plain>[^\"\w-]+|.)"
)


def pretty(command: Command, result: Any) -> bytes:
    """Return a result for reading, with its last newline."""
    return "".join([f"{''.join([text for _, text in line])}\n" for line in pretty_lines(command, result)]).encode()


def pretty_lines(command: Command, result: Any) -> list[Line]:
    value = name_columns(command, display_result(command, result))
    if isinstance(value, int) and command.result_unit:
        return _plain_lines(terminal(command, result).decode().splitlines())
    return block(value)


def block(value: Any) -> list[Line]:
    if isinstance(value, bytes):
        return _value_lines(value)
    if isinstance(value, dict) and value:
        return [line for name, item in value.items() for line in _item_lines(name, item, _name_width(value))]
    if isinstance(value, list | tuple) and value and not is_table(value):
        width = len(str(len(value)))
        labels = [f"{number:>{width}}) " for number in range(1, len(value) + 1)]
        return [line for each in starmap(_label_lines, zip(labels, map(block, value), strict=True)) for line in each]
    return _plain_lines(lines(value))


def _label_lines(label: str, unlabelled: list[Line]) -> list[Line]:
    """Return lines with a label before the first; the others are indented."""
    return [[("", label if at == 0 else " " * len(label)), *line] for at, line in enumerate(unlabelled)]


def _name_width(values: dict[Any, Any]) -> int:
    """Return the width of the column of names that have their value on the same line."""
    return max(
        (len(str(name)) for name, item in values.items() if not isinstance(item, dict | list | tuple)), default=0
    )


def _item_lines(name: Any, item: Any, width: int) -> list[Line]:
    """Return the lines of one item of a map. A value of several lines stands below its name."""
    title = display_form(str(name).encode())
    is_nested = isinstance(item, dict | list | tuple)
    if is_nested and not item:
        return [[("", f"{title:<{width}}  (empty)")]]
    value_lines = block(item) if is_nested or isinstance(item, bytes) else _plain_lines([named_cell(name, item)])
    if len(value_lines) == 1 and not is_nested:
        return [[("", f"{title:<{width}}  "), *value_lines[0]]]
    return [[("", title)], *([("", "  "), *line] for line in value_lines)]


def _plain_lines(texts: list[str]) -> list[Line]:
    """Return texts as lines without styles."""
    return [[("", text)] for text in texts]


def _value_lines(value: bytes) -> list[Line]:
    if value.lstrip()[:1] in (b"{", b"[") and (text := indent_json(value)) is not None:
        return _json_lines(text)
    if not is_text(value):
        return _dump_lines(value)
    return (
        _plain_lines(display_form(value).split("\n")) if b"\n" in value.rstrip(b"\n") else _plain_lines([quote(value)])
    )


def indent_json(value: bytes) -> str | None:
    """Return a JSON text indented, its numbers and names unchanged; None if it is not JSON."""
    try:
        text = msgspec.json.format(value, indent=INDENT).decode()
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return None
    return text if text.replace("\n", "").isprintable() else "\n".join(map(_escape_json, text.split("\n")))


def _escape_json(line: str) -> str:
    """Return a line of JSON with unprintable characters escaped, except joiners between letters."""
    parts = split_at_joiners(line)
    parts[::2] = ["".join([each if each.isprintable() else escape(each) for each in part]) for part in parts[::2]]
    return "".join(parts)


def _json_lines(text: str) -> list[Line]:
    """Return an indented JSON text as lines with a style for each kind of token."""
    if len(text) > STYLED_BYTES_MAX:
        return [[("", text)]]  # 16 MiB take 4 s as lines, 0.3 s as one text
    return [[(match.lastgroup or "", match[0]) for match in TOKEN.finditer(line)] for line in text.split("\n")]


def is_text(value: bytes) -> bool:
    """Return whether a value is UTF-8 without the control bytes that texts do not have (the rule of file(1))."""
    try:
        value.decode()
    except UnicodeDecodeError:
        return False
    return not CONTROL.search(value)


def _dump_lines(value: bytes) -> list[Line]:
    """Return the hex dump of a value, or of its beginning."""
    rows = [_dump_line(value, at) for at in range(0, min(len(value), DUMPED_BYTES_MAX), ROW_BYTES)]
    left = len(value) - DUMPED_BYTES_MAX
    return [*rows, *_plain_lines([f"... {left:,} more bytes: use the format raw"] if left > 0 else [])]


def _dump_line(value: bytes, at: int) -> Line:
    """Return one row: its offset, its bytes in hex, and its ASCII characters."""
    row = value[at : at + ROW_BYTES]
    halves = f"{row[:HALF_ROW_BYTES].hex(' '):<23}  {row[HALF_ROW_BYTES:].hex(' '):<23}"
    text = "".join([chr(byte) if byte in TEXT_BYTES else "." for byte in row])
    return [("offset", f"{at:08x}  "), ("", f"{halves}  "), ("string", f"|{text}|")]
