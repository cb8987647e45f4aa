"""Version 1 of the wire: decodes and encodes commands, replies and changes. No I/O: frames are bytes.

The union of the command classes is the decoder: one C call checks the name, and the number, type and size of every
argument (0.2 us). Only when it refuses a body does the slow path look for the reason, to answer with a sentence.
"""

from collections.abc import Callable, Sequence
from functools import cache
from typing import Any, Union

import msgspec
from msgspec import msgpack

from kvd.commands import COMMANDS, Command, Read, ServerCommand, Write
from kvd.commands.base import Error, Ok, Reply
from kvd.commands.model import KINDS, Change, Row
from kvd.errors import Refused, TooLarge, refusal
from kvd.limits import COMMAND_BYTES_MAX
from kvd.string_types import convert_strings
from kvd.wire_errors import explain

VERSION = 1
CHANGE_TOPIC = b"k"
CONTROL_TOPIC = b"c"
CHANGE_KINDS = frozenset(KINDS.values())

encode = msgpack.Encoder().encode
_decode_reply: Any = msgpack.Decoder(Ok | Error).decode
_decode_change = msgpack.Decoder(Change).decode
_decode_control = msgpack.Decoder(list[Any]).decode


def encode_command(command: Command) -> bytes:
    """Return the body of a request. Raises what `encode` raises for a value that msgpack cannot encode."""
    return encode(command.wire_form())


@cache
def command_decoder() -> Callable[[bytes], Any]:
    """Return the decoder of all commands. Built when first needed: only the daemon uses it, and it costs 2 ms."""
    return msgpack.Decoder(Union[tuple(COMMANDS.values())]).decode  # noqa: UP007  # made at run time


def decode_commands(bodies: Sequence[bytes]) -> list[Read | Write | ServerCommand] | None:
    """Return the commands in bodies, or None if any is invalid: `decode_command` finds out which and why."""
    try:
        return list(map(command_decoder(), bodies)) if max(map(len, bodies)) <= COMMAND_BYTES_MAX else None
    except Exception:  # noqa: BLE001  # no error may affect the other commands
        return None


def decode_command(body: bytes) -> Read | Write | ServerCommand:
    """Return the command in a request's body.

    Raises BadRequest, UnknownCommand, BadArgument or TooLarge with a sentence for the author of the client.
    """
    if len(body) > COMMAND_BYTES_MAX:
        raise TooLarge(f"the command is {len(body)} bytes; at most {COMMAND_BYTES_MAX} are allowed")
    decode = command_decoder()
    try:
        return decode(body)  # type: ignore[no-any-return]
    except (msgspec.DecodeError, UnicodeDecodeError):  # the second for a str that is not UTF-8
        pass
    converted = convert_strings(body)
    try:
        return decode(converted)  # type: ignore[no-any-return]
    except (msgspec.DecodeError, UnicodeDecodeError):
        raise explain(converted) from None


def error_reply(error: Refused) -> Error:
    return Error(error.code, error.message, {**error.details, "outcome": error.outcome})


def decode_reply(body: bytes) -> Reply:
    """Return the reply in a body; raises `msgspec.DecodeError`."""
    return _decode_reply(body)  # type: ignore[no-any-return]


def raise_error(reply: Error) -> None:
    """Raise the error in a reply."""
    details = {name: value for name, value in reply.details.items() if name != "outcome"}
    raise refusal(reply.code, reply.message, details)


def changes_in(result: Any) -> list[Change]:
    """Return the result of CHANGES as changes."""
    try:
        return msgspec.convert(result, list[Change])
    except msgspec.ValidationError:
        return list(map(_change_in, result))


def _change_in(items: list[Any]) -> Change:
    """Return a change from its items. Only kind, revision and key are read if the kind is unknown."""
    kind, revision, key, *_ = items
    if kind in CHANGE_KINDS:
        return msgspec.convert(items, Change)
    return msgspec.convert([kind, revision, key, None, 0, None, 0], Change)


def encode_changes(rows: Sequence[Row]) -> tuple[list[bytes], list[bytes]]:
    """Return the topics and the bodies of changes. Encoding `Change` objects would take 0.3 us more for each."""
    topics = [CHANGE_TOPIC + row[2] for row in rows]
    bodies = [
        encode((KINDS[kind], revision, key, value, previous, expires, time))
        for revision, kind, key, value, previous, _, expires, time in rows
    ]
    return topics, bodies


def decode_change(body: bytes) -> Change:
    """Return the change in a published body."""
    try:
        return _decode_change(body)
    except msgspec.ValidationError:  # perhaps of a later release
        return _change_in(_decode_control(body))


def decode_control(body: bytes) -> list[Any]:
    """Return a control body: ["HEARTBEAT", revision, time] or ["COMPACTED", revision]."""
    return _decode_control(body)


def heartbeat(revision: int, time: int) -> bytes:
    """Return the body of a heartbeat: all changes up to `revision` have been published."""
    return encode(("HEARTBEAT", revision, time))


def encode_compacted(revision: int) -> bytes:
    """Return the control body that announces that changes up to `revision` left the journal."""
    return encode(("COMPACTED", revision))
