"""Commands that take long, CHECK and BACKUP: one at a time, in a thread of their own, with connections of their own."""

import errno
import logging
import re
import threading
import time
from pathlib import Path
from queue import SimpleQueue
from typing import Any, NamedTuple

from kvd.commands import BackgroundCommand
from kvd.commands.base import Daemon
from kvd.commands.model import Milliseconds
from kvd.errors import BadArgument, Busy, Corrupt, Full, Internal, Refused, ShuttingDown, StorageFailed
from kvd.limits import DAMAGES_REPORTED_MAX
from kvd.storage import Backup, back_up, check
from kvd.storage.files.sqlite import to_refusal

log = logging.getLogger("kvd")

CANCEL_CHECK_S = 0.001
# No path, no hidden file, nothing that a shell would have to quote.
PLAIN_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*")


class Finished(NamedTuple):
    """What became of a task: its result, or why there is none."""

    envelope: list[bytes]
    outcome: dict[str, Any] | Refused


class BackgroundCommands:
    """Runs tasks beside the loop. `daemon` is what they ask."""

    def __init__(self) -> None:
        self.thread: threading.Thread | None = None
        self.name = ""
        self.stopping = threading.Event()
        self.done: SimpleQueue[Finished] = SimpleQueue()

    def begin(self, envelope: list[bytes], command: BackgroundCommand, daemon: Daemon, now: Milliseconds) -> None:
        """Start a task; raises Busy while another runs."""
        if self.thread is not None and self.thread.is_alive():
            raise Busy(f"{self.name} is at work: ask again when it is done")
        self.name = command.command_name()
        arguments = (envelope, command, daemon, now)
        self.thread = threading.Thread(target=self.work, args=arguments, name="task", daemon=True)
        self.thread.start()

    def work(self, envelope: list[bytes], command: BackgroundCommand, daemon: Daemon, now: Milliseconds) -> None:
        """Run a task to its end, whatever that is."""
        outcome: dict[str, Any] | Refused
        try:
            outcome = command.run(daemon, now)
        except Refused as error:
            outcome = error
        except StorageFailed as error:
            outcome = _refusal_of_failure(error)
        except Exception:
            log.exception("event=defect a task raised")
            outcome = Internal("a defect of kvd; the log tells more")
        self.done.put(Finished(envelope, outcome))

    def check_cancelled(self) -> None:
        """Let the loop run; raises ShuttingDown when the daemon is about to end."""
        if self.stopping.wait(CANCEL_CHECK_S):
            raise ShuttingDown("the daemon is about to end: begin again")

    def pop_finished(self) -> list[Finished]:
        """Return what is done."""
        return [self.done.get() for _ in range(self.done.qsize())]

    def stop(self) -> None:
        """End the task at hand, if there is one."""
        self.stopping.set()
        if self.thread is not None:
            self.thread.join()


class AdminTasks:
    """What the tasks do with the data directory and the folder for backups."""

    def __init__(self, directory: Path, backups: Path, tasks: BackgroundCommands) -> None:
        self.directory = directory
        self.backups = backups
        self.background = tasks

    def check(self) -> dict[str, Any]:
        """Return how much was read and found whole; raises Corrupt."""
        report = check(self.directory, self.background.check_cancelled)
        if not report.damages:
            return {"entries": report.entries, "changes": report.changes}
        first, *others = report.damages
        place = f"{first.file}: {first.message}" + (f" (and {len(others)} more)" if others else "")
        told = [damage._asdict() for damage in report.damages[:DAMAGES_REPORTED_MAX]]
        log.error("event=damaged %s", place)
        raise Corrupt(f"{place}; `kvd check --repair` keeps what is whole", damages=told, key=first.key)

    def back_up(self, name: str) -> dict[str, Any]:
        """Write a backup; return what it holds. Raises Refused, StorageFailed."""
        if not PLAIN_NAME.fullmatch(name):
            raise BadArgument("a backup has a plain name: letters, digits, dots, dashes and underlines, no folder")
        path = self.backups / name
        if path.exists():
            raise BadArgument(f"there is a backup {name} already: choose another name")
        began = time.monotonic()
        made: Backup = back_up(self.directory, path, self.background.check_cancelled)
        log.info("event=backup path=%s revision=%d seconds=%.1f", path, made.revision, time.monotonic() - began)
        return made._asdict()


def _refusal_of_failure(error: StorageFailed) -> Refused:
    """Return what a failure of a task means to a client. It has changed nothing."""
    cause = error.__cause__
    is_full = isinstance(cause, OSError) and cause.errno in (errno.ENOSPC, errno.EDQUOT)
    if is_full or (isinstance(cause, Exception) and isinstance(to_refusal(cause), Full)):
        return Full(f"no room for it: {error}")
    return BadArgument(str(error))
