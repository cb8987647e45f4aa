"""Commands as JSON: an object with the name in `command`, and the fields as other members.

The conversion to the wire's form and the JSON Schema (2020-12) are both derived from the command classes, so a new
command needs no change here.
"""

import re
from difflib import get_close_matches
from typing import Any

from msgspec import MsgspecError
from msgspec import inspect as types

from kvd import wire
from kvd.commands import COMMANDS, Command, syntax_of
from kvd.commands.syntax import Parameter
from kvd.commands.type_info import split_type, structs_in
from kvd.errors import BadArgument, TooLarge, UnknownCommand
from kvd.json_bytes import decode_bytes

NAME = "command"
SHOWN_CHARACTERS = 64
BYTES = {"$ref": "#/components/schemas/Bytes"}
KEY = {"$ref": "#/components/schemas/Key"}
# The argument and the type in a message of `kvd.wire_errors`, and the names of the types in JSON.
ARGUMENT = re.compile(r"argument \d+ \(([^)]*)\)")
TYPE = re.compile(r"`([a-z]+)( \| nil)?`")
JSON_TYPE_NAMES = {
    "int": "an integer",
    "float": "a fraction",
    "str": "a string",
    "bytes": "a string",
    "bool": "a boolean",
    "array": "an array",
    "map": "an object",
    "nil": "null",
}
SCALARS: dict[type[types.Type], str] = {
    types.IntType: "integer",
    types.StrType: "string",
    types.BoolType: "boolean",
    types.NoneType: "null",
}
# The bounds of a number and of an array: msgspec's name and that of JSON Schema.
NUMBER_BOUNDS = {"ge": "minimum", "le": "maximum"}
ARRAY_BOUNDS = {"min_length": "minItems", "max_length": "maxItems"}


def command_of(found: Any) -> Command:
    """Return the command of a JSON object. Raises BadArgument, UnknownCommand, TooLarge."""
    try:
        body = wire.encode(_wire_of(found))
    except (OverflowError, MsgspecError, ValueError, RecursionError):
        raise BadArgument("a number has more than 64 bits, or a text is not UTF-8: no command accepts them") from None
    try:
        return wire.decode_command(body)
    except (BadArgument, TooLarge) as error:
        raise type(error)(_in_json_terms(error.message)) from None


def _in_json_terms(sentence: str) -> str:
    """Rewrite a message about the wire's array to refer to the JSON object."""
    sentence = ARGUMENT.sub(r"\1", sentence)
    return TYPE.sub(lambda match: JSON_TYPE_NAMES.get(match[1], match[1]) + (" or null" if match[2] else ""), sentence)


def _unknown_command(name: str) -> UnknownCommand:
    """Return the error for an unknown command, with a similar name if there is one."""
    cut = name[:SHOWN_CHARACTERS]
    near = get_close_matches(cut.upper(), COMMANDS, 1)
    return UnknownCommand(
        f"there is no command {cut!r}: " + (f"did you mean {near[0]}?" if near else "see /openapi.json")
    )


def _wire_of(found: Any) -> list[Any]:
    """Return the wire's array of a command. Values of a wrong type are passed on, for the wire to report."""
    if not isinstance(found, dict) or not isinstance(found.get(NAME), str):
        raise BadArgument(f'a command must be an object such as {{"{NAME}": "GET", "key": "city"}}')
    command = COMMANDS.get(found[NAME])
    if command is None:
        raise _unknown_command(found[NAME])
    known = {parameter.field: parameter for parameter in syntax_of(command).parameters}
    for name in found.keys() - known.keys() - {NAME}:
        near = get_close_matches(name[:SHOWN_CHARACTERS], known, 1)
        hint = f"did you mean {near[0]}?" if near else f"its fields: {', '.join(known) or 'none'}"
        raise BadArgument(f"{found[NAME]} has no {name[:SHOWN_CHARACTERS]!r}: {hint}")
    return [found[NAME], *(_argument(found, parameter) for parameter in known.values())]


def _argument(found: dict[str, Any], parameter: Parameter) -> Any:
    """Return a field of a command for the wire. Raises BadArgument, with the field's name."""
    value = found.get(parameter.field)
    if value is None:
        if _may_be_empty(parameter):
            return []
        if parameter.required:
            raise BadArgument(f"{found[NAME]} needs {parameter.field!r}")
        return None
    try:
        return _wire_form(parameter.msgspec_type, value)
    except (BadArgument, TooLarge) as error:
        raise type(error)(f"{found[NAME]}: {parameter.field}: {error.message}") from None


def _may_be_empty(parameter: Parameter) -> bool:
    """Return whether JSON may omit a field that the wire needs: a list that may be empty."""
    return (
        parameter.required
        and isinstance(parameter.msgspec_type, types.ListType)
        and not parameter.msgspec_type.min_length
    )


def _wire_form(kind: types.Type, value: Any) -> Any:
    """Return a JSON value in the form of the wire, by its expected type."""
    kind = split_type(kind).type
    if isinstance(kind, types.BytesType):
        return decode_bytes(value)
    if isinstance(kind, types.ListType) and isinstance(value, list):
        # To convert millions of items that the wire refuses would take seconds.
        if kind.max_length is not None and len(value) > kind.max_length:
            raise TooLarge(f"{len(value)} are too many: at most {kind.max_length}")
        return [_wire_form(kind.item_type, each) for each in value]
    if isinstance(kind, types.TupleType) and isinstance(value, list) and len(value) == len(kind.item_types):
        return [_wire_form(part, each) for part, each in zip(kind.item_types, value, strict=True)]
    return _wire_of(value) if structs_in(kind) else value


# OpenAPI


def schema_of(command: type[Command]) -> dict[str, Any]:
    """Return the JSON Schema of a command."""
    known = syntax_of(command).parameters
    return {
        "type": "object",
        "title": command.command_name(),
        "description": syntax_of(command).help,
        "properties": {
            NAME: {"const": command.command_name()},
            **{parameter.field: _schema_of_parameter(parameter) for parameter in known},
        },
        "required": [NAME, *(each.field for each in known if each.required and not _may_be_empty(each))],
        "additionalProperties": False,
    }


def _schema_of_parameter(parameter: Parameter) -> dict[str, Any]:
    """Return the JSON Schema of a field."""
    found = _schema(parameter.msgspec_type)
    return found if parameter.required else {"anyOf": [found, {"type": "null"}]}


def _schema(kind: types.Type) -> dict[str, Any]:
    """Return the JSON Schema of a type."""
    kind = split_type(kind).type
    if commands := structs_in(kind):
        return {"oneOf": [{"$ref": f"#/components/schemas/{each.command_name()}"} for each in commands]}
    if isinstance(kind, types.ListType):
        return {"type": "array", "items": _schema(kind.item_type), **_limits(kind, ARRAY_BOUNDS)}
    if isinstance(kind, types.TupleType):
        parts = [_schema(each) for each in kind.item_types]
        return {"type": "array", "prefixItems": parts, "minItems": len(parts), "maxItems": len(parts)}
    if isinstance(kind, types.BytesType):
        return KEY if kind.min_length else BYTES
    return {"type": SCALARS[type(kind)], **_limits(kind, NUMBER_BOUNDS)}


def _limits(kind: types.Type, names: dict[str, str]) -> dict[str, Any]:
    """Return the bounds of a type in the words of JSON Schema."""
    return {word: value for name, word in names.items() if (value := getattr(kind, name, None)) is not None}
