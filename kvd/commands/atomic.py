"""The family `atomic`: several commands as one, and a write that may be sent twice."""

from typing import TYPE_CHECKING, Annotated, Any, Union

from msgspec import Meta, Raw, msgpack

from kvd.commands import expiry, keys, values
from kvd.commands.base import NotYet, Read, ResultAt, Write, commands_in
from kvd.commands.fields import Argument, Key, Revision, Token
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
    """Run commands whole or not at all.

    Each key named in the conditions has to be at its revision (0: must not exist). The result is the array
    of their results. When a condition does not hold or a command is refused, nothing is changed, and the
    error says which command it was (`index`, from 0).
    """

    examples = ("BEGIN", "BEGIN IF city 7", "COMMIT")
    conditions: Conditions
    commands: Commands

    def wire_form(self) -> Any:
        """Return what encodes as this command."""
        return (self.command_name(), self.conditions, [command.wire_form() for command in self.commands])

    def run(self, entries: Writer, now: Milliseconds) -> list[Any]:
        """Run them in order; return their results."""
        for index, (key, revision) in enumerate(self.conditions):
            entry = entries.get(key)
            try:
                check_entry(revision, entry)
            except Conflict as error:
                raise Conflict(f"condition {index}: {error.message}", **error.details, condition=index) from None
        results: list[Any] = []
        room = REPLY_BYTES_MAX
        for index, command in enumerate(self.commands):
            results.append(run_step(index, command, entries, now))
            room -= weight(results[-1])
            if room < 0:
                raise TooLarge(f"the results are more than {REPLY_BYTES_MAX} bytes together: use smaller transactions")
        return results


def run_step(index: int, command: Plain, entries: Writer, now: Milliseconds) -> Any:
    """Run one command of a transaction; an error names it."""
    try:
        if getattr(command, "wait_ms", None):
            raise BadArgument("within a transaction nothing can be waited for: leave WAIT out")
        return command.run(entries, now)
    except Refused as error:
        raise type(error)(
            f"command {index} ({command.command_name()}): {error.message}", **error.details, index=index
        ) from None


def weight(result: Any) -> int:
    """Return how many bytes a result takes in a reply: the same whether it is encoded already or not."""
    return len(msgpack.encode(result))


if TYPE_CHECKING:
    OnceAble = Write
else:
    OnceAble = Union[(*WRITES, Transaction)]


class Once(Write, tag="ONCE"):
    """Run a write once, however often it is sent with this token.

    The first reply is given again. A token has 8 to 64 bytes and is kept for two minutes. What was refused
    changed nothing and is not kept.
    """

    examples = ("ONCE 5f2c9d1e INCR visits",)
    token: Token
    write: Annotated[OnceAble, Argument("command")]  # not `command`, which is the name itself in JSON

    @property
    def wait_ms(self) -> Milliseconds | None:
        """Return how much longer than usual the reply may take."""
        return getattr(self.write, "wait_ms", None)

    def wire_form(self) -> Any:
        """Return what encodes as this command."""
        return (self.command_name(), self.token, self.write.wire_form())

    def run(self, entries: Writer, now: Milliseconds) -> Any:
        """Run it, or return what it returned."""
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
                "this token was used for another command: take a new one for each write", revision=known.revision
            )
        return ResultAt(known.revision, Raw(known.result))
