"""What a service owes to whoever runs it: readiness, signs of life, and its options, which SIGHUP may change."""

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
    """One of them. `reload` reads the options again and takes up those it can; it raises BadConfiguration."""

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
        self.next_sign: Milliseconds = 0

    def is_due(self, now: Milliseconds) -> bool:
        """Return whether a sign of life is to be given."""
        return bool(self.interval_ms) and now >= self.next_sign

    def tick(self, status: Callable[[], str], now: Milliseconds) -> None:
        """Give a sign of life when it is time: the loop turns, and the disk has been proved to answer."""
        if self.is_due(now):
            self.next_sign = now + self.interval_ms
            self.notify("WATCHDOG=1", f"STATUS={status()}")

    @contextmanager
    def reloading(self) -> Iterator[None]:
        """Read the options again; what is wrong in them is logged, and they stay as they were."""
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
