"""Converts messages of kvd.v1 to commands, and results and changes to messages. No I/O."""

from collections.abc import Callable
from typing import Any

from google.protobuf.message import DecodeError

from kvd import wire
from kvd.commands import COMMANDS, Command
from kvd.commands.base import Ok
from kvd.commands.model import Change
from kvd.errors import BadArgument, BadRequest, TooLarge
from kvd.gateways.grpc import kvd_v1_pb2 as pb
from kvd.gateways.grpc.schema import NESTED, PAIRS, Field, fields_of, nested_commands, request_of
from kvd.limits import COMMAND_BYTES_MAX, MIB

# A command can be three times as long on kvd's wire as here: a longer message is checked against the wire's limit.
CHECKED_BYTES = 4 * MIB
STILL = "STILL"  # the kind of a heartbeat, which is a Change without a change
KINDS: dict[str, int] = {
    "SET": pb.Change.SET,
    "CLEAR": pb.Change.CLEAR,
    "EXPIRED": pb.Change.EXPIRED,
    STILL: pb.Change.STILL,
}

SCALARS = {bool: "bool", int: "integer", float: "number", bytes: "bytes", str: "text"}

ArgumentReader = Callable[[Any], Any]  # from a message to the value of an argument


def parse(message: Any, body: bytes) -> Any:
    try:
        return message.FromString(body)
    except DecodeError as error:
        raise BadRequest(f"the request is not a {message.DESCRIPTOR.full_name}: {error}") from None


def reader_of(command: type[Command]) -> Callable[[bytes], Command]:
    """Return a function from a request's bytes to the command; it raises BadRequest, BadArgument, TooLarge."""
    message, build = getattr(pb, request_of(command)), BUILDERS[command]

    def read(body: bytes) -> Command:
        instance = build(parse(message, body))
        if len(body) > CHECKED_BYTES and (size := len(wire.encode_command(instance))) > COMMAND_BYTES_MAX:
            # The daemon would close the connection, which other calls share.
            raise TooLarge(f"the command is {size} bytes; at most {COMMAND_BYTES_MAX} are allowed")
        return instance

    return read


def _builder_of(command: type[Command]) -> Callable[[Any], Command]:
    """Return a function from a command's message to the command."""
    readers = [_reader_of_field(command, field) for field in fields_of(command)]

    def build(message: Any) -> Command:
        return command(*[read(message) for read in readers])

    return build


def _reader_of_field(command: type[Command], field: Field) -> ArgumentReader:
    """Return a function that reads an argument from a message; None for a missing optional one."""
    name, label = field.name, f"{command.command_name()}: argument {field.number} ({field.name})"
    if field.is_repeated:
        return _reader_of_repeated(field, label)
    convert = _build_inner if field.kind == NESTED else None

    def read(message: Any) -> Any:
        """Return the argument. Raises BadArgument."""
        if message.HasField(name):
            value = getattr(message, name)
            return convert(value) if convert else value
        if field.is_required:
            raise BadArgument(f"{label}: it is missing")
        return None

    return read


def _reader_of_repeated(field: Field, label: str) -> ArgumentReader:
    """Return a function that reads a repeated field. Checks its limit early, because many small items take memory."""
    name, most = field.name, field.items_max
    convert = _build_inner if field.kind == NESTED else _pair_of if field.kind in PAIRS.values() else None

    def read(message: Any) -> Any:
        """Return a list. Raises BadArgument, TooLarge."""
        values = getattr(message, name)
        if most is not None and len(values) > most:
            raise TooLarge(f"{label}: {len(values)} are too many; at most {most} are allowed")
        return [convert(value) for value in values] if convert else list(values)

    return read


def _pair_of(message: Any) -> tuple[Any, Any]:
    """Return the two fields of a Pair or a Condition. Raises BadArgument."""
    parts = message.ListFields()
    if len(parts) != 2:  # noqa: PLR2004  # a pair's
        raise BadArgument(f"{message.DESCRIPTOR.name} needs both of {', '.join(message.DESCRIPTOR.fields_by_name)}")
    return parts[0][1], parts[1][1]


def _build_inner(message: Any) -> Command:
    """Return a command nested in another. Raises BadArgument."""
    name = message.WhichOneof("command")
    if name is None:
        raise BadArgument("a Command is empty, or has a command that this gateway does not know")
    return NESTED_BUILDERS[name](getattr(message, name))


BUILDERS = {command: _builder_of(command) for command in COMMANDS.values()}
NESTED_BUILDERS = {command.command_name().lower(): BUILDERS[command] for _, command in nested_commands()}


def reply_of(answer: Ok) -> bytes:
    reply = pb.Reply(revision=answer.revision)
    fill(reply.result, answer.result)
    return reply.SerializeToString()  # type: ignore[no-any-return]


def fill(value: Any, result: Any) -> None:
    """Write a result into a Value. Raises KeyError for a type that is not in msgpack."""
    if isinstance(result, list):
        value.list.SetInParent()  # else an empty list would be no value
        items = value.list.items
        for item in result:
            fill(items.add(), item)
    elif isinstance(result, dict):
        value.map.SetInParent()
        entries = value.map.entries
        for name, item in result.items():
            fill(entries.add(key=str(name)).value, item)
    elif result is None:
        value.nil = pb.NIL
    else:
        setattr(value, SCALARS[type(result)], result)


def change_of(change: Change) -> bytes:
    return pb.Change(  # type: ignore[no-any-return]
        kind=KINDS.get(change.kind, pb.Change.UNKNOWN),
        revision=change.revision,
        key=change.key,
        value=change.value,
        previous=change.previous,
        expires=change.expires,
        time=change.time,
    ).SerializeToString()
