"""Calls of a command, made of the first example in its class: for commands that a table of a test does not have."""

from typing import Any

from kvd.commands import COMMANDS, Command, syntax_of
from kvd.commands.syntax import Shape
from kvsh.grammar.parse import parse

NAMES = ("key", "prefix")


def example_of(name: str) -> Command:
    """Return the command of the first example."""
    return parse(COMMANDS[name].examples[0].encode())


def fields_of(command: Command) -> dict[str, Any]:
    """Return the fields of a command that are not nil."""
    values = {name: getattr(command, name) for name in command.__struct_fields__}
    return {name: value for name, value in values.items() if value is not None}


def call_with_key(name: str, key: bytes) -> list[Any]:
    """Return the array of the example on the wire, with a key in place of its keys and prefixes."""
    fields = fields_of(example_of(name))
    for parameter in syntax_of(COMMANDS[name]).parameters:
        if parameter.kind in NAMES and parameter.field in fields:
            fields[parameter.field] = [key] if parameter.shape is Shape.MANY else key
    return [name, *(fields.get(parameter.field) for parameter in syntax_of(COMMANDS[name]).parameters)]
