"""The family `expiry`: entries with a time to live."""

from typing import Annotated

from kvd.commands.base import Read, Write
from kvd.commands.fields import Duration, Key, Revision, Time, argument, option
from kvd.commands.model import Milliseconds, Reader, Writer
from kvd.commands.values import check_entry


class Expire(Write, tag="EXPIRE"):
    """Make a key expire after a number of seconds.

    The result is 1, or 0 if there is no such key. With REVISION the entry must be at that revision (0: the key must not
    exist); otherwise the error is CONFLICT and nothing changes.
    """

    grpc_number = 11
    examples = ("EXPIRE session 60", "EXPIRE session 60 REVISION 7")
    added = 1
    key: Key
    ttl: Annotated[Duration, argument("seconds", scale=1000)]
    revision: Annotated[Revision | None, option("REVISION", "n")] = None

    def run(self, entries: Writer, now: Milliseconds) -> int:
        """Set the expiry; return 1, or 0 if there is no such key."""
        entry = entries.get(self.key)
        check_entry(self.revision, entry)
        if entry is None:
            return 0
        entries.put(self.key, entry.value, expires=now + self.ttl)
        return 1


class Persist(Write, tag="PERSIST"):
    """Remove the expiry of a key.

    The result is 1, or 0 if there is no such key or it has no expiry. With REVISION the entry must be at that revision
    (0: the key must not exist); otherwise the error is CONFLICT and nothing changes.
    """

    grpc_number = 12
    examples = ("PERSIST session", "PERSIST session REVISION 7")
    added = 1
    key: Key
    revision: Annotated[Revision | None, option("REVISION", "n")] = None

    def run(self, entries: Writer, now: Milliseconds) -> int:  # noqa: ARG002
        """Remove the expiry; return 1, or 0 if there was none."""
        entry = entries.get(self.key)
        check_entry(self.revision, entry)
        if entry is None or entry.expires is None:
            return 0
        entries.put(self.key, entry.value, expires=None)
        return 1


class Ttl(Read, tag="TTL"):
    """Return how long a key has to live.

    The result is nil if there is no such key, and -1 if it does not expire.
    """

    grpc_number = 13
    examples = ("TTL session",)
    result_unit = "ms"
    key: Key

    def run(self, entries: Reader, now: Milliseconds) -> int | None:
        """Return the remaining time in milliseconds."""
        entry = entries.get(self.key)
        if entry is None:
            return None
        return -1 if entry.expires is None else entry.expires - now


class GetEx(Write, tag="GETEX"):
    """Return the value of a key, or nil, and change its expiry.

    EX, PX and AT set the expiry, PERSIST removes it; without them nothing changes.
    """

    grpc_number = 18
    examples = ("GETEX session EX 60", "GETEX session PERSIST")
    exclusive = (("ttl", "at", "persist"),)
    key: Key
    ttl: Annotated[Duration | None, option("EX", "seconds", scale=1000), option("PX", "ms")] = None
    at: Annotated[Time | None, option("AT", "unix-ms")] = None
    persist: Annotated[bool | None, option("PERSIST")] = None

    def run(self, entries: Writer, now: Milliseconds) -> bytes | None:
        """Set or remove the expiry; return the value."""
        self.check_exclusive()
        entry = entries.get(self.key)
        if entry is None:
            return None
        expires = now + self.ttl if self.ttl is not None else self.at
        if expires is not None or (self.persist and entry.expires is not None):
            entries.put(self.key, entry.value, expires=expires)
        return entry.value
