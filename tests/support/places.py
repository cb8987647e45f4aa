"""Where the tests keep their files: in memory if it has space, since most of them wait for the disk otherwise.

On a disk with an fsync of 4 ms, `make test` takes 7 minutes instead of 4. Tests of full and failing disks bring their
own (a small tmpfs, strace, lossy_disk.c). `KVD_TESTS_DISK=1` uses the disk; `make long` sets it.
"""

import os
import tempfile

MEMORY = "/dev/shm"  # pytest makes a folder of the user's own in it
FREE_BYTES_MIN = 4 << 30  # a run needs up to 1.2 GiB


def choose_temporary_folder() -> None:
    """Let this process and its children have their temporary files in memory."""
    if "TMPDIR" not in os.environ and "KVD_TESTS_DISK" not in os.environ and has_room(MEMORY):
        os.environ["TMPDIR"] = MEMORY
        tempfile.tempdir = None  # it is determined again


def has_room(folder: str) -> bool:
    """Return whether a folder can be written to, has enough room, and programs in it can be run."""
    if not os.access(folder, os.W_OK):
        return False
    place = os.statvfs(folder)
    return place.f_bavail * place.f_frsize >= FREE_BYTES_MIN and not place.f_flag & os.ST_NOEXEC
