"""One daemon per directory: a flock, which the kernel releases when the process ends for any reason.

The file holds the owner's process id and, while the files are open, the length of the journal's WAL. It is empty after
a clean shutdown.
"""

import fcntl
import os
from contextlib import suppress
from pathlib import Path

from kvd.errors import InUse, StorageFailed


class DirectoryLock:
    """Locks a directory until `close`."""

    def __init__(self, directory: Path) -> None:
        """Raise InUse when another daemon has locked the directory, StorageFailed when it is not writable."""
        path = directory / "lock"
        try:
            self.fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        except OSError as error:
            raise StorageFailed(f"cannot open {path}: {error.strerror}") from error
        try:
            fcntl.flock(self.fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            holder, *_ = self._words() or ["unknown"]
            os.close(self.fd)
            raise InUse(f"{directory} is served by another kvd (process {holder})") from error

        words = self._words()
        # The length of the WAL that an unclean shutdown left; None after a clean one.
        self.left_wal_bytes = int(words[1]) if len(words) > 1 and words[1].isdigit() else None
        try:
            self._write(self.left_wal_bytes)
        except OSError as error:
            os.close(self.fd)
            raise StorageFailed(f"cannot write {path}: {error.strerror}") from error

    def _words(self) -> list[str]:
        """Return the file's words: a process id and, while the files are open, the journal's WAL size in bytes."""
        return os.pread(self.fd, 40, 0).decode("ascii", "replace").split()

    def _write(self, wal_bytes: int | None) -> None:
        """Write our process id and, if the files are open, the WAL size."""
        text = b"%d\n" % os.getpid() if wal_bytes is None else b"%d %d\n" % (os.getpid(), wal_bytes)
        os.pwrite(self.fd, text, 0)  # write before truncating, so that a crash in between keeps the old mark
        os.ftruncate(self.fd, len(text))

    def mark_in_use(self, wal_bytes: int) -> None:
        """Record durably that the directory's files are open. Call it when they are, so that their WALs exist."""
        self._write(wal_bytes)
        os.fsync(self.fd)

    def mark_clean(self) -> None:
        """Record durably that nothing needs recovery. Call it just before the files are closed.

        Closing removes the WALs. If the mark were not durable first, a power loss could leave a mark that expects them.
        """
        os.ftruncate(self.fd, 0)
        with suppress(OSError):  # the files must be closed anyway
            os.fsync(self.fd)

    def close(self) -> None:
        os.close(self.fd)
