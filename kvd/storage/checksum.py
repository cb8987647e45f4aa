"""The checksum of an entry, kept beside it and checked whenever it is read from disk. Pure."""

from typing import Any
from zlib import crc32

# The largest prime below 2**32: any single flipped bit of a number changes it modulo this.
PRIME = 4294967291


def checksum(revision: int, kind: int, key: bytes, value: bytes | None, created: int, expires: int | None) -> int:
    """Return a CRC-32 over key and value, begun with the numbers: 0.5 us for 100 bytes."""
    seed = (revision * 3 + created * 5 + (expires or 0) * 7 + kind * 11 + len(key) * 13) % PRIME
    return crc32(value or b"", crc32(key, seed))


def seal(entry_checksum: int, previous: int, time: int) -> int:
    """Return what protects the rest of a journal row; the checksum itself goes with the entry into the table."""
    return (entry_checksum * 3 + previous * 5 + time * 7) % PRIME


def is_whole(found: Any, revision: Any, kind: int, key: Any, value: Any, created: Any, expires: Any) -> bool:
    """Return whether a row read from disk has the checksum it should. A flipped type makes a cell text or nothing."""
    try:
        return bool(checksum(revision, kind, key, value, created, expires) == found)
    except TypeError:
        return False
