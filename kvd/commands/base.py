"""The base classes of commands, and replies.

A command is a class: the fields are its syntax, the docstring is its help, and `run` is its meaning. The classes are
array-like msgspec structs with a tag, so their union *is* the wire format (see `kvd.wire`). `nil` stands for an
omitted argument, so each optional field is `... | None`.
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
    """A request of a client."""

    # Groups of fields that exclude each other, e.g. (("ttl", "at", "keep_ttl"),).
    exclusive: ClassVar[tuple[tuple[str, ...], ...]] = ()
    # Examples in the shell's syntax, shown by HELP and run by the tests.
    examples: ClassVar[tuple[str, ...]] = ()
    # The unit of an integer result, if it has one.
    result_unit: ClassVar[str | None] = None
    # The role that a client with a key needs (see `kvd.access`).
    role: ClassVar[Role] = "admin"
    # Its number in gRPC's message Command, if it may stand inside another command. Never changed, never reused.
    grpc_number: ClassVar[int] = 0
    # The number of fields, at the end, that later releases added. They are encoded only if they are given.
    added: ClassVar[int] = 0

    def wire_form(self) -> Any:
        """Return an object that encodes as this command.

        Added fields are omitted while they are nil: older daemons refuse them, and the digest that ONCE stores has to
        be the same in all releases.
        """
        if not self.added:
            return self
        values = [getattr(self, name) for name in self.__struct_fields__]
        end = len(values)
        while end > len(values) - self.added and values[end - 1] is None:
            end -= 1
        return (self.command_name(), *values[:end])

    def column_names(self) -> tuple[str, ...]:
        """Return the names of the columns, if the result is a list of rows or begins with one."""
        return ()

    def check_exclusive(self) -> None:
        for group in self.exclusive:
            given = [name for name in group if is_given(getattr(self, name))]
            if len(given) > 1:
                raise BadArgument(f"{given[0]} and {given[1]} exclude each other: give one of them")

    @classmethod
    def command_name(cls) -> str:
        """The name on the wire and in the shell."""
        return str(cls.__struct_config__.tag)


def is_given(value: object) -> bool:
    """Return whether an optional argument was given. nil and a false flag are absent; 0 is present."""
    return value is not None and value is not False


class Read(Command):
    """A command that changes nothing and is safe to send again."""

    role: ClassVar[Role] = "read"

    def run(self, entries: Reader, now: Milliseconds) -> Any:
        raise NotImplementedError


class Write(Command):
    """A command that may change entries. If it raises, its changes are rolled back."""

    role: ClassVar[Role] = "write"

    def run(self, entries: Writer, now: Milliseconds) -> Any:
        raise NotImplementedError


class Daemon(Protocol):
    """The daemon as commands see it."""

    def info(self, section: str | None) -> dict[str, dict[str, Any]]:
        """Return the result of INFO, by section. Raises BadArgument for an unknown section."""

    def commands(self, name: str | None) -> list[dict[str, Any]]:
        """Return the result of COMMANDS. Raises UnknownCommand."""

    def config(self, name: str | None) -> dict[str, dict[str, Any]]:
        """Return the configuration, or one option. Raises BadArgument for an unknown option."""

    def check(self) -> dict[str, Any]:
        """Return how many entries and changes were read. Raises Corrupt."""

    def back_up(self, name: str) -> dict[str, Any]:
        """Write a backup with this name; return its contents in numbers. Raises Refused."""

    def slow_commands(self, count: int, *, forget: bool) -> list[dict[str, Any]]:
        """Return the last slow commands, newest first. `forget` clears the log afterwards."""

    def clients(self) -> list[dict[str, Any]]:
        """Return a map for each connection."""


class ServerCommand(Command):
    """A command about the daemon, not about entries. It is safe to send again."""

    role: ClassVar[Role] = "read"

    def run(self, daemon: Daemon, now: Milliseconds) -> Any:
        raise NotImplementedError


class BackgroundCommand(ServerCommand):
    """A long command about the daemon. It runs in a thread, one at a time, and is not sent again."""

    # How much longer than usual the reply may take, as in CHANGES.
    wait_ms: ClassVar[int] = BACKGROUND_MS_MAX


@final
class ResultAt(Struct, gc=False):
    """A result that reflects an earlier revision than the latest."""

    revision: int
    result: Any


@final
class NotYet(Struct, gc=False):
    """No result yet: the command has to run again after a change of the prefix, or in `wait_ms`."""

    revision: int
    prefix: bytes
    wait_ms: int


class Ok(Struct, array_like=True, tag="OK", gc=False):
    """The reply to a command that ran: its result, and the revision that the result reflects (a write's own)."""

    revision: int
    result: Any


class Error(Struct, array_like=True, tag="ERROR"):
    """The reply to a command that failed: a stable code, a sentence, and details, which always have `outcome`."""

    code: str
    message: str
    details: dict[str, Any]


Reply = Ok | Error


def commands_in(modules: Iterable[ModuleType]) -> tuple[type[Command], ...]:
    """Return the command classes that the modules define, in the order of their definition."""
    return tuple(
        cls
        for module in modules
        for cls in vars(module).values()
        if isinstance(cls, type) and issubclass(cls, Command) and cls.__module__ == module.__name__
    )
