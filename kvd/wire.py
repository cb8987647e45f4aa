"""Bytes to commands, replies and changes, and back: version 1 of the wire. No I/O; frames come in and go out as bytes.

The union of the command classes is the decoder: one C call checks the name, the number, the type and the
size of every argument (0.2 us). Only when it says no do we look again, slowly, to answer with a sentence.
"""

import re
from collections.abc import Callable, Sequence
from functools import cache
from typing import Any, Union

import msgspec
from msgspec import msgpack

from kvd.commands import COMMANDS, Ask, Command, Read, Write, syntax_of
from kvd.commands.base import Error, Ok, Reply
from kvd.commands.entry import KINDS, Change, Row
from kvd.errors import BadArgument, BadRequest, Refused, TooLarge, UnknownCommand, refusal
from kvd.limits import COMMAND_BYTES_MAX, KIB

VERSION = 1
CHANGE_TOPIC = b"k"
CONTROL_TOPIC = b"c"

encode = msgpack.Encoder().encode
_decode_reply: Any = msgpack.Decoder(Ok | Error).decode
_decode_change = msgpack.Decoder(Change).decode
_decode_control = msgpack.Decoder(list[Any]).decode


@cache
def command_decoder() -> Callable[[bytes], Any]:
    """Return what decodes any command. Made when first needed: it costs 2 ms, and only the daemon decodes commands."""
    return msgpack.Decoder(Union[tuple(COMMANDS.values())]).decode  # noqa: UP007  # made at run time


def decode_commands(bodies: Sequence[bytes]) -> list[Read | Write | Ask] | None:
    """Return the commands in bodies; None when anything is wrong with any: `decode_command` tells what with which."""
    try:
        return list(map(command_decoder(), bodies)) if max(map(len, bodies)) <= COMMAND_BYTES_MAX else None
    except Exception:  # noqa: BLE001  # whatever it is, it must not reach others' commands
        return None


def decode_command(body: bytes) -> Read | Write | Ask:
    """Return the command in a request's body.

    Raises BadRequest, UnknownCommand, BadArgument or TooLarge with a sentence for whoever wrote the client.
    """
    if len(body) > COMMAND_BYTES_MAX:
        raise TooLarge(f"the command is {len(body)} bytes; at most {COMMAND_BYTES_MAX} are allowed")
    try:
        return command_decoder()(body)  # type: ignore[no-any-return]
    except (msgspec.DecodeError, UnicodeDecodeError) as error:  # a str that is not UTF-8 comes as the second
        raise explain(body, str(error)) from None


def explain(body: bytes, complaint: str) -> Refused:
    """Return the error that says best why a body is not a command."""
    if len(body) > EXPLAINED_BYTES_MAX:
        return explain_name(name_in(body), complaint)
    try:
        array = msgpack.decode(body)
    except (msgspec.DecodeError, ValueError, RecursionError) as error:
        return BadRequest(f"the body is not msgpack: {error}")
    is_named = isinstance(array, list) and array and isinstance(array[0], str)
    return explain_name(array[0] if is_named else None, complaint)


def explain_name(name: str | None, complaint: str) -> Refused:
    """Return the error for a body that begins with this name, or with none."""
    if name is None:
        return BadRequest('the body is not an array that begins with a command\'s name, such as ["GET", key]')
    command = COMMANDS.get(name)
    if command is None:
        return UnknownCommand(f"there is no command {name[:64]!r}: COMMANDS lists them")
    return explain_argument(command, complaint)


# 30 MB of empty arrays would take seconds and gigabytes to decode: of a body as large as this only the head is
# looked at, a msgpack array (not empty, of any length) and the short string that is its first element.
EXPLAINED_BYTES_MAX = 64 * KIB
HEAD = re.compile(rb"(?:[\x91-\x9f]|\xdc..|\xdd....)([\xa0-\xbf])", re.DOTALL)


def name_in(body: bytes) -> str | None:
    """Return the name that a body begins with."""
    head = HEAD.match(body)
    return head and body[head.end() : head.end() + (head[1][0] & 31)].decode(errors="replace")


def explain_argument(command: type[Command], complaint: str) -> Refused:
    """Return the error for a known command with arguments that do not fit, from what the decoder said."""
    syntax = syntax_of(command)
    kind = TooLarge if re.match(r"Expected `(bytes|array|str)` of length <=", complaint) else BadArgument
    if "Invalid value" in complaint:
        return BadArgument(f"{syntax.name}: a command that is not allowed inside it, or unknown: {complaint}")
    if re.search("of at (least|most) length", complaint) and "$" not in complaint:
        return BadArgument(f"{syntax.name}: wrong number of arguments: the syntax is {syntax.usage()}")
    place = re.search(r" - at `\$\[(\d+)\](.*)`$", complaint)
    if place is None or int(place[1]) < 1:
        return BadArgument(f"{syntax.name}: {complaint}")
    name = syntax.parameters[int(place[1]) - 1].field
    return kind(f"{syntax.name}: argument {place[1]} ({name}{place[2]}): {complaint[: place.start()].lower()}")


def error_reply(error: Refused) -> Error:
    """Return the reply that says an error."""
    return Error(error.code, error.message, {**error.details, "outcome": error.outcome})


def decode_reply(body: bytes) -> Reply:
    """Return the reply in a body; raises `msgspec.DecodeError` when it is none."""
    return _decode_reply(body)  # type: ignore[no-any-return]


def raise_error(reply: Error) -> None:
    """Raise the error that a reply tells."""
    details = {name: value for name, value in reply.details.items() if name != "outcome"}
    raise refusal(reply.code, reply.message, details)


def changes_in(result: Any) -> list[Change]:
    """Return the result of CHANGES as changes."""
    return msgspec.convert(result, list[Change])


def published(rows: Sequence[Row]) -> tuple[list[bytes], list[bytes]]:
    """Return the topics and the bodies of changes: what each one's Change would be, which would take 0.3 us more."""
    topics = [CHANGE_TOPIC + row[2] for row in rows]
    bodies = [
        encode((KINDS[kind], revision, key, value, previous, expires, time))
        for revision, kind, key, value, previous, _, expires, time in rows
    ]
    return topics, bodies


def decode_change(body: bytes) -> Change:
    """Return the change in a published body."""
    return _decode_change(body)


def decode_control(body: bytes) -> list[Any]:
    """Return a control body: ["HEARTBEAT", revision, time] or ["COMPACTED", revision]."""
    return _decode_control(body)


def heartbeat(revision: int, time: int) -> bytes:
    """Return the body of a heartbeat: all changes up to `revision` have been published."""
    return encode(("HEARTBEAT", revision, time))


def compacted(revision: int) -> bytes:
    """Return the body that tells that changes up to `revision` are no longer in the journal."""
    return encode(("COMPACTED", revision))
