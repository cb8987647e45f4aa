"""The family `atomic`: several commands as one, and writes that are safe to send again."""

from typing import TYPE_CHECKING, Annotated, Any, Union

from msgspec import Meta, Raw, msgpack

from kvd.commands import expiry, keys, values
from kvd.commands.base import NotYet, Read, ResultAt, Write, commands_in
from kvd.commands.fields import Key, Revision, Token, argument
from kvd.commands.model import Milliseconds, Writer
from kvd.commands.values import check_entry
from kvd.errors import BadArgument, Conflict, Refused, TooLarge
from kvd.limits import KEYS_MAX, REPLY_BYTES_MAX, TRANSACTION_COMMANDS_MAX

PLAIN = commands_in((values, keys, expiry))
WRITES = tuple(cls for cls in PLAIN if issubclass(cls, Write))

if TYPE_CHECKING:
    Plain = Read | Write
else:
    Plain = Union[PLAIN]  # noqa: UP007  # made at run time

Conditions = Annotated[list[tuple[Key, Revision]], Meta(max_length=KEYS_MAX)]
Commands = Annotated[list[Plain], Meta(min_length=1, max_length=TRANSACTION_COMMANDS_MAX)]


class Transaction(Write, tag="TRANSACTION"):
    """Run all of the commands or none.

    Each key in the conditions must be at its revision (0: the key must not exist). The result is the array of the
    commands' results. If a condition does not hold or a command is refused, nothing changes, and the error's details
    have the number of the command (`index`, from 0).
    """

    grpc_number = 15
    examples = ("BEGIN", "BEGIN IF city 7", "COMMIT")
    conditions: Conditions
    commands: Commands

    def wire_form(self) -> Any:
        return (self.command_name(), self.conditions, [command.wire_form() for command in self.commands])

    def run(self, entries: Writer, now: Milliseconds) -> list[Any]:
        """Run the commands in order; return their results."""
        for index, (key, revision) in enumerate(self.conditions):
            entry = entries.get(key)
            try:
                check_entry(revision, entry)
            except Conflict as error:
                raise Conflict(f"condition {index}: {error.message}", **error.details, condition=index) from None
        results: list[Any] = []
        bytes_left = REPLY_BYTES_MAX
        for index, command in enumerate(self.commands):
            results.append(_run_step(index, command, entries, now))
            bytes_left -= _measure(results[-1])
            if bytes_left < 0:
                raise TooLarge(f"the results have more than {REPLY_BYTES_MAX} bytes in total: use smaller transactions")
        return results


def _run_step(index: int, command: Plain, entries: Writer, now: Milliseconds) -> Any:
    """Run one command of a transaction; an error names the command."""
    try:
        if getattr(command, "wait_ms", None):
            raise BadArgument("a transaction cannot wait: leave WAIT out")
        return command.run(entries, now)
    except Refused as error:
        raise type(error)(
            f"command {index} ({command.command_name()}): {error.message}", **error.details, index=index
        ) from None


def _measure(result: Any) -> int:
    """Return the bytes of a result in a reply, whether it is encoded already (Raw) or not."""
    return len(msgpack.encode(result))


if TYPE_CHECKING:
    OnceAble = Write
else:
    OnceAble = Union[(*WRITES, Transaction)]


class Once(Write, tag="ONCE"):
    """Run a write once, even if it is sent again with this token.

    Each further time the first reply is returned again. A token has 8 to 64 bytes and is stored for two minutes. A
    refused write changes nothing, and its token is not stored.
    """

    examples = ("ONCE 5f2c9d1e INCR visits",)
    token: Token
    write: Annotated[OnceAble, argument("command")]  # not `command`, which is the name itself in JSON

    @property
    def wait_ms(self) -> Milliseconds | None:
        """How much longer than usual the reply may take."""
        return getattr(self.write, "wait_ms", None)

    def wire_form(self) -> Any:
        return (self.command_name(), self.token, self.write.wire_form())

    def run(self, entries: Writer, now: Milliseconds) -> Any:
        """Run the write; return its result, or the stored one."""
        from hashlib import blake2b  # noqa: PLC0415  # costs 5 ms, and only the daemon runs commands

        digest = blake2b(msgpack.encode(self.write.wire_form()), digest_size=16).digest()
        known = entries.find_once(self.token)
        if known is None:
            result = self.write.run(entries, now)
            if isinstance(result, NotYet):
                return result
            entries.store_once(self.token, digest, result)
            return result
        if known.digest != digest:
            raise Conflict(
                "this token was used for another command: use a new token for each write", revision=known.revision
            )
        return ResultAt(known.revision, Raw(known.result))
