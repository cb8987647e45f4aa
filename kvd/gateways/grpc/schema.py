"""A command class as a message of Protocol Buffers: pure introspection, nothing here knows any one command.

A field's number is its place in the struct, as on kvd's own wire: there too a new argument goes to the end. Each single
field has presence (`optional`), also where the command needs it: an argument that was forgotten is an error then, and
not an empty value, which SET would set.
"""

from functools import cache
from typing import Any, NamedTuple, get_args, get_type_hints

from msgspec import NODEFAULT, Meta
from msgspec.structs import fields

from kvd.commands import COMMANDS, Command
from kvd.commands.syntax import unwrap
from kvd.gateways.grpc.numbers import NUMBERS

NESTED = "Command"
PAIRS = {(bytes, bytes): "Pair", (bytes, int): "Condition"}
SCALARS = {bytes: "bytes", str: "string", bool: "bool"}


class Field(NamedTuple):
    """A field of a request. `most` is how many a repeated one may have, `members` are the commands it may be."""

    name: str
    number: int
    kind: str
    is_repeated: bool
    is_required: bool
    most: int | None
    members: tuple[type[Command], ...]


def rpc_of(command: type[Command]) -> str:
    """Return what a command is called here: `MultiGet`, as its class, where that is its name but for the case."""
    name, tag = command.__name__, command.command_name()
    return name if name.upper() == tag else tag.capitalize()


def request_of(command: type[Command]) -> str:
    """Return the name of a command's message."""
    return f"{rpc_of(command)}Request"


@cache
def fields_of(command: type[Command]) -> tuple[Field, ...]:
    """Return the fields of a command's message. Raises TypeError for a type that has no place here."""
    hints = get_type_hints(command, include_extras=True)
    return tuple(
        Field(field.name, place, *kind_of(hints[field.name], is_required=field.default is NODEFAULT))
        for place, field in enumerate(fields(command), 1)
    )


def kind_of(hint: Any, *, is_required: bool) -> tuple[str, bool, bool, int | None, tuple[type[Command], ...]]:
    """Return what follows the number in a Field. Raises TypeError."""
    plain, said = unwrap(hint)
    is_repeated = getattr(plain, "__origin__", None) is list
    bounds = [extra for extra in said if isinstance(extra, Meta)]
    most = next((meta.max_length for meta in bounds if meta.max_length is not None), None) if is_repeated else None
    if is_repeated:
        plain, said = unwrap(get_args(plain)[0])
        bounds = [extra for extra in said if isinstance(extra, Meta)]
    parts = tuple(unwrap(part)[0] for part in get_args(plain))
    if parts and all(isinstance(part, type) and issubclass(part, Command) for part in parts):
        return NESTED, is_repeated, is_required, most, parts
    if plain is int:
        # sint64, whose numbers below 0 are short, for what may be below it.
        is_natural = any(meta.ge is not None and meta.ge >= 0 for meta in bounds)
        return "uint64" if is_natural else "sint64", is_repeated, is_required, most, ()
    kind = SCALARS.get(plain) or PAIRS.get(parts)
    if kind is None:
        raise TypeError(f"{hint}: there is no type of Protocol Buffers for this yet: see schema.py")
    return kind, is_repeated, is_required, most, ()


@cache
def nested_commands() -> tuple[tuple[int, type[Command]], ...]:
    """Return the commands that may stand inside of another, with their numbers. Raises LookupError for one without."""
    found = {member for command in COMMANDS.values() for field in fields_of(command) for member in field.members}
    names = {member.command_name() for member in found}
    if missing := names - NUMBERS.keys():
        raise LookupError(f"numbers.py has no number for {', '.join(sorted(missing))}: give the next one")
    return tuple((NUMBERS[name], COMMANDS[name]) for name in sorted(names, key=NUMBERS.__getitem__))
