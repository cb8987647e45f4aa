"""Messages of kvd.v1 to commands, results and changes to messages. No I/O."""

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

# A command may take three times as many bytes on kvd's wire as here: what may be beyond a bound there is looked at.
UNSURE_BYTES = 4 * MIB
STILL = "STILL"  # of a Change that is none, but a sign of life
KINDS: dict[str, int] = {
    "SET": pb.Change.SET,
    "CLEAR": pb.Change.CLEAR,
    "EXPIRED": pb.Change.EXPIRED,
    STILL: pb.Change.STILL,
}

SCALARS = {bool: "bool", int: "integer", float: "number", bytes: "bytes", str: "text"}

Take = Callable[[Any], Any]  # a message to the value of an argument


def parse(message: Any, body: bytes) -> Any:
    """Return a message. Raises BadRequest."""
    try:
        return message.FromString(body)
    except DecodeError as error:
        raise BadRequest(f"this is no {message.DESCRIPTOR.full_name}: {error}") from None


def reader_of(command: type[Command]) -> Callable[[bytes], Command]:
    """Return what makes a command of a request's bytes; it raises BadRequest, BadArgument, TooLarge."""
    message, build = getattr(pb, request_of(command)), BUILDERS[command]

    def read(body: bytes) -> Command:
        """Return the command."""
        built = build(parse(message, body))
        if len(body) > UNSURE_BYTES and (size := len(wire.encode_command(built))) > COMMAND_BYTES_MAX:
            # The daemon would break the connection, which others use too.
            raise TooLarge(f"the command is {size} bytes; at most {COMMAND_BYTES_MAX} are allowed")
        return built

    return read


def _builder_of(command: type[Command]) -> Callable[[Any], Command]:
    """Return what makes a command of its message."""
    takes = [_reader_of_field(command, field) for field in fields_of(command)]

    def build(message: Any) -> Command:
        """Return the command."""
        return command(*[take(message) for take in takes])

    return build


def _reader_of_field(command: type[Command], field: Field) -> Take:
    """Return what takes an argument out of a message: None where an optional one is missing."""
    name, place = field.name, f"{command.command_name()}: argument {field.number} ({field.name})"
    if field.is_repeated:
        return _repeated_reader(field, place)
    convert = _build_inner if field.kind == NESTED else None

    def take(message: Any) -> Any:
        """Return the argument. Raises BadArgument."""
        if message.HasField(name):
            value = getattr(message, name)
            return convert(value) if convert else value
        if field.is_required:
            raise BadArgument(f"{place}: it is missing")
        return None

    return take


def _repeated_reader(field: Field, place: str) -> Take:
    """Return what takes a repeated field. Its bound is kept here too: it is memory that many small parts take."""
    name, most = field.name, field.items_max
    convert = _build_inner if field.kind == NESTED else _pair_of if field.kind in PAIRS.values() else None

    def take(message: Any) -> Any:
        """Return a list. Raises BadArgument, TooLarge."""
        values = getattr(message, name)
        if most is not None and len(values) > most:
            raise TooLarge(f"{place}: {len(values)} are too many; at most {most} are allowed")
        return [convert(value) for value in values] if convert else list(values)

    return take


def _pair_of(message: Any) -> tuple[Any, Any]:
    """Return the parts of a Pair or a Condition. Raises BadArgument."""
    parts = message.ListFields()
    if len(parts) != 2:  # noqa: PLR2004  # a pair's
        raise BadArgument(f"{message.DESCRIPTOR.name} needs both of {', '.join(message.DESCRIPTOR.fields_by_name)}")
    return parts[0][1], parts[1][1]


def _build_inner(message: Any) -> Command:
    """Return the command that stands inside of another. Raises BadArgument."""
    name = message.WhichOneof("command")
    if name is None:
        raise BadArgument("a Command without a command, or with one that this gateway does not know")
    return INSIDE[name](getattr(message, name))


BUILDERS = {command: _builder_of(command) for command in COMMANDS.values()}
INSIDE = {command.command_name().lower(): BUILDERS[command] for _, command in nested_commands()}


def reply_of(answer: Ok) -> bytes:
    """Return the bytes of a Reply."""
    reply = pb.Reply(revision=answer.revision)
    fill(reply.result, answer.result)
    return reply.SerializeToString()  # type: ignore[no-any-return]


def fill(value: Any, result: Any) -> None:
    """Write a result into a Value. Raises KeyError for a type that msgpack does not have."""
    if isinstance(result, list):
        value.list.SetInParent()  # or an empty one would be none
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
    """Return the bytes of a Change."""
    return pb.Change(  # type: ignore[no-any-return]
        kind=KINDS.get(change.kind, pb.Change.UNKNOWN),
        revision=change.revision,
        key=change.key,
        value=change.value,
        previous=change.previous,
        expires=change.expires,
        time=change.time,
    ).SerializeToString()
