"""What a command reaches: the keys and prefixes it names, and the commands inside it. Pure introspection.

Derived once per class from the types of its fields, so that a new command has its rule without a line here. A
prefix left out reaches all keys, and is told as b"". A field whose type does not say whether it names keys has no
rule: TypeError, when the class is first looked at.
"""

from collections.abc import Callable, Iterable, Iterator
from functools import cache
from operator import attrgetter
from typing import Any, NamedTuple, Union, get_args, get_origin, get_type_hints

from msgspec import Meta
from msgspec.structs import fields

from kvd.commands.base import Command
from kvd.commands.syntax import unwrap

ReadKeys = Callable[[Any], Iterable[Any]]

NAMES = ("key", "prefix")
HARMLESS = ("value", "text", "token")


class KeySpec(NamedTuple):
    """How to read from a command what it names, and what is inside it."""

    names: tuple[ReadKeys, ...]
    commands: tuple[ReadKeys, ...]


def keys_of(command: Command) -> Iterator[bytes]:
    """Yield each key and prefix that a command itself names."""
    for look in key_spec_of(type(command)).names:
        yield from look(command)


def walk_commands(command: Command) -> Iterator[Command]:
    """Yield a command and those inside it."""
    yield command
    for look in key_spec_of(type(command)).commands:
        for inner in look(command):
            yield from walk_commands(inner)


@cache
def key_spec_of(command: type[Command]) -> KeySpec:
    """Return the reach that a command class declares by the types of its fields."""
    hints = get_type_hints(command, include_extras=True)
    names: list[ReadKeys] = []
    commands: list[ReadKeys] = []
    for field in fields(command):
        value, hint = attrgetter(field.name), hints[field.name]
        if is_command(hint):
            commands.append(alone(value))
        elif (item := item_of(hint)) is not None and is_command(item):
            commands.append(value)
        elif (look := reader_of(value, hint)) is not None:
            names.append(look)
    return KeySpec(tuple(names), tuple(commands))


def reader_of(value: ReadKeys, hint: Any) -> ReadKeys | None:
    """Return how to read the keys and prefixes of a field, None if it holds none."""
    kind = kind_of(hint)
    if kind is not None:
        return one(value, is_prefix=kind == "prefix")
    item = item_of(hint)
    if item is None:
        return None
    if get_origin(unwrap(item)[0]) is not tuple:
        return value if kind_of(item) is not None else None
    places = [place for place, part in enumerate(get_args(unwrap(item)[0])) if kind_of(part) is not None]
    return (lambda found: [part[place] for part in value(found) for place in places]) if places else None


def alone(value: ReadKeys) -> ReadKeys:
    """Return how to read a single command."""
    return lambda found: (value(found),)


def one(value: ReadKeys, *, is_prefix: bool) -> ReadKeys:
    """Return how to read a single name; a prefix left out means all keys."""
    if is_prefix:
        return lambda found: (value(found) or b"",)
    return lambda found: () if value(found) is None else (value(found),)


def kind_of(hint: Any) -> str | None:
    """Return "key" or "prefix" if a type is one, None if it is a list or holds no key. Raises TypeError."""
    hint, extras = unwrap(hint)
    if hint in (str, int, bool) or get_origin(hint) is list:
        return None
    title = next((extra.title for extra in extras if isinstance(extra, Meta) and extra.title), None)
    if hint is not bytes or title not in (*NAMES, *HARMLESS):
        raise TypeError(f"{title or hint}: commands/key_specs.py does not say whether this type names keys")
    return title if title in NAMES else None


def item_of(hint: Any) -> Any:
    """Return the type of a list's items, None if it is no list."""
    hint, _ = unwrap(hint)
    return get_args(hint)[0] if get_origin(hint) is list else None


def is_command(hint: Any) -> bool:
    """Return whether a type is a command, or one of several."""
    hint, _ = unwrap(hint)
    members = get_args(hint) if get_origin(hint) is Union else (hint,)
    return all(isinstance(member, type) and issubclass(member, Command) for member in members)
