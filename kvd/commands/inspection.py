"""The family `inspection`: what others do. For admins alone."""

from typing import Annotated, Any, ClassVar

from msgspec import Meta

from kvd.commands.base import Daemon, Role, ServerCommand
from kvd.commands.fields import Option
from kvd.commands.model import Milliseconds
from kvd.limits import SLOW_LISTED, SLOW_LISTED_MAX

SlowCount = Annotated[int, Meta(ge=1, le=SLOW_LISTED_MAX, title="count")]


class SlowLog(ServerCommand, tag="SLOWLOG"):
    """Return the last commands that took long, newest first.

    10, or as many as are asked for. Each is a map: `number`, `time` (Unix milliseconds), `us` (microseconds of the
    daemon's loop), `command`, `key` (the first one it names, cut to 128 bytes), `keys` (how many it names) and `who`
    (the name, where clients have keys). No values. What a batch of commands shares is told as `(commit)` or
    `(read ahead)`. With RESET all are forgotten then.
    """

    role: ClassVar[Role] = "admin"
    examples = ("SLOWLOG", "SLOWLOG 100", "SLOWLOG RESET")
    count: SlowCount | None = None
    reset: Annotated[bool | None, Option("RESET")] = None

    def run(self, daemon: Daemon, now: Milliseconds) -> list[dict[str, Any]]:  # noqa: ARG002
        """Return an array of maps."""
        return daemon.slow_commands(self.count or SLOW_LISTED, forget=bool(self.reset))


class Clients(ServerCommand, tag="CLIENTS"):
    """Return who is connected.

    Each connection is a map: `socket` (commands or changes), `transport` (tcp or ipc), `address` (of tcp), `pid` and
    `uid` (of ipc), and `since` (Unix milliseconds). The name of a client with a key is not among them: it is known of
    each command, but not over which connection that came.
    """

    role: ClassVar[Role] = "admin"
    examples = ("CLIENTS",)

    def run(self, daemon: Daemon, now: Milliseconds) -> list[dict[str, Any]]:  # noqa: ARG002
        """Return an array of maps."""
        return daemon.clients()
