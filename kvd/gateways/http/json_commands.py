"""Commands as JSON: an object with the name in `command`, and the fields as other members.

The conversion to the wire's form and the JSON Schema (2020-12) are both derived from the command classes, so a new
command needs no change here.
"""

import re
from difflib import get_close_matches
from typing import Annotated, Any, get_args, get_origin, get_type_hints

from msgspec import NODEFAULT, Meta, MsgspecError
from msgspec.structs import FieldInfo, fields

from kvd import wire
from kvd.commands import COMMANDS, Command, syntax_of
from kvd.commands.syntax import unwrap
from kvd.errors import BadArgument, TooLarge, UnknownCommand
from kvd.json_bytes import decode_bytes

NAME = "command"
SHOWN_CHARACTERS = 64
BYTES = {"$ref": "#/components/schemas/Bytes"}
KEY = {"$ref": "#/components/schemas/Key"}
# The argument and the type in a message of `kvd.wire_errors`, and the names of the types in JSON.
ARGUMENT = re.compile(r"argument \d+ \(([^)]*)\)")
TYPE = re.compile(r"`([a-z]+)( \| nil)?`")
WORDS = {
    "int": "an integer",
    "float": "a fraction",
    "str": "a string",
    "bytes": "a string",
    "bool": "a boolean",
    "array": "an array",
    "map": "an object",
    "nil": "null",
}
SCALARS = {int: "integer", str: "string", bool: "boolean", type(None): "null"}
# The names of bounds in msgspec's Meta and in JSON Schema.
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
    return TYPE.sub(lambda match: WORDS.get(match[1], match[1]) + (" or null" if match[2] else ""), sentence)


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
    known = {field.name: field for field in fields(command)}
    for name in found.keys() - known.keys() - {NAME}:
        near = get_close_matches(name[:SHOWN_CHARACTERS], known, 1)
        hint = f"did you mean {near[0]}?" if near else f"its fields: {', '.join(known) or 'none'}"
        raise BadArgument(f"{found[NAME]} has no {name[:SHOWN_CHARACTERS]!r}: {hint}")
    return [found[NAME], *(argument(found, field) for field in known.values())]


def argument(found: dict[str, Any], field: FieldInfo) -> Any:
    """Return a field of a command for the wire. Raises BadArgument, with the field's name."""
    value = found.get(field.name)
    if value is None:
        if _is_empty_list_default(field):
            return []
        if field.default is NODEFAULT:
            raise BadArgument(f"{found[NAME]} needs {field.name!r}")
        return None
    try:
        return _wire_form(field.type, value)
    except (BadArgument, TooLarge) as error:
        raise type(error)(f"{found[NAME]}: {field.name}: {error.message}") from None


def _is_empty_list_default(field: FieldInfo) -> bool:
    """Return whether a field may be left out though the wire needs it: a list that may be empty."""
    kind, extras = unwrap(field.type)
    is_filled = any(isinstance(extra, Meta) and extra.min_length for extra in extras)
    return field.default is NODEFAULT and get_origin(kind) is list and not is_filled


def _is_needed(field: FieldInfo) -> bool:
    """Return whether a command needs a field."""
    return field.default is NODEFAULT and not _is_empty_list_default(field)


def _wire_form(hint: Any, value: Any) -> Any:
    """Return a value of JSON as the wire has it, by the type it should be of."""
    kind, extras = unwrap(hint)
    if kind is bytes:
        return decode_bytes(value)
    parts = get_args(kind)
    if get_origin(kind) is list and isinstance(value, list):
        _check_length(extras, value)
        return [_wire_form(parts[0], each) for each in value]
    if get_origin(kind) is tuple and isinstance(value, list) and len(value) == len(parts):
        return [_wire_form(part, each) for part, each in zip(parts, value, strict=True)]
    return _wire_of(value) if _is_command(kind) else value


def _check_length(extras: list[Any], value: list[Any]) -> None:
    """Raise TooLarge for more than a type allows: to convert millions that are refused then would take seconds."""
    for extra in extras:
        if isinstance(extra, Meta) and extra.max_length is not None and len(value) > extra.max_length:
            raise TooLarge(f"{len(value)} are too many: at most {extra.max_length}")


def _is_command(kind: Any) -> bool:
    """Return whether a type is a command, or one of some."""
    return any(isinstance(each, type) and issubclass(each, Command) for each in (kind, *get_args(kind)))


def _commands_in(kind: Any) -> list[type[Command]]:
    """Return the commands that a type allows."""
    return [each for each in (get_args(kind) or (kind,)) if isinstance(each, type) and issubclass(each, Command)]


# What OpenAPI says


def schema_of(command: type[Command]) -> dict[str, Any]:
    """Return the JSON Schema of a command."""
    hints = get_type_hints(command, include_extras=True)
    known = fields(command)
    return {
        "type": "object",
        "title": command.command_name(),
        "description": syntax_of(command).help,
        "properties": {
            NAME: {"const": command.command_name()},
            **{field.name: schema(hints[field.name]) for field in known},
        },
        "required": [NAME, *(field.name for field in known if _is_needed(field))],
        "additionalProperties": False,
    }


def schema(hint: Any, bounds: Meta | None = None) -> dict[str, Any]:
    """Return the JSON Schema of a field's type."""
    if get_origin(hint) is Annotated:
        inner, *extras = get_args(hint)
        return schema(inner, next((extra for extra in extras if isinstance(extra, Meta)), bounds))
    members = get_args(hint)
    if type(None) in members:
        return {"anyOf": [schema(each, bounds) for each in members]}
    return _nested_schema(hint, bounds) if members or _is_command(hint) else plain(hint, bounds)


def _nested_schema(hint: Any, bounds: Meta | None) -> dict[str, Any]:
    """Return the JSON Schema of a type that has others in it."""
    members = get_args(hint)
    if get_origin(hint) is list:
        return {"type": "array", "items": schema(members[0]), **_limits(bounds, ARRAY_BOUNDS)}
    if get_origin(hint) is tuple:
        parts = [schema(each) for each in members]
        return {"type": "array", "prefixItems": parts, "minItems": len(parts), "maxItems": len(parts)}
    return {"oneOf": [{"$ref": f"#/components/schemas/{each.command_name()}"} for each in _commands_in(hint)]}


def plain(hint: Any, bounds: Meta | None) -> dict[str, Any]:
    """Return the JSON Schema of a type that has none in it."""
    if hint is bytes:
        return KEY if bounds is not None and bounds.min_length else BYTES
    return {"type": SCALARS[hint], **_limits(bounds, NUMBER_BOUNDS)}


def _limits(bounds: Meta | None, names: dict[str, str]) -> dict[str, Any]:
    """Return the bounds of a type as JSON Schema says them."""
    return {said: value for name, said in names.items() if (value := getattr(bounds, name, None)) is not None}
