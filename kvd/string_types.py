"""Commands whose strings are of msgpack's other kind, made to fit: `str` where the protocol says `bin`, or the reverse.

Some libraries know one kind of string alone: PHP's writes `str`, also for bytes that are no UTF-8, and one for Perl
writes all as `bin` if asked to. So a string's bytes count, whatever its kind. Only its head is changed here, never a
byte of it, and only in a body that the decoder has refused: what other clients send costs nothing more. Pure.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import cache
from operator import is_

import msgspec
from msgspec import Raw, Struct, inspect, msgpack

from kvd.commands import COMMANDS
from kvd.commands.type_info import struct_of, without_metadata

# A body with more values is left as it is: 30 MB of empty strings would take seconds.
VALUES_MAX = 100_000

_items = msgpack.Decoder(list[Raw]).decode

FIXED_STR, FIXED_ARRAY = range(0xA0, 0xC0), range(0x90, 0xA0)
BIN = 0xC4
BIN_OF = {0xD9: BIN, 0xDA: 0xC5, 0xDB: 0xC6}  # by the number of bytes that tell the length: 1, 2, 4
STR_OF = {bin_: str_ for str_, bin_ in BIN_OF.items()}
LENGTH_BYTES = {0xDC: 2, 0xDD: 4}

View = memoryview | bytes


class TooMany(Exception):  # no error of anybody's: the body is left as it is
    """A body has more values than are looked at."""


class Left:
    """How many values may still be looked at."""

    def __init__(self) -> None:
        self._count = VALUES_MAX

    def take(self, count: int) -> None:
        """Look at some more. Raises TooMany."""
        self._count -= count
        if self._count < 0:
            raise TooMany


Fit = Callable[[View, Left], View]


def convert_strings(body: bytes) -> bytes:
    """Return a body with strings of the kinds that its command has; as it is when it is no command."""
    try:
        return bytes(_command_among(COMMANDS)(body, Left()))
    except (TooMany, msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return body


def _command_among(known: Mapping[str, type[Struct]]) -> Fit:
    """Return what makes one of these commands fit: its name is a `str`, and each argument of its kind."""

    def fit(body: View, left: Left) -> View:
        items = _items_of(body, left)
        if not items:
            return body
        name = _as_str(items[0], left)
        text = str(msgpack.decode(name)) if name[0] in FIXED_STR else ""  # no name is longer
        fits = _fits_of(known[text]) if text in known else ()
        arguments = [fit_item(item, left) for fit_item, item in zip(fits, items[1:], strict=False)]
        return _with_replaced_items(body, items, [name, *arguments])

    return fit


def _as_bin(item: View, left: Left) -> View:  # noqa: ARG001  # as every Fit
    """Return a string as a `bin`."""
    head = item[0]
    if head in FIXED_STR:
        return b"".join((bytes((BIN, head - FIXED_STR.start)), item[1:]))
    return b"".join((bytes((BIN_OF[head],)), item[1:])) if head in BIN_OF else item


def _as_str(item: View, left: Left) -> View:  # noqa: ARG001  # as every Fit
    """Return a string as a `str`. Raises UnicodeDecodeError when it is no UTF-8."""
    head = item[0]
    if head not in STR_OF:
        return item
    is_short = head == BIN and item[1] < len(FIXED_STR)
    parts = (bytes((FIXED_STR.start + item[1],)), item[2:]) if is_short else (bytes((STR_OF[head],)), item[1:])
    found = b"".join(parts)
    msgpack.decode(found)
    return found


def _as_it_is(item: View, left: Left) -> View:  # noqa: ARG001  # as every Fit
    """Return a value that is no string."""
    return item


@cache
def _fits_of(command: type[Struct]) -> tuple[Fit, ...]:
    """Return what makes each argument of a command fit, by the types of its fields."""
    return tuple(_fit_of(field.type) for field in struct_of(command).fields)


def _fit_of(expected: inspect.Type) -> Fit:
    """Return what makes a value fit a type."""
    match without_metadata(expected):
        case inspect.UnionType(types=members):
            wanted = [each for each in map(without_metadata, members) if not isinstance(each, inspect.NoneType)]
            commands = {str(each.tag): each.cls for each in wanted if isinstance(each, inspect.StructType)}
            return _command_among(commands) if commands else _fit_of(wanted[0])
        case inspect.ListType(item_type=item):
            return _list_of(_fit_of(item))
        case inspect.TupleType(item_types=parts):
            return _tuple_of([_fit_of(part) for part in parts])
        case single:
            return SCALARS.get(type(single), _as_it_is)


SCALARS: dict[type[inspect.Type], Fit] = {inspect.BytesType: _as_bin, inspect.StrType: _as_str}


def _list_of(fit_item: Fit) -> Fit:
    """Return what makes the items of a list fit."""

    def fit(body: View, left: Left) -> View:
        items = _items_of(body, left)
        return body if items is None else _with_replaced_items(body, items, [fit_item(item, left) for item in items])

    return fit


def _tuple_of(fits: Sequence[Fit]) -> Fit:
    """Return what makes the items of a tuple fit, each for itself."""

    def fit(body: View, left: Left) -> View:
        items = _items_of(body, left)
        if items is None:
            return body
        return _with_replaced_items(
            body, items, [fit_item(item, left) for fit_item, item in zip(fits, items, strict=False)]
        )

    return fit


def _items_of(body: View, left: Left) -> list[View] | None:
    """Return the items of an array, None if it is none. Raises TooMany, msgspec.DecodeError."""
    head = body[0] if len(body) else 0
    if head in FIXED_ARRAY:
        left.take(head - FIXED_ARRAY.start)
    elif head in LENGTH_BYTES:
        left.take(int.from_bytes(body[1 : 1 + LENGTH_BYTES[head]], "big"))
    else:
        return None
    return [memoryview(item) for item in _items(body)]


def _with_replaced_items(body: View, items: list[View], first: Iterable[View]) -> View:
    """Return an array with others in place of its first items. As it is when they are the same: nothing is copied."""
    found = [*first]
    if all(map(is_, found, items)):
        return body
    return msgpack.encode([*map(Raw, found), *map(Raw, items[len(found) :])])
