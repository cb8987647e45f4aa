"""Key specs: the keys and prefixes that a command names, and the commands inside it. Pure.

They are derived once per class from its syntax, so a new command needs no line here. An omitted prefix covers all keys
and is reported as b"". A type that does not say whether it names keys raises TypeError when its class is first used.
"""

from collections.abc import Callable, Iterable, Iterator
from functools import cache
from operator import attrgetter
from typing import Any, NamedTuple

from msgspec import inspect as types

from kvd.commands.base import Command
from kvd.commands.syntax import Parameter, syntax_of
from kvd.commands.type_info import split_type

ReadKeys = Callable[[Any], Iterable[Any]]

_NAMES = ("key", "prefix")
_HARMLESS = ("value", "text", "token")
_NAMELESS = (types.StrType, types.IntType, types.BoolType, types.ListType)


class KeySpec(NamedTuple):
    """Functions that return the keys of a command, and the commands inside it."""

    names: tuple[ReadKeys, ...]
    commands: tuple[ReadKeys, ...]


def keys_of(command: Command) -> Iterator[bytes]:
    """Yield each key and prefix that a command itself names."""
    for read_keys in key_spec_of(type(command)).names:
        yield from read_keys(command)


def walk_commands(command: Command) -> Iterator[Command]:
    """Yield a command and the commands inside it."""
    yield command
    for read_commands in key_spec_of(type(command)).commands:
        for inner in read_commands(command):
            yield from walk_commands(inner)


@cache
def key_spec_of(command: type[Command]) -> KeySpec:
    """Return the key spec of a command class. Raises TypeError."""
    names: list[ReadKeys] = []
    commands: list[ReadKeys] = []
    for parameter in syntax_of(command).parameters:
        read_value = attrgetter(parameter.field)
        if parameter.commands:
            commands.append(read_value if parameter.item_type is not None else _wrap(read_value))
        elif (read_keys := _make_reader(read_value, parameter)) is not None:
            names.append(read_keys)
    return KeySpec(tuple(names), tuple(commands))


def _make_reader(read_value: ReadKeys, parameter: Parameter) -> ReadKeys | None:
    """Return a function that reads the keys and prefixes of a field, None if it has none."""
    kind = _kind_of(parameter.msgspec_type, parameter.kind)
    if kind is not None:
        return _read_one(read_value, is_prefix=kind == "prefix")
    if not isinstance(parameter.msgspec_type, types.ListType):
        return None
    item = split_type(parameter.msgspec_type.item_type)
    if not isinstance(item.type, types.TupleType):
        return read_value if _kind_of(item.type, item.title) is not None else None
    parts = map(split_type, item.type.item_types)
    places = [place for place, part in enumerate(parts) if _kind_of(part.type, part.title) is not None]
    return (lambda command: [item[place] for item in read_value(command) for place in places]) if places else None


def _wrap(read_value: ReadKeys) -> ReadKeys:
    """Return a function that reads a single command."""
    return lambda command: (read_value(command),)


def _read_one(read_value: ReadKeys, *, is_prefix: bool) -> ReadKeys:
    """Return a function that reads a single name; an omitted prefix covers all keys."""
    if is_prefix:
        return lambda command: (read_value(command) or b"",)
    return lambda command: () if read_value(command) is None else (read_value(command),)


def _kind_of(kind: types.Type, title: str | None) -> str | None:
    """Return "key" or "prefix"; None for a list and for a type without keys. Raises TypeError."""
    if isinstance(kind, _NAMELESS):
        return None
    if not isinstance(kind, types.BytesType) or title not in (*_NAMES, *_HARMLESS):
        raise TypeError(f"{title or kind}: commands/key_specs.py does not know whether this type names keys")
    return title if title in _NAMES else None
