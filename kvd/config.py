"""How a daemon is set up: one frozen value, checked at the start. Today it comes from flags and environment."""

from pathlib import Path
from typing import Literal, get_args

from msgspec import Struct

from kvd.errors import BadConfiguration

Fsync = Literal["always", "interval", "never"]
LogLevel = Literal["debug", "info", "warning", "error"]

FSYNC_MODES: tuple[str, ...] = get_args(Fsync)
LOG_LEVELS: tuple[str, ...] = get_args(LogLevel)
LISTEN = "tcp://127.0.0.1:7411"
PUBLISH = "tcp://127.0.0.1:7412"


class Config(Struct, frozen=True):
    """Where the data is, where clients come in, and what a commit waits for."""

    data: Path
    listen: tuple[str, ...] = (LISTEN,)
    publish: str = PUBLISH
    fsync: Fsync = "always"
    log_level: LogLevel = "info"
    backups: Path | None = None
    group: str | None = None
    key: Path | None = None
    access: Path | None = None

    def check(self) -> None:
        """Raise BadConfiguration when the parts do not fit together."""
        if (self.key is None) != (self.access is None):
            raise BadConfiguration(
                "--key and --access go together: who this daemon is, and whom it lets in (kvd keygen makes keys)"
            )
        endpoints = [*self.listen, self.publish]
        twice = {endpoint for endpoint in endpoints if endpoints.count(endpoint) > 1 and not endpoint.endswith(":*")}
        if twice:
            raise BadConfiguration(f"{min(twice)} is named twice: each endpoint needs its own address")
