"""Room on the disk, with a disk that tells what the test wants: the ballast given up, taken back, and what suffices."""

import os
from types import SimpleNamespace

import pytest

from kvd.limits import BALLAST_BYTES, BALLAST_PARTS, MIB
from kvd.storage import room as module
from kvd.storage.room import Room


@pytest.fixture
def disk(monkeypatch):
    """A disk of 1 GiB in blocks of 1 KiB, with `free` bytes that are ours and more that are the system's."""
    disk = SimpleNamespace(blocks=1024 * MIB, free=500 * MIB)

    def statvfs(path):
        return SimpleNamespace(f_frsize=1024, f_blocks=disk.blocks // 1024, f_bavail=disk.free // 1024, f_bfree=10**12)

    monkeypatch.setattr(module.os, "statvfs", statvfs)
    return disk


def ballast(directory):
    path = directory / "ballast"
    return path.stat().st_size if path.exists() else None


def test_where_there_is_room_the_ballast_is_taken(disk, tmp_path):
    room = Room(tmp_path)
    assert (room.is_short, room.bytes, ballast(tmp_path)) == (False, BALLAST_BYTES, BALLAST_BYTES)
    assert (room.free(), room.least) == (500 * MIB, BALLAST_BYTES // 2)
    assert (tmp_path / "ballast").stat().st_mode & 0o777 == 0o600
    assert (tmp_path / "ballast").stat().st_blocks * 512 >= BALLAST_BYTES, "it is no hole"


def test_on_a_small_disk_it_is_small(disk, tmp_path):
    disk.blocks = 32 * MIB
    assert (Room(tmp_path).bytes, ballast(tmp_path)) == (32 * MIB // BALLAST_PARTS,) * 2


@pytest.mark.parametrize(("free", "is_short"), [(2 * BALLAST_BYTES, False), (2 * BALLAST_BYTES - 1024, True)])
def test_a_start_on_a_short_disk_takes_none(disk, tmp_path, free, is_short):
    disk.free = free
    assert (Room(tmp_path).is_short, ballast(tmp_path)) == (is_short, None if is_short else BALLAST_BYTES)


@pytest.mark.parametrize(("free", "is_short"), [(BALLAST_BYTES, False), (BALLAST_BYTES - 1024, True)])
def test_a_start_on_a_short_disk_gives_up_what_is_there(disk, tmp_path, free, is_short):
    Room(tmp_path)
    disk.free = free
    assert (Room(tmp_path).is_short, ballast(tmp_path)) == (is_short, None if is_short else BALLAST_BYTES)


def test_a_ballast_that_is_too_small_is_made_anew(disk, tmp_path):
    (tmp_path / "ballast").write_bytes(b"x")
    assert (Room(tmp_path).is_short, ballast(tmp_path)) == (False, BALLAST_BYTES)


@pytest.mark.parametrize(
    ("free", "pending", "expected"),
    [
        (BALLAST_BYTES // 2, 0, True),
        (BALLAST_BYTES // 2 - 1024, 0, False),
        (BALLAST_BYTES // 2 + 2 * MIB, MIB, True),
        (BALLAST_BYTES // 2 + 2 * MIB - 1024, MIB, False),
    ],
)
def test_what_suffices_is_for_what_is_still_to_be_folded_too(disk, tmp_path, free, pending, expected):
    room = Room(tmp_path)
    disk.free = free
    assert room.suffices(pending) is expected


def test_given_up_and_taken_back(disk, tmp_path):
    room = Room(tmp_path)
    for _ in range(2):
        room.give_up()
        assert (room.is_short, room.suffices(0), ballast(tmp_path)) == (True, False, None)
    disk.free = 2 * BALLAST_BYTES - 1024
    assert (room.take(), room.is_short, ballast(tmp_path)) == (False, True, None)
    disk.free = 2 * BALLAST_BYTES
    assert (room.take(), room.suffices(0), ballast(tmp_path)) == (True, True, BALLAST_BYTES)


def test_a_disk_that_is_full_after_all_leaves_it_short(disk, tmp_path, monkeypatch):
    def fails(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(module.os, "posix_fallocate", fails)
    room = Room(tmp_path)
    assert (room.is_short, ballast(tmp_path)) == (True, None)
    monkeypatch.undo()
    assert os.posix_fallocate is not fails
    assert room.take()
