"""The family `server`: the daemon itself."""

from typing import Any, ClassVar

from kvd.commands.base import BackgroundCommand, Daemon, Role, ServerCommand
from kvd.commands.fields import Name, Text
from kvd.commands.model import Milliseconds


class Ping(ServerCommand, tag="PING"):
    """Return the message, or PONG."""

    examples = ("PING", "PING hello")
    message: Text | None = None

    def run(self, daemon: Daemon, now: Milliseconds) -> bytes:  # noqa: ARG002
        """Return the message."""
        return b"PONG" if self.message is None else self.message


class Info(ServerCommand, tag="INFO"):
    """Return information about the daemon, by section.

    The sections are server, store, traffic, commands, latency and process.
    """

    examples = ("INFO", "INFO store")
    section: Name | None = None

    def run(self, daemon: Daemon, now: Milliseconds) -> dict[str, dict[str, Any]]:  # noqa: ARG002
        """Return a map of sections, each a map."""
        return daemon.info(self.section)


class Commands(ServerCommand, tag="COMMANDS"):
    """Return the table of commands as data, or the row of one command."""

    examples = ("COMMANDS", "COMMANDS set")
    name: Name | None = None

    def run(self, daemon: Daemon, now: Milliseconds) -> list[dict[str, Any]]:  # noqa: ARG002
        """Return an array of maps."""
        return daemon.commands(self.name)


class Config(ServerCommand, tag="CONFIG"):
    """Return the configuration of the daemon.

    For each option, the result has the value, its source (a flag, a variable, a line of the file), and whether SIGHUP
    applies a change.
    """

    role: ClassVar[Role] = "admin"
    examples = ("CONFIG", "CONFIG fsync")
    option: Name | None = None

    def run(self, daemon: Daemon, now: Milliseconds) -> dict[str, dict[str, Any]]:  # noqa: ARG002
        """Return a map of options, each a map of value, source and reload."""
        return daemon.config(self.option)


class Check(BackgroundCommand, tag="CHECK"):
    """Read all of the daemon's data on disk and report damage.

    The result is the number of entries in the table and of changes in the journal; recent changes are only in the
    journal. CORRUPT names the first damaged key or revision and lists the others in its details. CHECK runs beside
    other commands, and takes minutes for many millions of keys.
    """

    role: ClassVar[Role] = "admin"
    examples = ("CHECK",)

    def run(self, daemon: Daemon, now: Milliseconds) -> dict[str, Any]:  # noqa: ARG002
        """Return a map of entries and changes."""
        return daemon.check()


class Backup(BackgroundCommand, tag="BACKUP"):
    """Write a backup: all entries, as of one commit, in one file.

    The name is the name of a new file in the daemon's folder for backups (`kvd serve --backups`). `kvd restore` creates
    a data directory from the file.
    """

    role: ClassVar[Role] = "admin"
    examples = ("BACKUP monday.kvd",)
    name: Name

    def run(self, daemon: Daemon, now: Milliseconds) -> dict[str, Any]:  # noqa: ARG002
        """Return a map of revision, time, entries and bytes."""
        return daemon.back_up(self.name)
