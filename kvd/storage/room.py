"""Room on the disk: noticed before it is gone, with enough kept aside that CLEAR and COMPACT still work then.

A file of zeros, the ballast, takes room that nobody else can take. When the disk is short it is given up, writes that
grow are refused, and those that clear use what it leaves. It is taken back when there is room again. (CockroachDB and
etcd do alike.)
"""

import os
from contextlib import suppress
from pathlib import Path

from kvd.limits import BALLAST_BYTES, BALLAST_PARTS

FILE = "ballast"


class Room:
    """The disk of a data directory. Short: the ballast is given up."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.path = directory / FILE
        disk = os.statvfs(directory)
        self.bytes = min(BALLAST_BYTES, disk.f_blocks * disk.f_frsize // BALLAST_PARTS)
        self.is_short = True
        if not self.take():
            self.give_up()

    @property
    def least(self) -> int:
        """Return how many free bytes are too few."""
        return self.bytes // 2

    def free(self) -> int:
        """Return how many bytes there are for us. It takes 1 us."""
        disk = os.statvfs(self.directory)
        return disk.f_bavail * disk.f_frsize

    def suffices(self, pending: int) -> bool:
        """Return whether there is room for more, when so many bytes are still to be folded.

        A fold writes them into the table's WAL, and a checkpoint from there into the table.
        """
        return not self.is_short and self.free() >= self.least + 2 * pending

    def give_up(self) -> None:
        """Leave the ballast's room to what must be written."""
        self.is_short = True
        self.path.unlink(missing_ok=True)

    def take(self) -> bool:
        """Have the ballast, if that leaves room for more besides; return whether it does."""
        with suppress(OSError):
            is_there = self.path.exists() and self.path.stat().st_size >= self.bytes
            if self.free() >= (1 if is_there else 2) * self.bytes:
                if not is_there:
                    self.make()
                self.is_short = False
        return not self.is_short

    def make(self) -> None:
        """Make the file. Raises OSError."""
        fd = os.open(self.path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            os.posix_fallocate(fd, 0, self.bytes)
        finally:
            os.close(fd)
