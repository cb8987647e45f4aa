"""Explains why a body is not a command: the slow path of `kvd.wire`, used when the decoder refuses a body. Pure.

The reason comes from the types (`kvd.commands.diagnosis`), never from the text of msgspec's errors. Only for a body
that is not msgpack is the library's own sentence passed on, for a person to read.
"""

import re
from types import NoneType
from typing import Any

import msgspec
from msgspec import Raw, msgpack

from kvd.commands import COMMANDS, Command, syntax_of
from kvd.commands.diagnosis import Fault, Finding, Inside, Problem, first_fault
from kvd.commands.type_info import struct_of
from kvd.errors import BadArgument, BadRequest, Refused, TooLarge, UnknownCommand
from kvd.limits import KEYS_MAX, KIB, TRANSACTION_COMMANDS_MAX

_decode_items = msgpack.Decoder(list[Raw]).decode

# 30 MB of empty arrays would take seconds and gigabytes to decode. So a larger body is decoded one level at a time, and
# only the first item of an array with more items than any command takes.
EXPLAINED_BYTES_MAX = 64 * KIB
OPENED_ITEMS_MAX = max(KEYS_MAX, TRANSACTION_COMMANDS_MAX)
VALUES_DECODED_MAX = 50_000
HEAD = re.compile(rb"(?:[\x91-\x9f]|\xdc..|\xdd....)([\xa0-\xbf])", re.DOTALL)
FIXED_ARRAY, ARRAY_16, ARRAY_32 = range(0x90, 0xA0), 0xDC, 0xDD
MAPS = {*range(0x80, 0x90), 0xDE, 0xDF}
NIL = Raw(b"\xc0")

NAMES = {NoneType: "nil", list: "array", dict: "map"}  # MessagePack's names; the others are Python's


class TooManyValues(Exception):  # not an error: it ends the walk
    """A body has more values than VALUES_DECODED_MAX."""


def explain(body: bytes) -> Refused:
    """Return the error that best explains why a body is not a command."""
    try:
        if len(body) <= EXPLAINED_BYTES_MAX:
            msgpack.decode(body)
        array = decode_items(body)
        name = decode_items(array[0]) if isinstance(array, list) and array else None
        if not isinstance(name, str):
            return BadRequest('the body is not an array that begins with a command\'s name, such as ["GET", key]')
        command = COMMANDS.get(name)
        if command is None:
            return UnknownCommand(f"there is no command {name[:64]!r}: COMMANDS lists them")
        return _explain_arguments(command, _find_fault(command, body))
    except (msgspec.DecodeError, ValueError, TypeError, RecursionError) as error:  # TypeError: a map's key is a map
        return BadRequest(f"the body is not msgpack: {error}")


def _find_fault(command: type[Command], body: bytes) -> Finding | None:
    """Return the first value that does not fit a command, or None if it is beyond VALUES_DECODED_MAX."""
    try:
        return first_fault(body, struct_of(command), BoundedDecoder())
    except TooManyValues:
        return None


def _explain_arguments(command: type[Command], finding: Finding | None) -> Refused:
    """Return the error for a known command with invalid arguments."""
    if not isinstance(finding, Inside):
        syntax = syntax_of(command)
        return BadArgument(f"{syntax.name}: one of its arguments is invalid: the syntax is {syntax.usage()}")
    fault = _innermost(finding)
    is_too_large = fault.problem is Problem.MAX and fault.expected is not int
    return (TooLarge if is_too_large else BadArgument)(describe(finding))


def _innermost(finding: Finding) -> Fault:
    """Return the fault itself, without the structs around it."""
    return _innermost(finding.fault) if isinstance(finding, Inside) else finding


def describe(finding: Inside) -> str:
    """Return what is wrong with a command, or with a command inside it."""
    struct: type[Command] = finding.struct
    syntax, fault = syntax_of(struct), finding.fault
    if not fault.path:
        return f"{syntax.name}: wrong number of arguments: the syntax is {syntax.usage()}"
    place, *steps = fault.path
    name = syntax.parameters[int(place) - 1].field + "".join(f"[{step}]" for step in steps)
    what = describe(fault) if isinstance(fault, Inside) else _describe_fault(fault, syntax.name)
    return f"{syntax.name}: argument {place} ({name}): {what}"


def _describe_fault(fault: Fault, outer: str) -> str:
    """Return what is wrong with a value; `outer` is the command that contains it."""
    expected = f"expected `{NAMES.get(fault.expected, fault.expected.__name__)}{' | nil' if fault.is_optional else ''}`"
    unit = "" if fault.expected is int else "of length "
    match fault.problem:
        case Problem.TYPE:
            return f"{expected}, got `{NAMES.get(fault.got, fault.got.__name__)}`"
        case Problem.MIN:
            return f"{expected} {unit}>= {fault.bound}"
        case Problem.MAX:
            return f"{expected} {unit}<= {fault.bound}"
        case Problem.LENGTH:
            got = f", got {fault.got}" if fault.got <= OPENED_ITEMS_MAX else ""
            return f"{expected} of length {fault.bound}{got}"
        case _:
            return _describe_inner_command(fault.got, outer)


def _describe_inner_command(name: Any, outer: str) -> str:
    """Return why a command cannot be an argument of another."""
    if not isinstance(name, str):
        return "expected a command, an array that begins with its name"
    return f"{name} is not allowed inside {outer}" if name in COMMANDS else f"there is no command {name[:64]!r}"


def decode_items(body: bytes | Raw) -> Any:
    """Return a value one level deep: the items of an array undecoded, a map as an empty one."""
    view = memoryview(body)
    length = _array_length(view)
    if length is None:
        return {} if view and view[0] in MAPS else msgpack.decode(view)
    if length <= OPENED_ITEMS_MAX:
        return _decode_items(view)
    head = HEAD.match(view)
    name = view[head.start(1) : head.end() + (head[1][0] & 31)] if head else NIL
    return [Raw(name), *[NIL] * OPENED_ITEMS_MAX]


def _array_length(body: memoryview) -> int | None:
    """Return the number of items in the head of an array, or None for another value."""
    kind = body[0] if body else 0
    if kind in FIXED_ARRAY:
        return kind - FIXED_ARRAY.start
    return int.from_bytes(body[1 : 3 if kind == ARRAY_16 else 5], "big") if kind in (ARRAY_16, ARRAY_32) else None


class BoundedDecoder:
    """Decodes values for a walk along a body, at most VALUES_DECODED_MAX: commands and their keys multiply."""

    def __init__(self) -> None:
        self._left = VALUES_DECODED_MAX

    def __call__(self, value: bytes | Raw) -> Any:
        """Return a value one level deep; raises TooManyValues beyond the bound."""
        self._left -= 1
        if self._left < 0:
            raise TooManyValues
        return decode_items(value)
