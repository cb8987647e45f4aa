"""What the options and the environment say, checked and frozen."""

from typing import NamedTuple

CONNECT_S = 2.0


class Settings(NamedTuple):
    """How this run of kvsh was asked to be. Times in seconds."""

    url: str
    timeout: float
    form: str
    no_newline: bool
    quiet: bool
    stop_on_error: bool
    last_from_stdin: bool
    echo: bool
    dry_run: bool
    color: bool
    vi: bool
    repeat: int
    interval: float

    @property
    def connect_timeout(self) -> float:
        """Return how long to wait for a daemon that is not there."""
        return min(self.timeout, CONNECT_S)
