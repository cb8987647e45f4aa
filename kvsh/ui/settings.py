"""The options of a run from the command line, the environment and the profile: checked and frozen."""

from collections.abc import Mapping
from typing import Any, NamedTuple

CONNECT_S = 2.0
REFUSED_S = 0.1  # long enough to find a daemon that is restarting
# TERM of terminals without cursor movement.
POOR_TERMINALS = ("", "dumb", "unknown")


class Settings(NamedTuple):
    """The options of this run of kvsh. Times in seconds."""

    url: str
    timeout: float
    form: str
    no_newline: bool = False
    quiet: bool = False
    stop_on_error: bool = False
    last_from_stdin: bool = False
    echo: bool = False
    dry_run: bool = False
    progress: bool | None = None
    color: bool = True
    pager: bool = True
    pager_command: str | None = None
    confirm: bool = True
    aliases: Mapping[bytes, bytes] = {}  # never modified
    startup: tuple[str, ...] = ()
    vi: bool = False
    hook: str | None = None
    repeat: int | None = None
    interval: float | None = None
    keys: Any = None
    profile: str | None = None
    prompt_color: str | None = None

    @property
    def connection(self) -> dict[str, Any]:
        """Return the arguments of a client or stream."""
        return {
            "endpoint": self.url,
            "timeout": self.timeout,
            "connect_timeout": min(self.timeout, CONNECT_S),
            "keys": self.keys,
        }

    @property
    def stream(self) -> dict[str, Any]:
        """Return the arguments of a stream that fails at once when the connection is refused."""
        return {**self.connection, "refused_timeout": REFUSED_S}
