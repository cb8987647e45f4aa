"""Converts strings of a command to the kind the protocol has: msgpack's `str` where it says `bin`, or the reverse.

Some libraries have only one kind of string: PHP's encodes `str`, also for bytes that are not UTF-8, and one for Perl
encodes `bin` if asked to. So the bytes of a string count, whatever its kind. Only the head of a string changes, never
its bytes, and only in a body that the decoder has refused: other clients pay nothing. Pure.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import cache
from operator import is_

import msgspec
from msgspec import Raw, Struct, inspect, msgpack

from kvd.commands import COMMANDS
from kvd.commands.type_info import struct_of, without_metadata

# A body with more values is not converted: 30 MB of empty strings would take seconds.
VALUES_MAX = 100_000

_items = msgpack.Decoder(list[Raw]).decode

FIXED_STR, FIXED_ARRAY = range(0xA0, 0xC0), range(0x90, 0xA0)
BIN = 0xC4
BIN_OF = {0xD9: BIN, 0xDA: 0xC5, 0xDB: 0xC6}  # by the size of the length field: 1, 2, 4 bytes
STR_OF = {bin_: str_ for str_, bin_ in BIN_OF.items()}
LENGTH_BYTES = {0xDC: 2, 0xDD: 4}

View = memoryview | bytes


class TooManyValues(Exception):  # not an error: the body is not converted
    """A body has more than VALUES_MAX values."""


class ValueCounter:
    """Counts the values of a body, up to VALUES_MAX."""

    def __init__(self) -> None:
        self._count = VALUES_MAX

    def add(self, count: int) -> None:
        """Count values. Raises TooManyValues."""
        self._count -= count
        if self._count < 0:
            raise TooManyValues


Converter = Callable[[View, ValueCounter], View]


def convert_strings(body: bytes) -> bytes:
    """Return a body with the string kinds of its command; unchanged if it is not a command."""
    try:
        return bytes(_command_converter(COMMANDS)(body, ValueCounter()))
    except (TooManyValues, msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return body


def _command_converter(known: Mapping[str, type[Struct]]) -> Converter:
    """Return the converter of these commands: the name is a `str`, each argument has its own kind."""

    def convert(body: View, counter: ValueCounter) -> View:
        items = _items_of(body, counter)
        if not items:
            return body
        name = _to_str(items[0], counter)
        text = str(msgpack.decode(name)) if name[0] in FIXED_STR else ""  # every command's name is that short
        converters = _converters_of(known[text]) if text in known else ()
        arguments = [convert_item(item, counter) for convert_item, item in zip(converters, items[1:], strict=False)]
        return _replace_items(body, items, [name, *arguments])

    return convert


def _to_bin(item: View, counter: ValueCounter) -> View:  # noqa: ARG001  # as every Converter
    """Return a string as a `bin`."""
    head = item[0]
    if head in FIXED_STR:
        return b"".join((bytes((BIN, head - FIXED_STR.start)), item[1:]))
    return b"".join((bytes((BIN_OF[head],)), item[1:])) if head in BIN_OF else item


def _to_str(item: View, counter: ValueCounter) -> View:  # noqa: ARG001  # as every Converter
    """Return a string as a `str`. Raises UnicodeDecodeError."""
    head = item[0]
    if head not in STR_OF:
        return item
    is_short = head == BIN and item[1] < len(FIXED_STR)
    parts = (bytes((FIXED_STR.start + item[1],)), item[2:]) if is_short else (bytes((STR_OF[head],)), item[1:])
    converted = b"".join(parts)
    msgpack.decode(converted)
    return converted


def _keep(item: View, counter: ValueCounter) -> View:  # noqa: ARG001  # as every Converter
    """Return a value that is not a string."""
    return item


@cache
def _converters_of(command: type[Struct]) -> tuple[Converter, ...]:
    """Return the converter of each argument, by the types of the fields."""
    struct = struct_of(command)
    assert isinstance(struct, inspect.StructType)
    return tuple(_converter_of(field.type) for field in struct.fields)


def _converter_of(expected: inspect.Type) -> Converter:
    """Return the converter to a type."""
    match without_metadata(expected):
        case inspect.UnionType(types=members):
            members_but_nil = [
                each for each in map(without_metadata, members) if not isinstance(each, inspect.NoneType)
            ]
            commands = {str(each.tag): each.cls for each in members_but_nil if isinstance(each, inspect.StructType)}
            return _command_converter(commands) if commands else _converter_of(members_but_nil[0])
        case inspect.ListType(item_type=item):
            return _list_converter(_converter_of(item))
        case inspect.TupleType(item_types=parts):
            return _tuple_converter([_converter_of(part) for part in parts])
        case single:
            return SCALARS.get(type(single), _keep)


SCALARS: dict[type[inspect.Type], Converter] = {inspect.BytesType: _to_bin, inspect.StrType: _to_str}


def _list_converter(convert_item: Converter) -> Converter:
    """Return the converter of a list with these items."""

    def convert(body: View, counter: ValueCounter) -> View:
        items = _items_of(body, counter)
        return body if items is None else _replace_items(body, items, [convert_item(item, counter) for item in items])

    return convert


def _tuple_converter(converters: Sequence[Converter]) -> Converter:
    """Return the converter of a tuple with these items."""

    def convert(body: View, counter: ValueCounter) -> View:
        items = _items_of(body, counter)
        if items is None:
            return body
        return _replace_items(
            body, items, [convert_item(item, counter) for convert_item, item in zip(converters, items, strict=False)]
        )

    return convert


def _items_of(body: View, counter: ValueCounter) -> list[View] | None:
    """Return the items of an array, or None for another value. Raises TooManyValues, msgspec.DecodeError."""
    head = body[0] if len(body) else 0
    if head in FIXED_ARRAY:
        counter.add(head - FIXED_ARRAY.start)
    elif head in LENGTH_BYTES:
        counter.add(int.from_bytes(body[1 : 1 + LENGTH_BYTES[head]], "big"))
    else:
        return None
    return [memoryview(item) for item in _items(body)]


def _replace_items(body: View, items: list[View], first: Iterable[View]) -> View:
    """Return an array with its first items replaced. Returns it uncopied if they are the same objects."""
    converted = [*first]
    if all(map(is_, converted, items)):
        return body
    return msgpack.encode([*map(Raw, converted), *map(Raw, items[len(converted) :])])
