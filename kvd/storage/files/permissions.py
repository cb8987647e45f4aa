"""Checks that this process may read and write a data directory's files, and names the owner and the remedy if not.

A daemon that was once started as root leaves files that the service's user cannot open. SQLite then says "unable to
open database file", which looks like damage.
"""

import os
import pwd
from pathlib import Path

from kvd.errors import StorageFailed

READ_WRITE = os.R_OK | os.W_OK


def check_permissions(directory: Path) -> None:
    """Raise StorageFailed when this process cannot read and write the directory or one of its files."""
    _check_one(directory, directory, READ_WRITE | os.X_OK)
    for path in (directory / "lock", *sorted(directory.glob("*.db*"))):
        if path.is_file():
            _check_one(path, directory, READ_WRITE)


def _check_one(path: Path, directory: Path, mode: int) -> None:
    """Raise StorageFailed when this process has no access of this mode to a file."""
    if os.access(path, mode):
        return
    if os.statvfs(path).f_flag & os.ST_RDONLY:
        raise StorageFailed(f"{path} is on a file system that is mounted read-only: mount it for writing")
    owner, user = _user_name(path.stat().st_uid), _user_name(os.geteuid())
    if owner == user:
        raise StorageFailed(f"{path} cannot be read and written by {user}, its owner: chmod -R u+rwX {directory}")
    raise StorageFailed(
        f"{path} belongs to {owner}, and this kvd runs as {user}: run it as {owner}, or: chown -R {user} {directory}"
    )


def _user_name(number: int) -> str:
    """Return the name of a user, or the number if the user has no name."""
    try:
        return pwd.getpwuid(number).pw_name
    except KeyError:
        return str(number)
