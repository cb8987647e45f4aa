"""The family `expiry`: entries that end by themselves."""

from typing import Annotated

from kvd.commands.base import Read, Write
from kvd.commands.entry import Milliseconds, Reader, Writer
from kvd.commands.fields import Argument, Duration, Key


class Expire(Write, tag="EXPIRE"):
    """Let a key end after so many seconds.

    The result is 1, or 0 if there is no such key.
    """

    examples = ("EXPIRE session 60",)
    key: Key
    ttl: Annotated[Duration, Argument("seconds", scale=1000)]

    def run(self, entries: Writer, now: Milliseconds) -> int:
        """Set the expiry; return how many keys got one."""
        entry = entries.get(self.key)
        if entry is None:
            return 0
        entries.put(self.key, entry.value, expires=now + self.ttl)
        return 1


class Persist(Write, tag="PERSIST"):
    """Take the expiry from a key.

    The result is 1, or 0 if there is no such key or it stays already.
    """

    examples = ("PERSIST session",)
    key: Key

    def run(self, entries: Writer, now: Milliseconds) -> int:  # noqa: ARG002
        """Drop the expiry; return how many keys lost one."""
        entry = entries.get(self.key)
        if entry is None or entry.expires is None:
            return 0
        entries.put(self.key, entry.value, expires=None)
        return 1


class Ttl(Read, tag="TTL"):
    """Return how long a key has to live.

    nil if there is no such key, -1 if it stays.
    """

    examples = ("TTL session",)
    result_unit = "ms"
    key: Key

    def run(self, entries: Reader, now: Milliseconds) -> int | None:
        """Return the time left in milliseconds."""
        entry = entries.get(self.key)
        if entry is None:
            return None
        return -1 if entry.expires is None else entry.expires - now
