"""One daemon per directory: an flock that the kernel lets go when the process ends, however it ends."""

import fcntl
import os
from pathlib import Path

from kvd.errors import InUse, StorageFailed


class DirectoryLock:
    """Holds a directory until it is closed."""

    def __init__(self, directory: Path) -> None:
        """Raise InUse when another daemon has the directory."""
        path = directory / "lock"
        try:
            self.fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        except OSError as error:
            raise StorageFailed(f"cannot open {path}: {error.strerror}") from error
        try:
            fcntl.flock(self.fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            holder = os.pread(self.fd, 20, 0).decode("ascii", "replace").strip()
            os.close(self.fd)
            raise InUse(f"{directory} is served by another kvd (process {holder or 'unknown'})") from error
        os.ftruncate(self.fd, 0)
        os.pwrite(self.fd, b"%d\n" % os.getpid(), 0)

    def close(self) -> None:
        """Let the directory go."""
        os.close(self.fd)
