"""The outcome of a command, and the errors of a command without a reply. Pure.

`where` ends a sentence: the endpoint, and what was tried. `message`, which gateways pass on, does not have it.
"""

from functools import cache
from typing import NamedTuple

from msgspec import DecodeError

from kvd import wire
from kvd.commands import BackgroundCommand, Command, Read, ServerCommand
from kvd.commands.atomic import Once
from kvd.commands.base import Error, Ok
from kvd.errors import ClientError, NoReply, NotLetIn, OutcomeUnknown, TooLarge, Unreachable
from kvd.limits import COMMAND_BYTES_MAX

Outcome = Ok | Error | ClientError


class Traits(NamedTuple):
    """The properties of a class of commands. `is_safe`: the command may be sent again."""

    name: str
    is_read: bool
    is_safe: bool
    may_be_overtaken: bool  # its reply may come after the replies to later commands


@cache
def traits_of(command: type[Command]) -> Traits:
    """Return the traits of a class of commands. A look-up takes 0.05 us."""
    is_read = issubclass(command, Read | ServerCommand) and not issubclass(command, BackgroundCommand)
    may_be_overtaken = hasattr(command, "wait_ms")
    return Traits(command.command_name(), is_read, is_read or issubclass(command, Once), may_be_overtaken)


def ok(outcome: Outcome) -> Ok:
    """Return a successful reply; raise any other outcome as KvdError."""
    if type(outcome) is Ok:
        return outcome
    if isinstance(outcome, ClientError):
        raise outcome
    assert isinstance(outcome, Error)
    wire.raise_error(outcome)
    raise AssertionError(outcome)  # pragma: no cover


def decode(traits: Traits, body: bytes) -> Outcome:
    """Decode a reply. A body that cannot be decoded is an error of its command."""
    try:
        return wire.decode_reply(body)
    except DecodeError as error:
        return _unreadable(traits, str(error))


def _unreadable(traits: Traits, problem: str) -> ClientError:
    """Return the error of a command with a reply that cannot be decoded."""
    if traits.is_read:
        return NoReply(f"{traits.name}: the reply is not one of kvd's: {problem}")
    return OutcomeUnknown(f"{traits.name}: the reply is not one of kvd's, it may have been executed: {problem}")


def encode(command: Command) -> bytes:
    """Return a command's body. Raises TooLarge, before anything is sent."""
    body = wire.encode_command(command)
    if len(body) > COMMAND_BYTES_MAX:
        name = command.command_name()
        raise TooLarge(f"{name}: the command has {len(body)} bytes; at most {COMMAND_BYTES_MAX} are allowed")
    return body


def connection_broke(traits: Traits, where: str = "") -> OutcomeUnknown:
    """Return the error of a write: the connection broke before the reply."""
    return OutcomeUnknown(
        f"{traits.name}: the connection broke before the reply: it may have been executed", where=where
    )


def reply_missing(traits: Traits, where: str = "") -> ClientError:
    """Return the error of a command that was sent and got no reply in time."""
    if traits.is_read:
        return NoReply(f"{traits.name}: no reply in time", where=where)
    return OutcomeUnknown(f"{traits.name}: no reply in time: it may have been executed, or may be yet", where=where)


def not_sent(traits: Traits, problem: str = "", where: str = "", *, is_silent: bool = False) -> ClientError:
    """Return the error of a command that was not sent.

    `problem`: why the daemon rejects this client, if it says so. `is_silent`: a peer accepted the connection and sent
    nothing.
    """
    if problem:
        return NotLetIn(f"{traits.name}: {problem}")
    if is_silent:
        return Unreachable(
            f"{traits.name}: the daemon hangs or is stopped: it takes connections and answers nothing", where=where
        )
    return Unreachable(f"{traits.name}: no daemon answers", where=where)
