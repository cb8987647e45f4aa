"""One daemon per directory: an flock that the kernel lets go when the process ends, however it ends.

The file tells who has it, and how long the journal's WAL was made; it is empty after a clean end.
"""

import fcntl
import os
from contextlib import suppress
from pathlib import Path

from kvd.errors import InUse, StorageFailed


class DirectoryLock:
    """Holds a directory until it is closed."""

    def __init__(self, directory: Path) -> None:
        """Raise InUse when another daemon has the directory, StorageFailed when it cannot be written to."""
        path = directory / "lock"
        try:
            self.fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        except OSError as error:
            raise StorageFailed(f"cannot open {path}: {error.strerror}") from error
        try:
            fcntl.flock(self.fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            holder, *_ = self.words() or ["unknown"]
            os.close(self.fd)
            raise InUse(f"{directory} is served by another kvd (process {holder})") from error

        words = self.words()
        # How long the WAL was of one who did not end cleanly; None if the last did.
        self.left_wal_bytes = int(words[1]) if len(words) > 1 and words[1].isdigit() else None
        try:
            self.write(self.left_wal_bytes)
        except OSError as error:
            os.close(self.fd)
            raise StorageFailed(f"cannot write {path}: {error.strerror}") from error

    def words(self) -> list[str]:
        """Return what the file says: a process and, while the files are open, the bytes of the journal's WAL."""
        return os.pread(self.fd, 40, 0).decode("ascii", "replace").split()

    def write(self, wal_bytes: int | None) -> None:
        """Say who we are, and whether the files are open."""
        text = b"%d\n" % os.getpid() if wal_bytes is None else b"%d %d\n" % (os.getpid(), wal_bytes)
        os.pwrite(self.fd, text, 0)  # before it is cut: one that is killed between loses no mark
        os.ftruncate(self.fd, len(text))

    def mark_in_use(self, wal_bytes: int) -> None:
        """Say that the directory's files are open. Called when they are, so that their WALs exist."""
        self.write(wal_bytes)
        os.fsync(self.fd)

    def mark_clean(self) -> None:
        """Say that nothing is left to recover. Called just before the files are closed, for that removes their WALs.

        Durable before they go: else a power loss could leave us saying that they should be there.
        """
        os.ftruncate(self.fd, 0)
        with suppress(OSError):  # the files have to be closed all the same
            os.fsync(self.fd)

    def close(self) -> None:
        """Let the directory go."""
        os.close(self.fd)
