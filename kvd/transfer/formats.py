"""The two text formats of entries, JSON Lines and CSV: any bytes in, the same bytes out. Pure.

A key or a value that is UTF-8 is text; any other is base64. So an entry is always written the same way. Input that
cannot be read raises `Malformed`, and nothing else.
"""

import csv
import re
from base64 import b64decode, b64encode
from collections.abc import Callable, Iterable, Sequence
from io import StringIO
from types import NoneType
from typing import Annotated, Any, NamedTuple

import msgspec
from msgspec import Meta, Struct

from kvd.commands.diagnosis import Fault, Finding, Inside, Problem, first_fault
from kvd.commands.type_info import type_of
from kvd.limits import KEY_BYTES_MAX, KIB, TIME_MS_MAX, VALUE_BYTES_MAX

Entry = tuple[bytes, bytes, int | None]  # key, value, and when it expires in Unix ms (None: it stays)

# The longest possible entry: a byte of text takes at most six characters of JSON.
RECORD_BYTES_MAX = 6 * (KEY_BYTES_MAX + VALUE_BYTES_MAX) + KIB
CSV_HEADER = b"key,value,expires,encoding"
BYTE_ORDER_MARK = b"\xef\xbb\xbf"  # spreadsheets begin a file with one
EXPIRES = re.compile("[0-9]{1,15}")

csv.field_size_limit(RECORD_BYTES_MAX)  # the module's default is 128 KiB


class Malformed(ValueError):
    """A record that is not an entry; the message says what is wrong with it."""


class Format(NamedTuple):
    """How entries are written and read. A record is the bytes of one entry, without its last line end."""

    header: bytes  # the first line; empty if there is none
    encode: Callable[[Iterable[Sequence[object]]], bytes]  # takes [key, value, revision, expires]: SCAN's items
    decode: Callable[[bytes], Entry]
    is_quoted: bool  # a line end may stand within quotes, and without a last line end the file may be cut


class Line(Struct, omit_defaults=True, forbid_unknown_fields=True):
    """A line of JSON: each of key and value as text or, when it is not UTF-8, as base64."""

    key: str | None = None
    key64: bytes | None = None
    value: str | None = None
    value64: bytes | None = None
    expires: Annotated[int, Meta(ge=1, le=TIME_MS_MAX)] | None = None


ENCODER = msgspec.json.Encoder()
DECODER = msgspec.json.Decoder(Line)
BASE64 = ("key64", "value64")


def _text_of(data: bytes) -> str | None:
    """Return bytes as text, or None when they are not UTF-8."""
    try:
        return data.decode()
    except UnicodeDecodeError:
        return None


def _encode_jsonl(items: Iterable[Sequence[object]]) -> bytes:
    lines = []
    for key, value, _, expires in items:
        key_text, value_text = _text_of(key), _text_of(value)  # type: ignore[arg-type]  # as the wire has it
        lines.append(
            Line(
                key_text,
                key if key_text is None else None,  # type: ignore[arg-type]
                value_text,
                value if value_text is None else None,  # type: ignore[arg-type]
                expires,  # type: ignore[arg-type]
            )
        )
    return ENCODER.encode_lines(lines)


def decode_jsonl(record: bytes) -> Entry:
    """Return the entry of a line. Raises Malformed."""
    try:
        line = DECODER.decode(record)
        key = _one_of(line.key, line.key64, "key")
        return _check_entry(key, _one_of(line.value, line.value64, "value"), line.expires)
    except Malformed:
        raise
    except msgspec.ValidationError:
        raise Malformed(_line_problem(record)) from None
    except (msgspec.DecodeError, ValueError, RecursionError) as error:
        raise Malformed(f"is not JSON: {error}") from None


NAMES: dict[type, str] = {str: "text", int: "a whole number", bytes: "base64", dict: "an object"}
GOT: dict[type, str] = {**NAMES, float: "a fraction", bool: "true or false", list: "an array", NoneType: "null"}


def _line_problem(record: bytes) -> str:
    """Return why a record is not a `Line`."""
    try:
        data = msgspec.json.decode(record)
    except (msgspec.DecodeError, ValueError, RecursionError) as error:  # behind what the decoder of `Line` read
        return f"is not JSON: {error}"
    if isinstance(data, dict):
        data = {name: _data_of(value) if name in BASE64 else value for name, value in data.items()}
    fault = first_fault(data, type_of(Line))
    return _describe_fault(fault.fault if isinstance(fault, Inside) else fault)


def _describe_fault(fault: Finding | None) -> str:
    """Return what is wrong with a line."""
    if not isinstance(fault, Fault):  # the first of two members with one name: the second is valid
        return "has a member twice"
    if fault.problem is Problem.MEMBER:
        return f"has an unknown field `{fault.got}`: there are {', '.join(Line.__struct_fields__)}"
    name = fault.path[0] if fault.path else "the line"
    if fault.problem is Problem.TYPE:
        return f"{name} has to be {NAMES[fault.expected]}, not {GOT.get(fault.got, fault.got.__name__)}"
    return f"{name} has to be at {'least' if fault.problem is Problem.MIN else 'most'} {fault.bound}"


def _data_of(value: Any) -> Any:
    """Decode base64; return anything else as it is."""
    try:
        return b64decode(value, validate=True) if isinstance(value, str) else value
    except ValueError:
        return value


def _one_of(text: str | None, data: bytes | None, name: str) -> bytes:
    """Return a key or a value, which must have exactly one form. Raises ValueError."""
    if data is None:
        if text is None:
            raise Malformed(f"has neither {name} nor {name}64")
        return text.encode()
    if text is not None:
        raise Malformed(f"has both {name} and {name}64")
    return data


def _encode_csv(items: Iterable[Sequence[object]]) -> bytes:
    rows = StringIO()
    write = csv.writer(rows, lineterminator="\r\n").writerow
    for key, value, _, expires in items:
        key_text, value_text = _text_of(key), _text_of(value)  # type: ignore[arg-type]
        if key_text is None or value_text is None:
            write([b64encode(key).decode(), b64encode(value).decode(), expires, "base64"])  # type: ignore[arg-type]
        else:
            write([key_text, value_text, expires, ""])
    return rows.getvalue().encode()


def decode_csv(record: bytes) -> Entry:
    """Return the entry of a row. Raises Malformed."""
    try:
        rows = list(csv.reader([record.decode()], strict=True))
    except (ValueError, csv.Error) as error:
        raise Malformed(str(error)) from None
    cells = rows[0] if len(rows) == 1 else []
    if len(cells) != CSV_HEADER.count(b",") + 1:
        raise Malformed(f"has {len(cells)} cells, not the 4 of {CSV_HEADER.decode()}")
    key, value, expires, encoding = cells
    if expires and not (EXPIRES.fullmatch(expires) and 1 <= int(expires) <= TIME_MS_MAX):
        raise Malformed(f"expires is {expires[:40]!r}; it has to be empty or Unix milliseconds")
    if encoding not in ("", "base64"):
        raise Malformed(f"encoding is {encoding[:40]!r}; it has to be empty or base64")
    until = int(expires) if expires else None
    if not encoding:
        return _check_entry(key.encode(), value.encode(), until)
    try:
        return _check_entry(b64decode(key, validate=True), b64decode(value, validate=True), until)
    except Malformed:
        raise
    except ValueError as error:
        raise Malformed(f"its base64 cannot be read: {error}") from None


def _check_entry(key: bytes, value: bytes, expires: int | None) -> Entry:
    """Return an entry that the daemon accepts. Raises Malformed."""
    if not key:
        raise Malformed("the key is empty")
    if len(key) > KEY_BYTES_MAX:
        raise Malformed(f"the key has {len(key):,} bytes; at most {KEY_BYTES_MAX:,} are possible")
    if len(value) > VALUE_BYTES_MAX:
        raise Malformed(f"the value has {len(value):,} bytes; at most {VALUE_BYTES_MAX:,} are possible")
    return key, value, expires


FORMATS = {
    "jsonl": Format(b"", _encode_jsonl, decode_jsonl, is_quoted=False),
    "csv": Format(CSV_HEADER, _encode_csv, decode_csv, is_quoted=True),
}


def guess_format(name: str) -> str:
    """Return the format for a file name: csv if it ends in .csv, otherwise jsonl."""
    return "csv" if name.lower().endswith(".csv") else "jsonl"
