"""What every command is: a class whose fields are its syntax, whose docstring is its help, whose `run` is its meaning.

The classes are array-like msgspec structs with a tag, so their union *is* the wire format (see `kvd.wire`).
`nil` stands for an argument left out, so every optional field is `... | None`.
"""

from collections.abc import Iterable
from types import ModuleType
from typing import Any, ClassVar, Literal, Protocol, final

from msgspec import Struct

from kvd.commands.model import Milliseconds, Reader, Writer
from kvd.errors import BadArgument
from kvd.limits import BACKGROUND_MS_MAX

Role = Literal["read", "write", "admin"]


class Command(Struct, array_like=True, forbid_unknown_fields=True):
    """What a client asks for."""

    # Fields of which at most one may be given, e.g. (("ttl", "at", "keep_ttl"),).
    exclusive: ClassVar[tuple[tuple[str, ...], ...]] = ()
    # An example of the shell's syntax for each thing worth knowing; shown by HELP, run by the tests.
    examples: ClassVar[tuple[str, ...]] = ()
    # The unit in which an integer result is counted, if it is not a plain number.
    result_unit: ClassVar[str | None] = None
    # What a client with a key must be allowed to: read, write or admin (see `kvd.access`).
    role: ClassVar[Role] = "admin"
    # How many fields, the last ones, came in later releases. Each is the end of the array only when it is given.
    added: ClassVar[int] = 0

    def wire_form(self) -> Any:
        """Return what encodes as this command.

        Added fields are left out while they are nil: older daemons refuse them, and what ONCE keeps of a command has
        to stay the same across releases.
        """
        if not self.added:
            return self
        values = [getattr(self, name) for name in self.__struct_fields__]
        end = len(values)
        while end > len(values) - self.added and values[end - 1] is None:
            end -= 1
        return (self.command_name(), *values[:end])

    def column_names(self) -> tuple[str, ...]:
        """Return what the columns are called, if the result is a list of rows or has one as its first part."""
        return ()

    def check_exclusive(self) -> None:
        """Raise BadArgument when two fields that exclude each other are given."""
        for group in self.exclusive:
            given = [name for name in group if is_given(getattr(self, name))]
            if len(given) > 1:
                raise BadArgument(f"{given[0]} and {given[1]} exclude each other: give one of them")

    @classmethod
    def command_name(cls) -> str:
        """Return the command's name on the wire and in the shell."""
        return str(cls.__struct_config__.tag)


def is_given(value: object) -> bool:
    """Return whether an optional argument was given: nil and a false flag are absent, a 0 is a number."""
    return value is not None and value is not False


class Read(Command):
    """A command that looks and changes nothing: safe to send again."""

    role: ClassVar[Role] = "read"

    def run(self, entries: Reader, now: Milliseconds) -> Any:
        """Return the result."""
        raise NotImplementedError


class Write(Command):
    """A command that may change entries. It raises before it writes, or all it wrote is undone."""

    role: ClassVar[Role] = "write"

    def run(self, entries: Writer, now: Milliseconds) -> Any:
        """Return the result."""
        raise NotImplementedError


class Daemon(Protocol):
    """What a command may ask of the daemon itself."""

    def info(self, section: str | None) -> dict[str, dict[str, Any]]:
        """Return what INFO says, by section; BadArgument if there is no such section."""

    def commands(self, name: str | None) -> list[dict[str, Any]]:
        """Return what COMMANDS says; UnknownCommand if there is no such command."""

    def config(self, name: str | None) -> dict[str, dict[str, Any]]:
        """Return how the daemon is set up, all or one option; BadArgument if there is no such option."""

    def check(self) -> dict[str, Any]:
        """Return how much was read and found whole; raises Corrupt."""

    def back_up(self, name: str) -> dict[str, Any]:
        """Write a backup of this name; return what it holds. Raises Refused."""

    def slow_commands(self, count: int, *, forget: bool) -> list[dict[str, Any]]:
        """Return the last commands that took long, newest first; with `forget` all are forgotten then."""

    def clients(self) -> list[dict[str, Any]]:
        """Return who is connected."""


class ServerCommand(Command):
    """A command about the daemon, not about entries: safe to send again."""

    role: ClassVar[Role] = "read"

    def run(self, daemon: Daemon, now: Milliseconds) -> Any:
        """Return the result."""
        raise NotImplementedError


class BackgroundCommand(ServerCommand):
    """A command about the daemon that takes long: it runs beside the others, one at a time. It is not sent again."""

    # As CHANGES has it: how much longer than usual the reply may take.
    wait_ms: ClassVar[int] = BACKGROUND_MS_MAX


@final
class ResultAt(Struct, gc=False):
    """A result that reflects another revision than the store's latest."""

    revision: int
    result: Any


@final
class NotYet(Struct, gc=False):
    """The answer to what waits when there is nothing yet: ask again after a change of the prefix, or in `wait_ms`."""

    revision: int
    prefix: bytes
    wait_ms: int


class Ok(Struct, array_like=True, tag="OK", gc=False):
    """The reply to a command that ran: the store's revision it reflects (a write's own) and its result."""

    revision: int
    result: Any


class Error(Struct, array_like=True, tag="ERROR"):
    """The reply to a command that did not: a stable code, a sentence, and details (`outcome` among them)."""

    code: str
    message: str
    details: dict[str, Any]


Reply = Ok | Error


def commands_in(modules: Iterable[ModuleType]) -> tuple[type[Command], ...]:
    """Return the command classes that the modules define, in the order written."""
    return tuple(
        cls
        for module in modules
        for cls in vars(module).values()
        if isinstance(cls, type) and issubclass(cls, Command) and cls.__module__ == module.__name__
    )
