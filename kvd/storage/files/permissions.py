"""Whether this process may use the files of a data directory; if not, whose they are and how to change that.

A daemon that was started once as root leaves files that the service's user cannot open. SQLite says "unable to open
database file" then, which looks like damage.
"""

import os
import pwd
from pathlib import Path

from kvd.errors import StorageFailed

READ_WRITE = os.R_OK | os.W_OK


def check_permissions(directory: Path) -> None:
    """Raise StorageFailed when the directory, or a file of it, cannot be read and written by this process."""
    _check_one(directory, directory, READ_WRITE | os.X_OK)
    for path in (directory / "lock", *sorted(directory.glob("*.db*"))):
        if path.is_file():
            _check_one(path, directory, READ_WRITE)


def _check_one(path: Path, directory: Path, wanted: int) -> None:
    """Raise StorageFailed when this process may not do that to a file."""
    if os.access(path, wanted):
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
    """Return the name of a user, or the number where there is none."""
    try:
        return pwd.getpwuid(number).pw_name
    except KeyError:
        return str(number)
