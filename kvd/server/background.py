"""Runs long commands, CHECK and BACKUP, one at a time in a thread with its own database connections."""

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
# Not a path, not a hidden file, and no character that a shell would need quoted.
PLAIN_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*")


class Finished(NamedTuple):
    """A finished command: its result, or the error."""

    envelope: list[bytes]
    outcome: dict[str, Any] | Refused


class BackgroundCommands:
    """Runs one command at a time beside the loop."""

    def __init__(self) -> None:
        self.thread: threading.Thread | None = None
        self.name = ""
        self.stopping = threading.Event()
        self.done: SimpleQueue[Finished] = SimpleQueue()

    def start(self, envelope: list[bytes], command: BackgroundCommand, daemon: Daemon, now: Milliseconds) -> None:
        """Start a command; raises Busy while another runs."""
        if self.thread is not None and self.thread.is_alive():
            raise Busy(f"{self.name} is running: retry when it is done")
        self.name = command.command_name()
        arguments = (envelope, command, daemon, now)
        self.thread = threading.Thread(target=self.work, args=arguments, name="task", daemon=True)
        self.thread.start()

    def work(self, envelope: list[bytes], command: BackgroundCommand, daemon: Daemon, now: Milliseconds) -> None:
        """Run a command and queue its outcome, also when it raises."""
        outcome: dict[str, Any] | Refused
        try:
            outcome = command.run(daemon, now)
        except Refused as error:
            outcome = error
        except StorageFailed as error:
            outcome = _refusal_of_failure(error)
        except Exception:
            log.exception("event=defect a background command raised an unexpected error")
            outcome = Internal("a defect of kvd; see the log for details")
        self.done.put(Finished(envelope, outcome))

    def check_cancelled(self) -> None:
        """Yield to the loop; raises ShuttingDown when the daemon shuts down. The commands call it often."""
        if self.stopping.wait(CANCEL_CHECK_S):
            raise ShuttingDown("the daemon is shutting down: retry later")

    def pop_finished(self) -> list[Finished]:
        return [self.done.get() for _ in range(self.done.qsize())]

    def stop(self) -> None:
        """Cancel the running command, if any, and wait for it."""
        self.stopping.set()
        if self.thread is not None:
            self.thread.join()


class AdminTasks:
    """The long commands on the data directory and the folder for backups."""

    def __init__(self, directory: Path, backups: Path, tasks: BackgroundCommands) -> None:
        self.directory = directory
        self.backups = backups
        self.background = tasks

    def check(self) -> dict[str, Any]:
        """Check all files; return the numbers of entries and changes read. Raises Corrupt."""
        report = check(self.directory, self.background.check_cancelled)
        if not report.damages:
            return {"entries": report.entries, "changes": report.changes}
        first, *others = report.damages
        place = f"{first.file}: {first.message}" + (f" (and {len(others)} more)" if others else "")
        damages = [damage._asdict() for damage in report.damages[:DAMAGES_REPORTED_MAX]]
        log.error("event=damaged %s", place)
        raise Corrupt(f"{place}; `kvd check --repair` keeps the undamaged data", damages=damages, key=first.key)

    def back_up(self, name: str) -> dict[str, Any]:
        """Write a backup; return its facts. Raises Refused, StorageFailed."""
        if not PLAIN_NAME.fullmatch(name):
            raise BadArgument(
                "the name of a backup has only letters, digits, dots, dashes and underscores, and no folder"
            )
        path = self.backups / name
        if path.exists():
            raise BadArgument(f"a backup {name} exists already: choose another name")
        began = time.monotonic()
        backup: Backup = back_up(self.directory, path, self.background.check_cancelled)
        log.info("event=backup path=%s revision=%d seconds=%.1f", path, backup.revision, time.monotonic() - began)
        return backup._asdict()


def _refusal_of_failure(error: StorageFailed) -> Refused:
    """Return the client's error for a failed command. The command changed nothing."""
    cause = error.__cause__
    is_full = isinstance(cause, OSError) and cause.errno in (errno.ENOSPC, errno.EDQUOT)
    if is_full or (isinstance(cause, Exception) and isinstance(to_refusal(cause), Full)):
        return Full(f"the disk is full: {error}")
    return BadArgument(str(error))
