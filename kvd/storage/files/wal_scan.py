"""How much a write-ahead log should contain, read from the files before SQLite opens them. Read-only.

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
GENERATIONS_MAX = 1 << 16  # SQLite adds one to the first salt at each restart of a WAL, so older frames have less

Salts = tuple[int, int]


class WalExtent(NamedTuple):
    """How much a WAL should contain: the number of its last frame, whole or not, and of the last one that commits."""

    frames: int
    committed: int


def scan_wal(wal: Path, index: Path) -> WalExtent:
    """Return how much a WAL should contain, from its frames and from the wal-index (`-shm`).

    The index is correct after a kill. After a power loss it may be old, and then it has fewer frames.
    """
    head = _first_bytes(wal, HEADER.size)
    is_whole = is_header_whole(head)
    scanned = _by_frames(wal, HEADER.unpack(head)[4:6] if is_whole else None) if head else WalExtent(0, 0)
    last = _by_index(index, head[16:24] if is_whole else None)
    return WalExtent(max(scanned.frames, last), max(scanned.committed, last))


def _by_frames(wal: Path, salts: Salts | None) -> WalExtent:
    """Return the extent by frames with these salts. A damaged header has no `salts` (None); then all frames count."""
    frames = committed = 0
    with wal.open("rb") as file:
        offsets = range(HEADER.size, wal.stat().st_size - FRAME.size, FRAME.size + PAGE_BYTES)
        for number, offset in enumerate(offsets, 1):
            file.seek(offset)
            _, pages, *frame_salts = FRAME.unpack(file.read(FRAME.size))
            if tuple(frame_salts) == salts or (salts is None and any(frame_salts)):
                frames = number
                committed = number if pages else committed
        file.seek(HEADER.size + frames * (FRAME.size + PAGE_BYTES))
        after = file.read(FRAME.size + PAGE_BYTES)
    if salts is not None and any(after) and not _is_older(after, salts):
        frames = committed = frames + 1  # not zeros and not an old frame: a frame with a damaged header
    return WalExtent(frames, committed)


def _is_older(frame: bytes, salts: Salts) -> bool:
    """Return whether a frame was written before the last restart of the WAL."""
    return len(frame) > FRAME.size and 0 < (salts[0] - FRAME.unpack_from(frame)[2]) % (1 << 32) < GENERATIONS_MAX


def _by_index(index: Path, salts: bytes | None) -> int:
    """Return the last committed frame by the wal-index; 0 if the index is empty or belongs to another WAL."""
    halves = _first_bytes(index, 2 * 48)
    if len(halves) < 2 * 48 or halves[:48] != halves[48:] or not halves[12]:
        return 0
    last, index_salts = INDEX.unpack_from(halves)
    return int(last) if salts in (None, index_salts) else 0


def is_header_whole(head: bytes) -> bool:
    """Return whether the header of a WAL matches its checksum."""
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
    """Return the first bytes of a file; nothing if it does not exist."""
    if not path.exists():
        return b""
    with path.open("rb") as file:
        return file.read(count)
