"""Syncs the journal's WAL where SQLite does not do it in each commit (fsync = interval)."""

import os
from pathlib import Path

from kvd.errors import Internal


class JournalSync:
    """An open file descriptor of the WAL, and whether a commit came after the last sync."""

    def __init__(self, wal: Path) -> None:
        self.fd = os.open(wal, os.O_RDONLY | os.O_CLOEXEC)
        self.is_pending = False

    def on_commit(self) -> None:
        """Note that there is something to sync."""
        self.is_pending = True

    def sync(self, *, force: bool = False) -> None:
        """Make commits durable, if there are any. Raises Internal; then the store must not be used any more."""
        if self.is_pending or force:
            self.is_pending = False
            try:
                os.fdatasync(self.fd)
            except OSError as error:
                raise Internal(f"fsync of the journal failed: {error.strerror}") from error

    def wal_bytes(self) -> int:
        """Return the length of the WAL."""
        return os.fstat(self.fd).st_size

    def close(self) -> None:
        """Close the file descriptor."""
        os.close(self.fd)
