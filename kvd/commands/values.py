"""The family `values`: set and get, one key or many."""

import re
from typing import Annotated

from kvd.commands.base import NotYet, Read, Write
from kvd.commands.fields import Duration, Integer, Key, Keys, Option, Pairs, Prefix, Revision, Time, Value
from kvd.commands.fields import Wait as WaitMs
from kvd.commands.model import Entry, Milliseconds, Reader, Writer
from kvd.errors import BadArgument, Conflict, TooLarge, WrongType
from kvd.limits import INTEGER_MAX, VALUE_BYTES_MAX

INTEGER = re.compile(rb"-?(0|[1-9][0-9]{0,18})")


class Get(Read, tag="GET"):
    """Return the value of a key, or nil."""

    examples = ("GET city",)
    key: Key

    def run(self, entries: Reader, now: Milliseconds) -> bytes | None:  # noqa: ARG002
        """Return the value."""
        return entries.value(self.key)


class Set(Write, tag="SET"):
    """Set a key to a value.

    EX, PX and AT make it expire; an expiry that it had is dropped unless KEEPTTL says otherwise. NX asks
    that the key does not exist, XX that it does, REVISION that its entry is still the one of that revision
    (0: it does not exist); else CONFLICT, and nothing is changed. The result is nil, or with PREVIOUS the
    value before.
    """

    examples = (
        "SET city Ahmedabad",
        "SET session 8f3a EX 60",
        "SET city Surat REVISION 0",
        "SET city Surat XX PREVIOUS",
    )
    exclusive = (("ttl", "at", "keep_ttl"), ("nx", "xx", "revision"))

    key: Key
    value: Value
    ttl: Annotated[Duration | None, Option("EX", "seconds", scale=1000), Option("PX", "ms")] = None
    at: Annotated[Time | None, Option("AT", "unix-ms")] = None
    keep_ttl: Annotated[bool | None, Option("KEEPTTL")] = None
    nx: Annotated[bool | None, Option("NX")] = None
    xx: Annotated[bool | None, Option("XX")] = None
    revision: Annotated[Revision | None, Option("REVISION", "n")] = None
    previous: Annotated[bool | None, Option("PREVIOUS")] = None

    def run(self, entries: Writer, now: Milliseconds) -> bytes | None:
        """Set it; return the value before if asked."""
        # Nothing but key and value: the hot path, 0.1 us shorter than what follows.
        if self.ttl is self.at is self.keep_ttl is self.nx is self.xx is self.revision is self.previous:
            entries.put(self.key, self.value, expires=None)
            return None
        self.check_exclusive()
        expires = self.at if self.ttl is None else now + self.ttl
        before = None
        if self.keep_ttl or self.previous or self.nx or self.xx or self.revision is not None:
            before = entries.get(self.key)
            self.check_condition(before)
        if self.keep_ttl and before is not None:
            expires = before.expires
        entries.put(self.key, self.value, expires=expires)
        return before.value if self.previous and before is not None else None

    def check_condition(self, before: Entry | None) -> None:
        """Raise Conflict when NX, XX or REVISION does not hold."""
        revision = 0 if before is None else before.revision
        if self.xx and not revision:
            raise Conflict("the key does not exist", revision=0)
        check_revision(0 if self.nx else self.revision, revision)


def check_revision(wanted: int | None, found: int) -> None:
    """Raise Conflict when an entry is not at the revision wanted (0: must not exist; None: any)."""
    if wanted is None or wanted == found:
        return
    if not found:
        raise Conflict("the key does not exist", revision=0)
    state = f"is at revision {found}, not {wanted}" if wanted else f"exists, at revision {found}"
    raise Conflict(f"the key {state}", revision=found)


def check_entry(wanted: int | None, entry: Entry | None) -> None:
    """Raise Conflict when what there is of a key is not at the revision wanted (0: must not exist; None: any)."""
    check_revision(wanted, 0 if entry is None else entry.revision)


class Clear(Write, tag="CLEAR"):
    """End keys; the result is how many existed.

    With REVISION, which takes one key, the entry has to be the one of that revision (0: it does not exist); else
    CONFLICT, and nothing is changed.
    """

    examples = ("CLEAR city", "CLEAR city country", "CLEAR city REVISION 7")
    added = 1
    keys: Keys
    revision: Annotated[Revision | None, Option("REVISION", "n")] = None

    def run(self, entries: Writer, now: Milliseconds) -> int:  # noqa: ARG002
        """Clear them; return how many there were."""
        if self.revision is not None:
            if len(self.keys) > 1:
                raise BadArgument(f"REVISION is of one key, and {len(self.keys)} are given: use a TRANSACTION")
            check_entry(self.revision, entries.get(self.keys[0]))
        entries.read_ahead(self.keys)
        return sum([entries.clear(key) for key in self.keys])


class MultiGet(Read, tag="MULTIGET"):
    """Return the values of many keys in their order, nil for none."""

    examples = ("MULTIGET city country",)
    keys: Keys

    def run(self, entries: Reader, now: Milliseconds) -> list[bytes | None]:  # noqa: ARG002
        """Return the values."""
        return entries.values(self.keys)  # type: ignore[no-any-return]  # or what encodes as such


class MultiSet(Write, tag="MULTISET"):
    """Set many keys at once, all of them or none.

    EX, PX and AT, which come after the last pair, make all of them expire; without, expiries that they had are
    dropped.
    """

    examples = ("MULTISET city Ahmedabad country India", "MULTISET session:1 8f3a session:2 91bc EX 60")
    exclusive = (("ttl", "at"),)
    added = 2
    pairs: Pairs
    ttl: Annotated[Duration | None, Option("EX", "seconds", scale=1000), Option("PX", "ms")] = None
    at: Annotated[Time | None, Option("AT", "unix-ms")] = None

    def run(self, entries: Writer, now: Milliseconds) -> None:
        """Set them."""
        entries.read_ahead([key for key, _ in self.pairs])
        if self.ttl is self.at is None:
            entries.put_many(self.pairs)  # in C, where it was built
            return
        self.check_exclusive()
        expires = self.at if self.ttl is None else now + self.ttl
        for key, value in self.pairs:
            entries.put(key, value, expires=expires)


class Take(Write, tag="TAKE"):
    """Return the value of a key and end it, or nil.

    With REVISION the entry has to be the one of that revision (0: it does not exist); else CONFLICT, and nothing is
    changed.
    """

    examples = ("TAKE job:17", "TAKE job:17 REVISION 7")
    added = 1
    key: Key
    revision: Annotated[Revision | None, Option("REVISION", "n")] = None

    def run(self, entries: Writer, now: Milliseconds) -> bytes | None:  # noqa: ARG002
        """Clear it; return the value it had."""
        entry = entries.get(self.key)
        check_entry(self.revision, entry)
        if entry is None:
            return None
        entries.clear(self.key)
        return entry.value


class TakeFirst(Write, tag="TAKEFIRST"):
    """Return [key, value] of the first key of a prefix, and end it.

    With WAIT, when there is none yet, the reply comes with the first one, or with nil after so many milliseconds. A
    key goes to one client, and of those that wait to the one that has waited longest. Under ONCE the same key comes
    again when the command is sent again; without ONCE it is lost with a lost reply.
    """

    examples = ("TAKEFIRST job:", "TAKEFIRST job: WAIT 10000")
    prefix: Prefix
    wait_ms: Annotated[WaitMs | None, Option("WAIT", "ms")] = None

    def run(self, entries: Writer, now: Milliseconds) -> tuple[bytes, bytes] | NotYet | None:  # noqa: ARG002
        """Clear it; return an array of its key and value, nil when there is none and none came in time."""
        entry = entries.first(self.prefix)
        if entry is None:
            return NotYet(entries.revision, self.prefix, self.wait_ms) if self.wait_ms else None
        entries.clear_found(entry)
        return entry.key, entry.value


class Incr(Write, tag="INCR"):
    """Add to an integer (1 if not said) and return the sum.

    It has 64 bits; a missing key counts as 0. The expiry is kept.
    """

    examples = ("INCR visits", "INCR visits -5")
    key: Key
    by: Integer | None = None

    def run(self, entries: Writer, now: Milliseconds) -> int:  # noqa: ARG002
        """Add; return the sum."""
        entry = entries.get(self.key)
        before = 0 if entry is None else integer(entry.value)
        by = 1 if self.by is None else self.by
        after = before + by
        if not -INTEGER_MAX - 1 <= after <= INTEGER_MAX:
            raise WrongType(f"{before} + {by} does not fit into 64 bits")
        entries.put(self.key, b"%d" % after, expires=None if entry is None else entry.expires)
        return after


def integer(value: bytes) -> int:
    """Return the 64-bit integer that a value is in decimal, as INCR wrote it; else raise WrongType."""
    number = int(value) if INTEGER.fullmatch(value) else None
    if number is None or not -INTEGER_MAX - 1 <= number <= INTEGER_MAX:
        raise WrongType(f"the value is not a 64-bit integer but {len(value)} bytes of something else")
    return number


class Append(Write, tag="APPEND"):
    """Add bytes to the end of a value and return its new length.

    A missing key counts as empty. The expiry is kept.
    """

    examples = ("APPEND log line",)
    key: Key
    value: Value

    def run(self, entries: Writer, now: Milliseconds) -> int:  # noqa: ARG002
        """Append; return the length."""
        entry = entries.get(self.key)
        value = self.value if entry is None else entry.value + self.value
        if len(value) > VALUE_BYTES_MAX:
            raise TooLarge(f"the value would be {len(value)} bytes; at most {VALUE_BYTES_MAX} are allowed")
        entries.put(self.key, value, expires=None if entry is None else entry.expires)
        return len(value)


class GetRange(Read, tag="GETRANGE"):
    """Return a part of a value, or nil if there is no such key.

    The part begins with the byte numbered start and ends with the one numbered end. The first byte has the number 0; a
    negative number counts from the end: -1 is the last byte. A range that lies outside the value is empty.
    """

    examples = ("GETRANGE log 0 99", "GETRANGE log -100 -1")
    key: Key
    start: Integer
    end: Integer

    def run(self, entries: Reader, now: Milliseconds) -> bytes | None:  # noqa: ARG002
        """Return that part of the value."""
        value = entries.value(self.key)
        return None if value is None else part_of(value, self.start, self.end)


def part_of(value: bytes, start: int | None, end: int | None) -> bytes:
    """Return the bytes from `start` to `end`, included, as GETRANGE counts them; None is the first or the last byte."""
    first = start or 0
    last = -1 if end is None else end
    if first < 0:
        first = max(0, first + len(value))
    if last < 0:
        last = max(-1, last + len(value))
    return value[first : last + 1]


class StrLen(Read, tag="STRLEN"):
    """Return the length of a value in bytes, or nil."""

    examples = ("STRLEN log",)
    key: Key

    def run(self, entries: Reader, now: Milliseconds) -> int | None:  # noqa: ARG002
        """Return the length."""
        value = entries.value(self.key)
        return None if value is None else len(value)
