"""The daemon as a service of systemd: readiness, the watchdog, and options that SIGHUP may change."""

import logging
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from time import monotonic_ns
from typing import Any

from kvd.commands.model import Milliseconds
from kvd.errors import BadConfiguration
from kvd.systemd import Notifier

log = logging.getLogger("kvd")

Options = dict[str, dict[str, Any]]


class Service:
    """The daemon's side of systemd's protocol. `reload` reads the options again; it raises BadConfiguration."""

    def __init__(
        self,
        notifier: Notifier | None = None,
        *,
        options: Callable[[], Options] = dict,
        reload: Callable[[], None] = lambda: None,
    ) -> None:
        notifier = notifier or Notifier({})
        self.notify = notifier.notify
        self.interval_ms: Milliseconds = notifier.interval_ms
        self.options = options
        self.reload = reload
        self.next_ping: Milliseconds = 0

    def is_due(self, now: Milliseconds) -> bool:
        """Return whether the watchdog expects a ping."""
        return bool(self.interval_ms) and now >= self.next_ping

    def tick(self, status: Callable[[], str], now: Milliseconds) -> None:
        """Ping the watchdog when it is due: the loop runs, and the disk has been probed."""
        if self.is_due(now):
            self.next_ping = now + self.interval_ms
            self.notify("WATCHDOG=1", f"STATUS={status()}")

    @contextmanager
    def reloading(self) -> Iterator[None]:
        """Read the options again; mistakes in them are logged, and the old ones stay."""
        self.notify("RELOADING=1", f"MONOTONIC_USEC={monotonic_ns() // 1000}")
        try:
            self.reload()
        except BadConfiguration as error:
            for line in str(error).splitlines():
                log.error("event=reload_failed %s", line)  # noqa: TRY400  # not a defect
        else:
            log.info("event=reloaded")
        yield
        self.notify("READY=1")
