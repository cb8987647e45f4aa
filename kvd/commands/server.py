"""The family `server`: about the daemon itself."""

from typing import Any

from kvd.commands.base import Ask, Daemon
from kvd.commands.entry import Milliseconds
from kvd.commands.fields import Name, Text


class Ping(Ask, tag="PING"):
    """Return the message, or PONG."""

    examples = ("PING", "PING hello")
    message: Text | None = None

    def run(self, daemon: Daemon, now: Milliseconds) -> bytes:  # noqa: ARG002
        """Return the message."""
        return b"PONG" if self.message is None else self.message


class Info(Ask, tag="INFO"):
    """Return what the daemon says of itself, by section: server, store, traffic."""

    examples = ("INFO", "INFO store")
    section: Name | None = None

    def run(self, daemon: Daemon, now: Milliseconds) -> dict[str, dict[str, Any]]:  # noqa: ARG002
        """Return a map of sections, each a map."""
        return daemon.info(self.section)


class Commands(Ask, tag="COMMANDS"):
    """Return the table of commands as data, or the row of one."""

    examples = ("COMMANDS", "COMMANDS set")
    name: Name | None = None

    def run(self, daemon: Daemon, now: Milliseconds) -> list[dict[str, Any]]:  # noqa: ARG002
        """Return an array of maps."""
        return daemon.commands(self.name)
