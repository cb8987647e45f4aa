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
from kvd.commands.syntax import unwrapped

Look = Callable[[Any], Iterable[Any]]

NAMES = ("key", "prefix")
HARMLESS = ("value", "text", "token")


class Reach(NamedTuple):
    """How to read from a command what it names, and what is inside it."""

    names: tuple[Look, ...]
    commands: tuple[Look, ...]


def names_in(command: Command) -> Iterator[bytes]:
    """Yield each key and prefix that a command itself names."""
    for look in reach_of(type(command)).names:
        yield from look(command)


def with_inner(command: Command) -> Iterator[Command]:
    """Yield a command and those inside it."""
    yield command
    for look in reach_of(type(command)).commands:
        for inner in look(command):
            yield from with_inner(inner)


@cache
def reach_of(command: type[Command]) -> Reach:
    """Return the reach that a command class declares by the types of its fields."""
    hints = get_type_hints(command, include_extras=True)
    names: list[Look] = []
    commands: list[Look] = []
    for field in fields(command):
        value, hint = attrgetter(field.name), hints[field.name]
        if is_command(hint):
            commands.append(alone(value))
        elif (item := item_of(hint)) is not None and is_command(item):
            commands.append(value)
        elif (look := look_at(value, hint)) is not None:
            names.append(look)
    return Reach(tuple(names), tuple(commands))


def look_at(value: Look, hint: Any) -> Look | None:
    """Return how to read the keys and prefixes of a field, None if it holds none."""
    kind = kind_of(hint)
    if kind is not None:
        return one(value, is_prefix=kind == "prefix")
    item = item_of(hint)
    if item is None:
        return None
    if get_origin(unwrapped(item)[0]) is not tuple:
        return value if kind_of(item) is not None else None
    places = [place for place, part in enumerate(get_args(unwrapped(item)[0])) if kind_of(part) is not None]
    return (lambda found: [part[place] for part in value(found) for place in places]) if places else None


def alone(value: Look) -> Look:
    """Return how to read a single command."""
    return lambda found: (value(found),)


def one(value: Look, *, is_prefix: bool) -> Look:
    """Return how to read a single name; a prefix left out means all keys."""
    if is_prefix:
        return lambda found: (value(found) or b"",)
    return lambda found: () if value(found) is None else (value(found),)


def kind_of(hint: Any) -> str | None:
    """Return "key" or "prefix" if a type is one, None if it is a list or holds no key. Raises TypeError."""
    hint, extras = unwrapped(hint)
    if hint in (str, int, bool) or get_origin(hint) is list:
        return None
    title = next((extra.title for extra in extras if isinstance(extra, Meta) and extra.title), None)
    if hint is not bytes or title not in (*NAMES, *HARMLESS):
        raise TypeError(f"{title or hint}: commands/reach.py does not say whether this type names keys")
    return title if title in NAMES else None


def item_of(hint: Any) -> Any:
    """Return the type of a list's items, None if it is no list."""
    hint, _ = unwrapped(hint)
    return get_args(hint)[0] if get_origin(hint) is list else None


def is_command(hint: Any) -> bool:
    """Return whether a type is a command, or one of several."""
    hint, _ = unwrapped(hint)
    members = get_args(hint) if get_origin(hint) is Union else (hint,)
    return all(isinstance(member, type) and issubclass(member, Command) for member in members)
