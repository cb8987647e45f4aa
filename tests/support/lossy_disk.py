"""Possible contents of a disk after a power loss, made from lossy_disk.c's log of a process's writes.

Synced data is there. Nothing, all or any part of the writes after a file's last sync may be, cut at any sector.
Names (created, removed, renamed) are there as of the folder's last sync, and later ones in order up to some moment.
"""

import random
import struct
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

HEAD = struct.Struct("<cQQII")
SECTOR = 512
SOURCE = Path(__file__).with_name("lossy_disk.c")
LOSSES = ("dropped", "kept", "some", "torn")


def build(folder: Path) -> Path:
    """Compile the library that LD_PRELOAD takes."""
    library = folder / "lossy_disk.so"
    subprocess.run(["gcc", "-O1", "-shared", "-fPIC", "-o", library, SOURCE, "-lpthread"], check=True)
    return library


class Record(NamedTuple):
    """One operation; `time` is CLOCK_MONOTONIC in ns. See lossy_disk.c."""

    kind: str
    time: int
    number: int
    path: str
    data: bytes


def cut_tail(log: Path) -> None:
    """Cut off a record that is not whole: SIGKILL may end a process within the write of it."""
    data = log.read_bytes()
    place = 0
    while place + HEAD.size <= len(data):
        _, _, _, path_bytes, data_bytes = HEAD.unpack_from(data, place)
        if place + HEAD.size + path_bytes + data_bytes > len(data):
            break
        place += HEAD.size + path_bytes + data_bytes
    log.write_bytes(data[:place])


def records(log: Path) -> Iterator[Record]:
    """Read a log; its end may be cut where a process was killed."""
    data = memoryview(log.read_bytes())
    place = 0
    while place + HEAD.size <= len(data):
        kind, time, number, path_bytes, data_bytes = HEAD.unpack_from(data, place)
        middle = place + HEAD.size + path_bytes
        yield Record(
            kind.decode(),
            time,
            number,
            bytes(data[place + HEAD.size : middle]).decode(),
            bytes(data[middle : middle + data_bytes]),
        )
        place = middle + data_bytes


class File:
    """A file: what is synced of it, and the writes and truncations since."""

    def __init__(self, content: bytes = b"") -> None:
        self.synced = bytearray(content)
        self.pending: list[tuple[int, Record]] = []

    def sync(self, before: int) -> None:
        while self.pending and self.pending[0][0] < before:
            apply(self.synced, self.pending.pop(0)[1])

    def content(self, loss: str, chance: random.Random) -> bytes:
        """Return what may be there after a power loss."""
        content = bytearray(self.synced)
        if loss == "dropped":
            return bytes(content)
        some = [record for _, record in self.pending]
        if loss == "torn" and some:
            some = some[: chance.randrange(len(some)) + 1]
            some[-1] = torn(some[-1], chance)
        if loss == "some":
            some = [record for record in some if chance.random() < 0.5]
        for record in some:
            apply(content, record)
        return bytes(content)


def apply(content: bytearray, record: Record) -> None:
    """Do a write or a truncation."""
    end = record.number + len(record.data) if record.kind == "W" else record.number
    if len(content) < end:
        content.extend(bytes(end - len(content)))
    if record.kind == "W":
        content[record.number : end] = record.data
    else:
        del content[end:]


def torn(record: Record, chance: random.Random) -> Record:
    """Return a write of which only some sectors arrived."""
    sectors = (record.number + len(record.data)) // SECTOR - record.number // SECTOR
    if record.kind != "W" or sectors < 1:
        return record
    end = (record.number // SECTOR + chance.randint(1, sectors)) * SECTOR
    return record._replace(data=record.data[: end - record.number])


@dataclass
class Disk:
    """A folder, as the system sees it and as it is on disk. `feed` it the log, then let the power fail."""

    folder: Path
    names: dict[str, File] = field(default_factory=dict)
    synced_names: dict[str, File] = field(default_factory=dict)
    pending: list[tuple[int, str, str, File]] = field(default_factory=list)
    begun: dict[int, int] = field(default_factory=dict)
    count: int = 0

    def feed(self, record: Record) -> None:
        """Take note of an operation."""
        self.count += 1
        name = str(Path(record.path).relative_to(self.folder))
        match record.kind:
            case "C":
                self.link(name, File())
            case "W" | "T":
                if name in self.names:  # else it was removed while it was open
                    self.names[name].pending.append((self.count, record))
            case "U":
                self.unlink(name)
            case "R" | "L":
                self.link(str(Path(record.data.decode()).relative_to(self.folder)), self.names[name])
                if record.kind == "R":
                    self.unlink(name)
            case "S":
                self.begun[record.number] = self.count
            case "E":
                self.end_sync(name, self.begun.pop(record.number))

    def link(self, name: str, file: File) -> None:
        self.names[name] = file
        self.pending.append((self.count, "link", name, file))

    def unlink(self, name: str) -> None:
        self.pending.append((self.count, "unlink", name, self.names.pop(name)))

    def end_sync(self, name: str, before: int) -> None:
        if name == ".":
            while self.pending and self.pending[0][0] < before:
                name_or_forget(self.synced_names, *self.pending.pop(0)[1:])
        elif name in self.names:
            self.names[name].sync(before)

    def after_power_loss(self, loss: str, chance: random.Random) -> dict[str, bytes]:
        """Return the files that may be there, by name. `loss` is what becomes of what was not synced."""
        names = dict(self.synced_names)
        kept = {"dropped": 0, "kept": len(self.pending)}.get(loss, chance.randint(0, len(self.pending)))
        for _, *change in self.pending[:kept]:
            name_or_forget(names, *change)
        return {name: file.content(loss, chance) for name, file in names.items() if not name.endswith("-shm")}


def name_or_forget(names: dict[str, File], how: str, name: str, file: File) -> None:
    """Do a change of a folder."""
    if how == "link":
        names[name] = file
    else:
        names.pop(name, None)
