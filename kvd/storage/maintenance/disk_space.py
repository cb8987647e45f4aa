"""Disk space: detects a shortage early, and reserves enough that CLEAR and COMPACT still work then.

The ballast is a file of zeros that occupies space. When the disk is short, the store releases the ballast and refuses
writes that grow the data; CLEAR uses the released space. The last quarter of the ballast, the reserve, is released only
for COMPACT: clearing needs space as well, and if it used all of it, nothing could free space any more. The ballast is
restored when there is space again. (CockroachDB and etcd use the same technique.)
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
    """The free space of a data directory's disk. `is_short` means that the ballast is released."""

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
        """Return the number of free bytes below which the disk is short."""
        return self.bytes // 2

    def free(self) -> int:
        """Return the number of free bytes for this user. It takes 1 us. Raises Internal."""
        try:
            disk = os.statvfs(self.directory)
        except OSError as error:
            raise Internal(f"cannot read the free space of {self.directory}: {error.strerror}") from error
        return disk.f_bavail * disk.f_frsize

    def headroom(self) -> int:
        """Return how many bytes may be written before the next check; 0 or less when space is not plentiful."""
        return self.free() // 2 - PLENTY_PARTS * self.bytes

    def is_near_end(self) -> bool:
        """Return whether another program could fill the disk before the next check. Raises Internal."""
        return not self.is_short and self.free() < PLENTY_PARTS * self.bytes

    @property
    def reserve(self) -> int:
        """Return the part of the ballast in bytes that is kept for COMPACT."""
        return self.bytes // 4

    def is_enough_for(self, pending: int, journal: int) -> bool:
        """Return whether the disk has space for `pending` bytes to fold and `journal` bytes in the journal.

        The fold writes its bytes into the table's WAL, and a checkpoint copies them into the table: hence twice.
        """
        return not self.is_short and self.free() >= self.minimum_free + 2 * pending + journal

    def release_ballast(self) -> None:
        """Truncate the ballast to its reserve."""
        self.is_short = True
        if self.ballast_size() > self.reserve:
            os.truncate(self.path, self.reserve)

    def release_reserve(self) -> None:
        """Remove the reserve as well, for COMPACT and the fold and trimming after it."""
        if self.is_short:
            self.path.unlink(missing_ok=True)

    def restore_ballast(self) -> bool:
        """Create the ballast if as much stays free, or else its reserve. Return whether the ballast is complete."""
        with suppress(OSError):
            is_complete = self.ballast_size() >= self.bytes
            if self.free() >= (1 if is_complete else 2) * self.bytes:
                self._allocate(self.bytes)
                self.is_short = False
            elif self.ballast_size() < self.reserve and self.free() >= 2 * self.reserve:
                self._allocate(self.reserve)
        return not self.is_short

    def ballast_size(self) -> int:
        return bytes_of(self.path)

    def _allocate(self, size: int) -> None:
        """Extend the ballast to a size. Raises OSError."""
        fd = os.open(self.path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            os.posix_fallocate(fd, 0, size)
        finally:
            os.close(fd)
