"""What an end that was not clean has left behind: a write-ahead log that is missing, cut or damaged.

SQLite opens such files as if the lost part had never been written. Here it is noticed, and told.
The WAL's format: https://sqlite.org/fileformat2.html#walformat
"""

import struct
from pathlib import Path
from typing import NamedTuple

from kvd.errors import Corrupt, StorageFailed
from kvd.storage.database import PAGE_BYTES, Connection

HEADER = struct.Struct(">8I")  # magic, version, page size, checkpoint sequence, two salts, two checksums
FRAME = struct.Struct(">4I8x")  # page, pages of the database after a commit or 0, two salts; two checksums


class Written(NamedTuple):
    """How much a WAL was meant to hold: its last frame, whole or not, and the last that ends a commit."""

    frames: int
    committed: int


class Recovery:
    """Looks at the WALs of a directory before they are opened, and compares with what SQLite made of them."""

    def __init__(self, directory: Path, files: tuple[str, ...], journal_wal_bytes: int, notes: list[str]) -> None:
        """Raise StorageFailed when a WAL is missing. `journal_wal_bytes`: how long that of the first file was.

        What there is to say goes into `notes`.
        """
        self.notes = notes
        self.wals = {file: directory / f"{file}-wal" for file in files}
        for file, wal in self.wals.items():
            if (directory / file).exists() and not wal.exists():
                raise StorageFailed(
                    f"{wal} is missing, though kvd did not end cleanly: what it held would be lost. Put it back "
                    f"beside {file}; or `kvd check --repair {directory}` keeps what is left"
                )
        self.written = {file: written(wal) for file, wal in self.wals.items()}
        journal_wal = self.wals[files[0]]
        if journal_wal.exists() and (found := journal_wal.stat().st_size) < journal_wal_bytes:
            self.notes.append(f"{journal_wal} was cut from {journal_wal_bytes} to {found} bytes")

    def compare(self, file: str, db: Connection) -> None:
        """Note what of a file's WAL was dropped. Raises Corrupt when the database is no longer one without it."""
        _, whole, _ = db.execute("PRAGMA wal_checkpoint(NOOP)").fetchone()
        frames, committed = self.written[file]
        if whole < frames:
            self.notes.append(
                f"{self.wals[file]}: of {frames} pages the first {whole} are whole; what came after is dropped: "
                "a commit that was interrupted, or a damaged file"
            )
        # After a mere kill all commits are whole; else the file itself may have got pages of later ones already.
        if whole < committed or (self.notes and file == next(iter(self.wals))):
            check_structure(file, db)


def check_structure(file: str, db: Connection) -> None:
    """Raise Corrupt when a database's pages do not fit together."""
    (found,) = db.execute("PRAGMA quick_check(1)").fetchone()
    if found != "ok":
        raise Corrupt(f"{file} is damaged: {found}")


def written(wal: Path) -> Written:
    """Return how much a WAL was meant to hold.

    Frames that count have the salts of the head, or of the first frame should the head be damaged.
    """
    frames = committed = 0
    if wal.exists() and wal.stat().st_size > HEADER.size + FRAME.size:
        with wal.open("rb") as file:
            head = file.read(HEADER.size + FRAME.size)
            runs = {HEADER.unpack_from(head)[4:6], FRAME.unpack_from(head, HEADER.size)[2:4]} - {(0, 0)}
            places = range(HEADER.size, wal.stat().st_size - FRAME.size, FRAME.size + PAGE_BYTES)
            for number, place in enumerate(places, 1):
                file.seek(place)
                _, pages, *salts = FRAME.unpack(file.read(FRAME.size))
                if tuple(salts) in runs:
                    frames = number
                    committed = number if pages else committed
    return Written(frames, committed)
