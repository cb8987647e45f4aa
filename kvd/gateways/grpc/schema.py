"""A command class as a message of Protocol Buffers, derived from its syntax.

The number of a field is its place in the struct, as on kvd's own wire, where a new argument goes to the end too. Each
single field has presence (`optional`), even if the command needs it: an omitted argument is then an error, and not an
empty value that SET would store.

A command that may stand inside another one has a `grpc_number` in its class, its place in the message `Command`.
Clients send this number, so it is never changed and never reused. It is not derived from the order of the classes,
which changes when one is inserted. Numbers up to 15 take one byte, and a transaction has thousands of them.
"""

from functools import cache
from typing import NamedTuple

from msgspec import inspect as types

from kvd.commands import COMMANDS, Command, syntax_of
from kvd.commands.syntax import Parameter
from kvd.commands.type_info import split_type

NESTED = "Command"
PAIRS: dict[tuple[type[types.Type], ...], str] = {
    (types.BytesType, types.BytesType): "Pair",
    (types.BytesType, types.IntType): "Condition",
}
_SCALARS: dict[type[types.Type], str] = {
    types.BytesType: "bytes",
    types.StrType: "string",
    types.BoolType: "bool",
}


class Field(NamedTuple):
    """A field of a request. `items_max` is the bound of a repeated field, `members` are the commands that it may be."""

    name: str
    number: int
    kind: str
    is_repeated: bool
    is_required: bool
    items_max: int | None
    members: tuple[type[Command], ...]


def rpc_of(command: type[Command]) -> str:
    """Return the name of a command's rpc: the class's name if it is the command's name in another case."""
    name, tag = command.__name__, command.command_name()
    return name if name.upper() == tag else tag.capitalize()


def request_of(command: type[Command]) -> str:
    """Return the name of a command's message."""
    return f"{rpc_of(command)}Request"


@cache
def fields_of(command: type[Command]) -> tuple[Field, ...]:
    """Return the fields of a command's message. Raises TypeError for a type without a form."""
    parameters = syntax_of(command).parameters
    return tuple(_make_field(parameter, place) for place, parameter in enumerate(parameters, 1))


def _make_field(parameter: Parameter, number: int) -> Field:
    """Return the field of a parameter. Raises TypeError."""
    items_max = parameter.msgspec_type.max_length if isinstance(parameter.msgspec_type, types.ListType) else None
    item = parameter.item_type
    kind = NESTED if parameter.commands else kind_of(parameter.msgspec_type if item is None else item)
    is_repeated, is_required = item is not None, parameter.required
    return Field(parameter.field, number, kind, is_repeated, is_required, items_max, parameter.commands)


def kind_of(kind: types.Type) -> str:
    """Return the Protocol Buffers type of a type that is no list. Raises TypeError."""
    if isinstance(kind, types.IntType):
        # Negative numbers are short in sint64.
        return "uint64" if kind.ge is not None and kind.ge >= 0 else "sint64"
    if isinstance(kind, types.TupleType):
        found = PAIRS.get(tuple(type(split_type(part).type) for part in kind.item_types))
    else:
        found = _SCALARS.get(type(kind))
    if found is None:
        raise TypeError(f"{kind}: there is no Protocol Buffers type for this yet: see schema.py")
    return str(found)


@cache
def nested_commands() -> tuple[tuple[int, type[Command]], ...]:
    """Return the commands that may stand inside another one, by number. Raises LookupError."""
    members = {member for command in COMMANDS.values() for field in fields_of(command) for member in field.members}
    numbered = sorted((member.grpc_number, member.command_name()) for member in members)
    check_numbers({name: number for number, name in numbered})
    return tuple((number, COMMANDS[name]) for number, name in numbered)


def check_numbers(numbers: dict[str, int]) -> None:
    """Raise LookupError for a command without a number, or with the number of another."""
    free = max(numbers.values()) + 1
    owners: dict[int, str] = {}
    for name, number in numbers.items():
        if not number:
            raise LookupError(f"{name} has no grpc_number: put `grpc_number = {free}` into its class")
        if number in owners:
            raise LookupError(f"{name} and {owners[number]} have one grpc_number: the next free one is {free}")
        owners[number] = name
