"""The one introspection of command classes. Pure; it names no command.

`syntax_of` derives a `Syntax` from the fields of a class, by `msgspec.inspect`. COMMANDS, the shell's grammar, the
manual, the access rules (`key_specs.py`), the errors of the wire, HTTP's JSON, OpenAPI and gRPC read it. A new kind of
argument is added here.
"""

import inspect
from enum import Enum
from functools import cache
from typing import Any, NamedTuple

from msgspec import inspect as types

from kvd.commands.base import Command, Read, ServerCommand, Write
from kvd.commands.fields import Argument, Option
from kvd.commands.type_info import BareType, split_type, struct_of, structs_in

ACCESS = {Read: "read", Write: "write", ServerCommand: "server"}
_SCALARS: dict[type[types.Type], type] = {
    types.BytesType: bytes,
    types.StrType: str,
    types.IntType: int,
    types.BoolType: bool,
}


class Shape(Enum):
    """The number of words that a field takes, and their meaning."""

    ONE = "one"  # a word
    FLAG = "flag"  # a keyword alone
    MANY = "many"  # all further words
    PAIRS = "pairs"  # all further words, in pairs
    COMMAND = "command"  # all further words are a command
    STRUCTURE = "structure"  # no words: only the wire and the shell's BEGIN can express it


class Parameter(NamedTuple):
    """A field of a command.

    `msgspec_type` is the field's type without `| None` and title. `scalar` is bytes, str, int or bool. `kind` is the
    meaning of the words (`key`, `prefix`...).
    """

    field: str
    msgspec_type: types.Type
    shape: Shape
    scalar: type
    kind: str
    required: bool
    placeholder: str
    options: tuple[Option, ...]
    scale: int

    @property
    def is_positional(self) -> bool:
        """Whether the parameter is identified by its place, not by a keyword."""
        return not self.options

    @property
    def item_type(self) -> types.Type | None:
        """The type of a list's items; None for another type."""
        return split_type(self.msgspec_type.item_type).type if isinstance(self.msgspec_type, types.ListType) else None

    @property
    def commands(self) -> tuple[type[Command], ...]:
        """The commands that may stand in the field, or in its list."""
        return structs_in(self.item_type or self.msgspec_type)

    def text(self) -> str:
        """Return the parameter as in a syntax line, without brackets."""
        if self.options:
            return " | ".join(f"{o.word} {o.placeholder}" if o.placeholder else o.word for o in self.options)
        return self.placeholder + {Shape.MANY: "...", Shape.PAIRS: "..."}.get(self.shape, "")


class Syntax(NamedTuple):
    """A command as people, the shell and programs see it."""

    name: str
    family: str
    access: str
    summary: str
    help: str
    parameters: tuple[Parameter, ...]
    groups: tuple[tuple[Parameter, ...], ...]
    examples: tuple[str, ...]

    def usage(self) -> str:
        """Return the syntax line: `SET key value [EX seconds | PX ms | ...] ...`."""
        return " ".join([self.name, *map(group_text, self.groups)])

    def as_map(self) -> dict[str, Any]:
        """Return the row of COMMANDS."""
        arguments = [
            {"name": p.field, "type": p.kind, "required": p.required, "syntax": p.text()} for p in self.parameters
        ]
        return {
            "name": self.name,
            "family": self.family,
            "access": self.access,
            "summary": self.summary,
            "syntax": self.usage(),
            "arguments": arguments,
            "examples": list(self.examples),
        }


def group_text(group: tuple[Parameter, ...]) -> str:
    """Return alternatives as in a syntax line, in brackets if they are optional."""
    text = " | ".join(parameter.text() for parameter in group)
    return text if group[0].required else f"[{text}]"


@cache
def syntax_of(command: type[Command]) -> Syntax:
    """Return the syntax that a command class declares."""
    parameters = tuple(map(_make_parameter, struct_of(command).fields))
    help_text = inspect.cleandoc(command.__doc__ or "")
    return Syntax(
        name=command.command_name(),
        family=command.__module__.rpartition(".")[2],
        access=next(word for base, word in ACCESS.items() if issubclass(command, base)),
        summary=help_text.partition("\n")[0],
        help=help_text,
        parameters=parameters,
        groups=tuple(_groups_of(parameters, command.exclusive)),
        examples=command.examples,
    )


def _groups_of(
    parameters: tuple[Parameter, ...], exclusive: tuple[tuple[str, ...], ...]
) -> list[tuple[Parameter, ...]]:
    """Return the parameters in order, with those that exclude each other in one group."""
    groups = {name: group for group in exclusive for name in group}
    names = dict.fromkeys(groups.get(parameter.field, (parameter.field,)) for parameter in parameters)
    by_name = {parameter.field: parameter for parameter in parameters}
    return [tuple(by_name[name] for name in group) for group in names]


def _make_parameter(field: types.Field) -> Parameter:
    """Return the parameter of a field."""
    bare = split_type(field.type)
    options = tuple(extra for extra in bare.extra.values() if isinstance(extra, Option))
    argument: Argument | None = bare.extra.get("argument")
    shape, scalar, kind = _shape_of(bare)
    if options and scalar is bool:
        shape = Shape.FLAG
    placeholder = argument.placeholder if argument else _placeholder_of(field.name, shape, kind)
    scale = argument.scale if argument else 1
    return Parameter(field.name, bare.type, shape, scalar, kind, field.required, placeholder, options, scale)


def _placeholder_of(field: str, shape: Shape, kind: str) -> str:
    """Return the name of a field in a syntax line."""
    if shape is Shape.MANY:
        return kind
    return "key value" if shape is Shape.PAIRS else field


def _shape_of(bare: BareType) -> tuple[Shape, type, str]:
    """Return the shape, the scalar type and the kind of a type."""
    scalar = _SCALARS.get(type(bare.type))
    if scalar is not None:
        return Shape.ONE, scalar, bare.title or scalar.__name__
    if isinstance(bare.type, types.ListType):
        item = split_type(bare.type.item_type)
        if isinstance(item.type, types.BytesType):
            return Shape.MANY, bytes, item.title or bytes.__name__
        if isinstance(item.type, types.TupleType) and _is_pair_of_bytes(item.type):
            return Shape.PAIRS, bytes, "key"
        return Shape.STRUCTURE, list, "array"
    return Shape.COMMAND, Command, "command"


def _is_pair_of_bytes(kind: types.TupleType) -> bool:
    return [type(split_type(part).type) for part in kind.item_types] == [types.BytesType, types.BytesType]
