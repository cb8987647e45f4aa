"""How much a write-ahead log was meant to hold, read from the file itself before SQLite opens it. It writes nothing.

The format: https://sqlite.org/fileformat2.html#walformat and https://sqlite.org/walformat.html (the wal-index).
"""

import struct
from pathlib import Path
from typing import NamedTuple

from kvd.storage.files.sqlite import PAGE_BYTES

HEADER = struct.Struct(">8I")  # magic, version, page size, checkpoint sequence, two salts, two checksums
FRAME = struct.Struct(">4I8x")  # page, pages of the database after a commit or 0, two salts; two checksums
INDEX = struct.Struct("=16xI12x8s8x")  # last frame, salts as in the header: half of what the wal-index begins with
LITTLE_ENDIAN_MAGIC = 0x377F0682
GENERATIONS_MAX = 1 << 16  # each time a WAL is begun anew its first salt is one more, so older frames have less

Salts = tuple[int, int]


class WalExtent(NamedTuple):
    """How much a WAL was meant to hold: its last frame, whole or not, and the last that ends a commit."""

    frames: int
    committed: int


def scan_wal(wal: Path, index: Path) -> WalExtent:
    """Return how much a WAL was meant to hold, by its frames and by what the wal-index (`-shm`) tells.

    The index is right after a kill; after a power loss it may be old, and then tells of fewer frames.
    """
    head = _first_bytes(wal, HEADER.size)
    is_whole = is_header_whole(head)
    found = _by_frames(wal, HEADER.unpack(head)[4:6] if is_whole else None) if head else WalExtent(0, 0)
    last = _by_index(index, head[16:24] if is_whole else None)
    return WalExtent(max(found.frames, last), max(found.committed, last))


def _by_frames(wal: Path, salts: Salts | None) -> WalExtent:
    """Return what the frames tell. `salts`: of those that count; None when the header is damaged, then all count."""
    frames = committed = 0
    with wal.open("rb") as file:
        places = range(HEADER.size, wal.stat().st_size - FRAME.size, FRAME.size + PAGE_BYTES)
        for number, place in enumerate(places, 1):
            file.seek(place)
            _, pages, *found = FRAME.unpack(file.read(FRAME.size))
            if tuple(found) == salts or (salts is None and any(found)):
                frames = number
                committed = number if pages else committed
        file.seek(HEADER.size + frames * (FRAME.size + PAGE_BYTES))
        after = file.read(FRAME.size + PAGE_BYTES)
    if salts is not None and any(after) and not _is_older(after, salts):
        frames = committed = frames + 1  # there is something, and no frame begins so: its header is damaged
    return WalExtent(frames, committed)


def _is_older(frame: bytes, salts: Salts) -> bool:
    """Return whether a frame is left from before the WAL was begun anew."""
    return len(frame) > FRAME.size and 0 < (salts[0] - FRAME.unpack_from(frame)[2]) % (1 << 32) < GENERATIONS_MAX


def _by_index(index: Path, salts: bytes | None) -> int:
    """Return the last frame of the last commit as the wal-index has it; 0 if it tells of another WAL, or nothing."""
    halves = _first_bytes(index, 2 * 48)
    if len(halves) < 2 * 48 or halves[:48] != halves[48:] or not halves[12]:
        return 0
    last, found = INDEX.unpack_from(halves)
    return int(last) if salts in (None, found) else 0


def is_header_whole(head: bytes) -> bool:
    """Return whether the header of a WAL has the checksum it should."""
    if len(head) < HEADER.size or HEADER.unpack(head)[0] | 1 != LITTLE_ENDIAN_MAGIC | 1:
        return False
    order = "<" if HEADER.unpack(head)[0] == LITTLE_ENDIAN_MAGIC else ">"
    words = struct.unpack(f"{order}6I", head[:24])
    first = second = 0
    for one, other in zip(words[::2], words[1::2], strict=True):
        first = (first + one + second) % (1 << 32)
        second = (second + other + first) % (1 << 32)
    return (first, second) == HEADER.unpack(head)[6:]


def _first_bytes(path: Path, count: int) -> bytes:
    """Return what a file begins with; nothing if it is not there."""
    if not path.exists():
        return b""
    with path.open("rb") as file:
        return file.read(count)
