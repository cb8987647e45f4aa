"""The checksum of an entry, kept beside it and checked whenever it is read from disk. Pure."""

from typing import Any
from zlib import crc32

from kvd.commands.model import SET

# The largest prime below 2**32: any single flipped bit of a number changes it modulo this.
PRIME = 4294967291


def head_checksum(revision: int, kind: int, key: bytes, created: int, expires: int | None) -> int:
    """Return a CRC-32 over the key, begun with the numbers: for who reads no value."""
    return crc32(key, (revision * 3 + created * 5 + (expires or 0) * 7 + kind * 11 + len(key) * 13) % PRIME)


def checksum(head: int, value: bytes | None) -> int:
    """Return the CRC-32 of all, which goes on where that of the head ended."""
    return crc32(value or b"", head)


def seal(entry_checksum: int, previous: int, time: int) -> int:
    """Return what protects the rest of a journal row; the checksum itself goes with the entry into the table."""
    return (entry_checksum * 3 + previous * 5 + time * 7) % PRIME


def token_checksum(token: bytes, digest: bytes, revision: int, result: bytes, time: int) -> int:
    """Return the CRC-32 over what is kept of a command that ran under ONCE."""
    return crc32(result, crc32(digest, crc32(token, (revision * 3 + time * 5) % PRIME)))


def mark_seal(history: str, *numbers: int) -> int:
    """Return what protects the one row in which a file says where it stands."""
    return (crc32(history.encode()) + sum([number * (3 + 2 * at) for at, number in enumerate(numbers)])) % PRIME


def is_mark_whole(seal: Any, history: Any, *numbers: Any) -> bool:
    """Return whether such a row, read from disk, has the seal it should."""
    try:
        return bool(mark_seal(history, *numbers) == seal)
    except (TypeError, AttributeError):
        return False


def is_whole(head: Any, found: Any, revision: Any, kind: int, key: Any, value: Any, created: Any, expires: Any) -> bool:
    """Return whether a row read from disk has the types and the checksums it should.

    The type of a cell is a number before it: when one bit of that flips, an empty value may be text or 0, and what
    does not expire may expire at 0, and to the checksums they are the same.
    """
    if expires == 0 or (type(value) is not bytes and (value is not None or kind == SET)):
        return False
    try:
        return bool(head_checksum(revision, kind, key, created, expires) == head and crc32(value or b"", head) == found)
    except TypeError:
        return False


def is_sealed(found: Any, entry_checksum: Any, previous: Any, time: Any) -> bool:
    """Return whether a row read from the journal, whose entry is whole, has the seal it should."""
    try:
        return bool(seal(entry_checksum, previous, time) == found)
    except TypeError:
        return False


def is_whole_head(head: Any, revision: Any, kind: int, key: Any, created: Any, expires: Any) -> bool:
    """Return whether what was read of a row, without its value, has the checksum it should."""
    if expires == 0:
        return False
    try:
        return bool(head_checksum(revision, kind, key, created, expires) == head)
    except TypeError:
        return False
