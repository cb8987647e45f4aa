"""Recovery after an unclean end: it is noted, refused, or needs no report."""

import contextlib
import os
import random
import struct

import pytest
from support.damaged import Truth, copy_files, overwrite
from support.drives import EngineOnStore

from kvd.commands.values import Get, Set
from kvd.errors import StorageFailed
from kvd.storage import Store, opening
from kvd.storage.files.directory_lock import DirectoryLock
from kvd.storage.files.wal_scan import FRAME, HEADER, is_header_whole, scan_wal
from kvd.storage.maintenance import fold_thread

FRAME_BYTES = FRAME.size + 4096
WAL = "journal.db-wal"


@pytest.fixture
def wal_copy(drive, tmp_path):
    """A directory with ten commits in the journal's WAL, of one frame or more, and none folded."""
    for number in range(10):
        drive.apply(Set(b"key:%d" % number, b"x" * 100))
        drive.settle()  # the first commit asks for a checkpoint: after it the WAL is restarted
    return copy_files(drive.directory, tmp_path / "killed")


def notes(directory):
    with contextlib.closing(Store(directory)) as store:
        return store.revision, store.notes


def frames(directory, file=WAL):
    found = scan_wal(directory / file, directory / f"{file[:-4]}-shm")
    assert found.frames == found.committed
    return found.frames


@pytest.fixture(params=[True, False], ids=["index", "no-index"])
def index(request, wal_copy):
    """With the wal-index that a kill leaves, and without, as after a power loss."""
    if not request.param:
        for path in wal_copy.glob("*-shm"):
            path.unlink()
    return request.param


# Nothing to say


def test_a_clean_end_leaves_nothing_to_say(drive):
    drive.apply(Set(b"a", b"1"))
    for _ in range(3):
        assert drive.restart().store.notes == []


def test_a_kill_leaves_nothing_to_say(wal_copy, index):
    assert notes(wal_copy) == (10, [])
    assert notes(wal_copy) == (10, [])


def test_kills_at_any_moment_between_commits_leave_nothing_to_say(drive, tmp_path):
    chance, truth = random.Random(3), Truth()
    for number in range(25):
        truth.write(drive, *[(b"k%d" % chance.randrange(50), chance.randbytes(2_000)) for _ in range(9)])
        if number % 4 == 3:
            drive.fold()
        if number % 10 == 9:
            drive.idle()
        case = copy_files(drive.directory, tmp_path / str(number))
        assert notes(case) == (truth.revision, [])
        assert notes(case) == (truth.revision, []), "the second start comes after a clean end"


def test_a_kill_after_a_kill_leaves_nothing_to_say(drive, wal_copy, tmp_path):
    again = EngineOnStore(wal_copy)
    again.apply(Set(b"a", b"1"))
    assert notes(copy_files(wal_copy, tmp_path / "again")) == (11, [])
    again.store.close()


def test_a_kill_before_the_first_commit_leaves_nothing_to_say(drive, tmp_path):
    assert notes(copy_files(drive.directory, tmp_path / "killed")) == (0, [])


# Noted


def test_a_commit_that_was_interrupted_is_noted(wal_copy, index):
    count = frames(wal_copy)
    with (wal_copy / WAL).open("r+b") as wal:
        header = wal.read(HEADER.size)
        wal.seek(HEADER.size + count * FRAME_BYTES)
        wal.write(struct.pack(">2I", 2, 0) + header[16:24] + bytes(8) + b"x" * 4096)
    revision, [note] = notes(wal_copy)
    assert (revision, f"of {count + 1} pages the first {count} are whole" in note) == (10, True)
    assert note.endswith("the rest is dropped: a commit that was interrupted")


@pytest.mark.parametrize("place", [0, 8, 16, 24])
def test_a_damaged_header_is_noted(wal_copy, index, place):
    overwrite(wal_copy / WAL, place, b"\xa5" * 4)
    count = scan_wal(wal_copy / WAL, wal_copy / "none").frames
    revision, [note] = notes(wal_copy)
    assert (revision < 10, f"of {count} pages the first 0" in note, "acknowledged" in note) == (True, True, True)


@pytest.mark.parametrize("content", [bytes(512), b"\xa5" * 512], ids=["zeros", "garbage"])
def test_a_first_block_that_is_gone_is_noted(wal_copy, index, content):
    overwrite(wal_copy / WAL, 0, content)
    revision, [note] = notes(wal_copy)
    assert (revision < 10, "the first 0 are whole" in note) == (True, True)


@pytest.mark.parametrize("content", [bytes(FRAME.size), b"\xa5" * FRAME.size], ids=["zeros", "garbage"])
@pytest.mark.parametrize("back", [1, 2, 5])
def test_a_damaged_frame_header_is_noted_the_last_too(wal_copy, index, back, content):
    count = frames(wal_copy)
    overwrite(wal_copy / WAL, HEADER.size + (count - back) * FRAME_BYTES, content)
    revision, [note] = notes(wal_copy)
    assert (revision < 10, f"of {count} pages the first" in note, "acknowledged" in note) == (True, True, True)
    assert notes(wal_copy) == (revision, [])


@pytest.mark.parametrize("back", [1, 4])
def test_a_damaged_page_is_noted(wal_copy, index, back):
    count = frames(wal_copy)
    overwrite(wal_copy / WAL, HEADER.size + (count - back) * FRAME_BYTES + FRAME.size + 4_000, b"\xa5")
    revision, [note] = notes(wal_copy)
    assert (revision < 10, f"of {count} pages the first" in note) == (True, True)


@pytest.mark.parametrize("kept", [0, 10, HEADER.size, HEADER.size + 10, HEADER.size + FRAME_BYTES * 3])
def test_a_wal_that_was_cut_is_noted(wal_copy, index, kept):
    os.truncate(wal_copy / WAL, kept)
    said = rf"journal\.db-wal was truncated from {1 << 20} to {kept} bytes"
    try:
        revision, found = notes(wal_copy)
    except StorageFailed as error:
        found = [str(error)]
    else:
        assert revision < 10
    assert any(said.replace("\\", "") in note for note in found)


def test_a_table_that_knows_more_than_its_wal_is_refused(drive, tmp_path, monkeypatch):
    monkeypatch.setattr(
        fold_thread, "TABLE_CHECKPOINT_CHANGES", 1 << 30
    )  # two folds in one WAL, then all of it is copied
    drive.apply(*[Set(b"%d" % number, b"x" * 500) for number in range(50)])
    drive.fold()
    drive.apply(*[Set(b"%d" % number, b"y" * 900) for number in range(50)])
    drive.fold().idle()
    case = copy_files(drive.directory, tmp_path / "killed")
    (case / "table.db-shm").unlink()
    os.truncate(case / "table.db-wal", HEADER.size + (frames(case, "table.db-wal") - 2) * FRAME_BYTES)
    for _ in range(2):
        with pytest.raises(StorageFailed, match=r"table\.db contains changes that are not in its WAL"):
            Store(case)


def test_frames_left_from_before_the_wal_was_begun_anew_do_not_count(drive, tmp_path):
    for number in range(30):
        drive.apply(Set(b"%d" % number, b"x" * 3_000))
    drive.settle()
    drive.store.journal.finish_checkpoint()
    drive.apply(Set(b"a", b"1"))
    case = copy_files(drive.directory, tmp_path / "killed")
    (case / "journal.db-shm").unlink()
    assert 1 <= frames(case) <= 4
    assert notes(case) == (31, [])


# Refused


@pytest.mark.parametrize("name", ["journal.db", "journal.db-wal", "table.db", "table.db-wal"])
def test_a_file_that_is_missing_is_refused_until_it_is_put_back(wal_copy, name):
    content = (wal_copy / name).read_bytes()
    (wal_copy / name).unlink()
    for _ in range(2):
        with pytest.raises(StorageFailed, match=rf"{name} is missing"):
            Store(wal_copy)
        assert not (wal_copy / name).exists()
    (wal_copy / name).write_bytes(content)
    assert notes(wal_copy) == (10, [])


# The mark


def mark(directory):
    lock = DirectoryLock(directory)
    lock.close()
    return lock.left_wal_bytes


def test_the_mark_says_whether_the_files_are_open(drive, tmp_path):
    assert drive.store._files.lock.left_wal_bytes is None
    assert mark(copy_files(drive.directory, tmp_path / "open")) == 1 << 20
    drive.store.close()
    assert (drive.directory / "lock").read_bytes() == b""
    assert mark(drive.directory) is None
    assert mark(drive.directory) is None, "one that only took the lock does not count"


def test_the_mark_outlives_starts_that_are_refused(wal_copy):
    (wal_copy / WAL).rename(wal_copy / "aside")
    for _ in range(2):
        with pytest.raises(StorageFailed):
            Store(wal_copy)
    assert mark(wal_copy) == 1 << 20
    (wal_copy / "aside").rename(wal_copy / WAL)
    with pytest.MonkeyPatch.context() as patch, pytest.raises(StorageFailed, match="broken"):
        patch.setattr(opening, "_load_overlay", lambda *_: (_ for _ in ()).throw(OSError(5, "broken")))
        Store(wal_copy)
    assert (mark(wal_copy), (wal_copy / WAL).exists()) == (1 << 20, True)
    assert notes(wal_copy) == (10, [])


def test_a_clean_directory_whose_start_is_refused_stays_clean(drive):
    drive.apply(Set(b"a", b"1"))
    drive.store.close()
    with pytest.MonkeyPatch.context() as patch, pytest.raises(StorageFailed, match="broken"):
        patch.setattr(opening, "_load_overlay", lambda *_: (_ for _ in ()).throw(OSError(5, "broken")))
        Store(drive.directory)
    assert mark(drive.directory) is None
    assert drive.open().apply(Get(b"a")) == [b"1"]


@pytest.mark.parametrize(("text", "expected"), [(b"", None), (b"17\n", None), (b"17 x\n", None), (b"17 4096\n", 4096)])
def test_what_the_lock_file_says(tmp_path, text, expected):
    (tmp_path / "lock").write_bytes(text)
    assert mark(tmp_path) == expected


def test_a_mark_is_never_gone_while_it_is_written(tmp_path, monkeypatch):
    (tmp_path / "lock").write_bytes(b"4194304 33554432\n")
    monkeypatch.setattr(os, "ftruncate", lambda *_: (_ for _ in ()).throw(KeyboardInterrupt))
    with pytest.raises(KeyboardInterrupt):
        DirectoryLock(tmp_path)
    assert (tmp_path / "lock").read_text().split()[:2] == [str(os.getpid()), "33554432"]


# The parts


def test_a_header_is_whole_with_either_byte_order():
    little = bytes.fromhex("377f0682002de218000010000000000001020304a1b2c3d4")
    assert not is_header_whole(little)
    assert not is_header_whole(b"")
    for magic in (0x377F0682, 0x377F0683):
        head = struct.pack(">6I", magic, 3007000, 4096, 0, 1, 2)
        words = struct.unpack("<6I" if magic == 0x377F0682 else ">6I", head)
        one = two = 0
        for place in (0, 2, 4):
            one = (one + words[place] + two) & 0xFFFFFFFF
            two = (two + words[place + 1] + one) & 0xFFFFFFFF
        assert is_header_whole(head + struct.pack(">2I", one, two))
        assert not is_header_whole(head + struct.pack(">2I", one, two ^ 1))


def test_sqlite_agrees_with_what_is_counted(drive, tmp_path):
    for number in range(20):
        drive.apply(Set(b"%d" % number, b"x" * 5_000))
    _, expected, _ = drive.store.journal.db.execute("PRAGMA wal_checkpoint(NOOP)").fetchone()
    case = copy_files(drive.directory, tmp_path / "killed")
    assert frames(case) == expected
    (case / "journal.db-shm").unlink()
    assert frames(case) == expected
    assert scan_wal(case / "none", case / "none") == (0, 0)


def test_what_was_committed_but_not_synced_before_a_kill_is_synced_before_it_counts(drive, tmp_path, monkeypatch):
    drive.apply(Set(b"a", b"1"))
    wal_copy = copy_files(drive.directory, tmp_path / "killed")
    synced, real = [], opening.sync_path
    monkeypatch.setattr(opening, "sync_path", lambda path: (synced.append(path.name), real(path)))
    Store(wal_copy).close()
    assert synced == ["journal.db-wal", "killed"]
    del synced[:]
    Store(wal_copy).close()
    assert synced == ["killed"]


def test_a_page_that_a_power_loss_has_torn_in_a_checkpoint_is_taken_from_the_wal(drive, tmp_path):
    """The file alone may then show any revision; it was once believed, and the start refused."""
    for number in range(60):
        drive.apply(Set(b"%d" % number, b"x" * 200))
    drive.settle()
    drive.store.journal.finish_checkpoint()
    wal = drive.store.maintenance.wal
    wal.used, wal.checkpoint_bytes = 0, 1 << 40  # no other checkpoint comes
    for number in range(60):
        drive.apply(Set(b"%d" % number, b"y" * 200))
    chance = random.Random(1)
    wal = (drive.directory / "journal.db-wal").read_bytes()
    places = range(HEADER.size, HEADER.size + frames(drive.directory) * FRAME_BYTES, FRAME_BYTES)
    pages = {FRAME.unpack_from(wal, place)[0] for place in places} - {1}
    assert len(pages) > 5
    for page in pages:
        for half in range(2):
            case = copy_files(drive.directory, tmp_path / f"{page}-{half}")
            overwrite(case / "journal.db", (page - 1) * 4096 + half * 2048, chance.randbytes(2048))
            assert notes(case) == (120, [])
