"""Exports entries: a walk over a prefix, and a file that gets its name when it is complete and durable."""

import errno
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from kvd.client.stream import Stream
from kvd.client.walk import pages
from kvd.transfer.formats import Format

LINKS_MISSING = (errno.EPERM, errno.ENOTSUP, errno.ENOSYS)  # file systems without hard links


def export(stream: Stream, fd: int, form: Format, prefix: bytes, tick: Callable[[int], None]) -> int:
    """Write the entries of a prefix in the byte order of their keys; return how many. Raises KvdError, OSError.

    `tick` gets the number of entries so far, after each page. Each page is as of its own revision.
    """
    if form.header:
        write(fd, form.header + b"\r\n")
    count = 0
    for page in pages(stream, prefix, values=True):
        write(fd, form.encode(page))
        count += len(page)
        tick(count)
    return count


def write(fd: int, data: bytes) -> None:
    """Write all of it."""
    view = memoryview(data)
    while view:
        view = view[os.write(fd, view) :]


@contextmanager
def new_file(path: Path) -> Iterator[int]:
    """Yield a descriptor of PATH.partial. At the end it is synced and renamed to PATH; after an error it is removed.

    Raises FileExistsError when either is there: nothing is overwritten. The file is for its owner alone.
    """
    if os.path.lexists(path):
        raise FileExistsError(errno.EEXIST, "exists and is not overwritten", str(path))
    partial = path.with_name(f"{path.name}.partial")
    try:
        fd = os.open(partial, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
    except FileExistsError:
        why = "exists: another export is writing it; if that was killed, remove the file"
        raise FileExistsError(errno.EEXIST, why, str(partial)) from None
    try:
        try:
            yield fd
            os.fsync(fd)
        finally:
            os.close(fd)
        _rename_to_new(partial, path)
    finally:
        partial.unlink(missing_ok=True)
    _sync_directory(path.parent)


def _rename_to_new(partial: Path, path: Path) -> None:
    """Rename a file, unless another took the name meanwhile. Raises FileExistsError. Raises FileExistsError."""
    try:
        os.link(partial, path)  # unlike a rename it never replaces a file
    except FileExistsError:
        raise FileExistsError(errno.EEXIST, "has been created meanwhile, and is not overwritten", str(path)) from None
    except OSError as error:
        if error.errno not in LINKS_MISSING or os.path.lexists(path):
            raise
        partial.rename(path)


def _sync_directory(directory: Path) -> None:
    """Sync a directory, so that the names of its files survive a power loss."""
    fd = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)
