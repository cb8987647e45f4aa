"""Checksums of entries and rows. They are stored beside the data and checked at every read from disk. Pure."""

from typing import Any
from zlib import crc32

from kvd.commands.model import SET

# The largest prime below 2**32: any single flipped bit of a number changes it modulo this.
PRIME = 4294967291


def head_checksum(revision: int, kind: int, key: bytes, created: int, expires: int | None) -> int:
    """Return a CRC-32 over the key that starts from the numbers. A reader that skips the value checks this one."""
    return crc32(key, (revision * 3 + created * 5 + (expires or 0) * 7 + kind * 11 + len(key) * 13) % PRIME)


def checksum(head: int, value: bytes | None) -> int:
    """Return the CRC-32 of the whole entry. It continues from the head's checksum."""
    return crc32(value or b"", head)


def seal(entry_checksum: int, previous: int, time: int) -> int:
    """Return the checksum of a journal row's other columns. The entry's own checksum also goes into the table."""
    return (entry_checksum * 3 + previous * 5 + time * 7) % PRIME


def token_checksum(token: bytes, digest: bytes, revision: int, result: bytes, time: int) -> int:
    """Return the CRC-32 over a row of `once`."""
    return crc32(result, crc32(digest, crc32(token, (revision * 3 + time * 5) % PRIME)))


def mark_seal(history: str, *numbers: int) -> int:
    """Return the checksum of the single row that records a file's state."""
    return (crc32(history.encode()) + sum([number * (3 + 2 * at) for at, number in enumerate(numbers)])) % PRIME


def is_mark_whole(seal: Any, history: Any, *numbers: Any) -> bool:
    """Return whether a mark read from disk matches its seal."""
    try:
        return bool(mark_seal(history, *numbers) == seal)
    except (TypeError, AttributeError):
        return False


def is_whole(head: Any, entry: Any, revision: Any, kind: int, key: Any, value: Any, created: Any, expires: Any) -> bool:
    """Return whether a row read from disk has the right types and checksums.

    SQLite stores a cell's type as a number in front of the cell. If one bit of it flips, an empty value may read as
    text or 0, or NULL in `expires` may read as 0. The checksums do not change then, so the types are checked here.
    """
    if expires == 0 or (type(value) is not bytes and (value is not None or kind == SET)):
        return False
    try:
        return bool(head_checksum(revision, kind, key, created, expires) == head and crc32(value or b"", head) == entry)
    except TypeError:
        return False


def is_sealed(stored: Any, entry_checksum: Any, previous: Any, time: Any) -> bool:
    """Return whether a journal row matches its seal. The row's entry must be checked first."""
    try:
        return bool(seal(entry_checksum, previous, time) == stored)
    except TypeError:
        return False


def is_whole_head(head: Any, revision: Any, kind: int, key: Any, created: Any, expires: Any) -> bool:
    """Return whether a row that was read without its value matches its head checksum."""
    if expires == 0:
        return False
    try:
        return bool(head_checksum(revision, kind, key, created, expires) == head)
    except TypeError:
        return False
