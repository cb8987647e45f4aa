"""A command class as a syntax: derived once from its fields, used by COMMANDS, the shell and the manual.

Pure introspection; nothing here knows any one command.
"""

import inspect
from enum import Enum
from functools import cache
from types import UnionType
from typing import Annotated, Any, NamedTuple, Union, get_args, get_origin, get_type_hints

from msgspec import NODEFAULT, Meta
from msgspec.structs import fields

from kvd.commands.base import Command, Read, ServerCommand, Write
from kvd.commands.fields import Argument, Option


class Shape(Enum):
    """How many words a field takes, and what they are."""

    ONE = "one"  # a word
    FLAG = "flag"  # a keyword alone
    MANY = "many"  # words to the end
    PAIRS = "pairs"  # words two by two to the end
    COMMAND = "command"  # a whole command to the end
    STRUCTURE = "structure"  # no words: only the wire, and the shell's BEGIN, can say it


class Parameter(NamedTuple):
    """One field of a command. `scalar` is bytes, str, int or bool; `kind` what its words mean (`key`, `prefix`...)."""

    field: str
    shape: Shape
    scalar: type
    kind: str
    required: bool
    placeholder: str
    options: tuple[Option, ...]
    scale: int

    @property
    def is_positional(self) -> bool:
        """Return whether it is told by its place rather than by a keyword."""
        return not self.options

    def text(self) -> str:
        """Return it as a syntax line shows it, without brackets."""
        if self.options:
            return " | ".join(f"{o.word} {o.placeholder}" if o.placeholder else o.word for o in self.options)
        return self.placeholder + {Shape.MANY: "...", Shape.PAIRS: "..."}.get(self.shape, "")


class Syntax(NamedTuple):
    """What is known of a command: for people, for the shell and for programs."""

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
    """Return alternatives as a syntax line shows them: bracketed when none is needed."""
    text = " | ".join(parameter.text() for parameter in group)
    return text if group[0].required else f"[{text}]"


@cache
def syntax_of(command: type[Command]) -> Syntax:
    """Return the syntax that a command class declares."""
    hints = get_type_hints(command, include_extras=True)
    parameters = tuple(
        parameter_of(field.name, hints[field.name], required=field.default is NODEFAULT) for field in fields(command)
    )
    help_text = inspect.cleandoc(command.__doc__ or "")
    return Syntax(
        name=command.command_name(),
        family=command.__module__.rpartition(".")[2],
        access=next(word for base, word in ACCESS.items() if issubclass(command, base)),
        summary=help_text.partition("\n")[0],
        help=help_text,
        parameters=parameters,
        groups=tuple(groups_of(parameters, command.exclusive)),
        examples=command.examples,
    )


ACCESS = {Read: "read", Write: "write", ServerCommand: "server"}


def groups_of(parameters: tuple[Parameter, ...], exclusive: tuple[tuple[str, ...], ...]) -> list[tuple[Parameter, ...]]:
    """Return the parameters in order, those that exclude each other together."""
    together = {name: group for group in exclusive for name in group}
    names = dict.fromkeys(together.get(parameter.field, (parameter.field,)) for parameter in parameters)
    by_name = {parameter.field: parameter for parameter in parameters}
    return [tuple(by_name[name] for name in group) for group in names]


def parameter_of(field: str, hint: Any, *, required: bool) -> Parameter:
    """Return a field's parameter, from its type and the `Option`s or `Argument` beside it."""
    hint, extras = unwrap(hint)
    options = tuple(extra for extra in extras if isinstance(extra, Option))
    argument = next((extra for extra in extras if isinstance(extra, Argument)), None)
    shape, scalar, kind = shape_of(hint, extras)
    if options and scalar is bool:
        shape = Shape.FLAG
    placeholder = argument.placeholder if argument else placeholder_of(field, shape, kind)
    return Parameter(field, shape, scalar, kind, required, placeholder, options, argument.scale if argument else 1)


def placeholder_of(field: str, shape: Shape, kind: str) -> str:
    """Return what a syntax line calls the field."""
    if shape is Shape.MANY:
        return kind
    return "key value" if shape is Shape.PAIRS else field


def shape_of(hint: Any, extras: list[Any]) -> tuple[Shape, type, str]:
    """Return the shape, the scalar type and the kind of a field's type."""
    title = next((extra.title for extra in extras if isinstance(extra, Meta) and extra.title), None)
    if hint in (bytes, str, int, bool):
        return Shape.ONE, hint, title or hint.__name__
    if get_origin(hint) is list:
        item, item_extras = unwrap(get_args(hint)[0])
        if item is bytes:
            return Shape.MANY, bytes, shape_of(item, item_extras)[2]
        if get_origin(item) is tuple and item_is_pair_of_bytes(item):
            return Shape.PAIRS, bytes, "key"
        return Shape.STRUCTURE, list, "array"
    return Shape.COMMAND, Command, "command"


def item_is_pair_of_bytes(item: Any) -> bool:
    """Return whether a tuple type is (bytes, bytes)."""
    return [unwrap(part)[0] for part in get_args(item)] == [bytes, bytes]


def unwrap(hint: Any) -> tuple[Any, list[Any]]:
    """Return a type without its `Annotated` and `| None` layers, and what those said."""
    extras: list[Any] = []
    while True:
        if get_origin(hint) is Annotated:
            hint, *said = get_args(hint)
            extras += said
            continue
        members = [arg for arg in get_args(hint) if arg is not type(None)]
        if get_origin(hint) in (Union, UnionType) and len(members) == 1:
            hint = members[0]
            continue
        return hint, extras
