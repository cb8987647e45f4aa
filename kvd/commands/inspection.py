"""The family `inspection`: clients and slow commands. For admins only."""

from typing import Annotated, Any, ClassVar

from msgspec import Meta

from kvd.commands.base import Daemon, Role, ServerCommand
from kvd.commands.fields import option
from kvd.commands.model import Milliseconds
from kvd.limits import SLOW_LISTED, SLOW_LISTED_MAX

SlowCount = Annotated[int, Meta(ge=1, le=SLOW_LISTED_MAX, title="count")]


class SlowLog(ServerCommand, tag="SLOWLOG"):
    """Return the last slow commands, newest first.

    The count defaults to 10. Each command is a map: `number`, `time` (Unix milliseconds), `us` (microseconds of the
    daemon's loop), `command`, `key` (the first key that it names, cut to 128 bytes), `keys` (how many keys it names)
    and `who` (the name of the client, if clients have keys). Values are not included. Work that a batch of commands
    shares is listed as `(commit)` or `(read ahead)`. RESET clears the log afterwards.
    """

    role: ClassVar[Role] = "admin"
    examples = ("SLOWLOG", "SLOWLOG 100", "SLOWLOG RESET")
    count: SlowCount | None = None
    reset: Annotated[bool | None, option("RESET")] = None

    def run(self, daemon: Daemon, now: Milliseconds) -> list[dict[str, Any]]:  # noqa: ARG002
        """Return an array of maps."""
        return daemon.slow_commands(self.count or SLOW_LISTED, forget=bool(self.reset))


class Clients(ServerCommand, tag="CLIENTS"):
    """Return the open connections.

    Each connection is a map: `socket` (commands or changes), `transport` (tcp or ipc), `address` (for tcp), `pid` and
    `uid` (for ipc), and `since` (Unix milliseconds). The name of a client with a key is not included: kvd knows the
    client of each command, but not the connection.
    """

    role: ClassVar[Role] = "admin"
    examples = ("CLIENTS",)

    def run(self, daemon: Daemon, now: Milliseconds) -> list[dict[str, Any]]:  # noqa: ARG002
        """Return an array of maps."""
        return daemon.clients()
