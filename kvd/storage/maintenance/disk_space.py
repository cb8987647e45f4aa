"""Room on the disk: noticed before it is gone, with enough kept aside that CLEAR and COMPACT still work then.

A file of zeros, the ballast, takes room that nobody else can take. When the disk is short it is given up, writes that
grow are refused, and those that clear use what it leaves. The last part of it is kept until COMPACT comes: to clear
takes room as well, and if that took all, nothing could ever make room. It is taken back when there is room again.
(CockroachDB and etcd do alike.)
"""

import os
from contextlib import suppress
from pathlib import Path

from kvd.errors import Internal
from kvd.limits import BALLAST_BYTES, BALLAST_PARTS
from kvd.storage.files.sqlite import bytes_of

FILE = "ballast"
PLENTY_PARTS = 16


class DiskSpace:
    """The disk of a data directory. Short: the ballast is given up."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.path = directory / FILE
        disk = os.statvfs(directory)
        self.bytes = min(BALLAST_BYTES, disk.f_blocks * disk.f_frsize // BALLAST_PARTS)
        self.is_short = True
        if not self.restore_ballast():
            self.release_ballast()

    @property
    def minimum_free(self) -> int:
        """Return how many free bytes are too few."""
        return self.bytes // 2

    def free(self) -> int:
        """Return how many bytes there are for us. It takes 1 us. Raises Internal."""
        try:
            disk = os.statvfs(self.directory)
        except OSError as error:
            raise Internal(f"cannot ask {self.directory} for its free room: {error.strerror}") from error
        return disk.f_bavail * disk.f_frsize

    def headroom(self) -> int:
        """Return how many bytes may be written before another look: not positive where there is no plenty."""
        return self.free() // 2 - PLENTY_PARTS * self.bytes

    def is_near_end(self) -> bool:
        """Return whether another program could take all the room before anybody looks again. Raises Internal."""
        return not self.is_short and self.free() < PLENTY_PARTS * self.bytes

    @property
    def reserve(self) -> int:
        """Return how many bytes of the ballast are kept for COMPACT."""
        return self.bytes // 4

    def is_enough_for(self, pending: int, journal: int) -> bool:
        """Return whether there is room for more: so many bytes are still to be folded, the journal needs so many.

        A fold writes them into the table's WAL, and a checkpoint from there into the table.
        """
        return not self.is_short and self.free() >= self.minimum_free + 2 * pending + journal

    def release_ballast(self) -> None:
        """Leave the ballast's room to what must be written, but for the last part."""
        self.is_short = True
        if self.size() > self.reserve:
            os.truncate(self.path, self.reserve)

    def release_reserve(self) -> None:
        """Leave the last part as well, for COMPACT, and for the fold and the trimming that come of it."""
        if self.is_short:
            self.path.unlink(missing_ok=True)

    def restore_ballast(self) -> bool:
        """Have the ballast, if that leaves room for more besides, or its last part; return whether it is all there."""
        with suppress(OSError):
            is_there = self.size() >= self.bytes
            if self.free() >= (1 if is_there else 2) * self.bytes:
                self.make(self.bytes)
                self.is_short = False
            elif self.size() < self.reserve and self.free() >= 2 * self.reserve:
                self.make(self.reserve)
        return not self.is_short

    def size(self) -> int:
        """Return how many bytes the file has, 0 if it is not there."""
        return bytes_of(self.path)

    def make(self, size: int) -> None:
        """Make the file that long. Raises OSError."""
        fd = os.open(self.path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            os.posix_fallocate(fd, 0, size)
        finally:
            os.close(fd)
