"""Room on the disk: what is kept aside, when it is given up, and how a store gets out of a disk that is full."""

import os
from types import SimpleNamespace

import pytest
from support.drives import EngineOnStore, sqlite_error

from kvd.commands.changes import Compact
from kvd.commands.values import Clear, Set
from kvd.errors import Full
from kvd.limits import BATCH_BYTES_MAX
from kvd.storage.maintenance import fold as fold_module
from kvd.storage.maintenance import fold_thread as fold_thread_module
from kvd.storage.maintenance.disk_space import DiskSpace

MIB = 1 << 20


@pytest.fixture
def free(monkeypatch):
    """Say how many bytes of a disk of 16 MiB are free."""

    def say(count):
        disk = SimpleNamespace(f_blocks=16 * MIB, f_bavail=count, f_frsize=1)
        monkeypatch.setattr(os, "statvfs", lambda path: disk)

    say(8 * MIB)
    return say


def test_a_sixteenth_of_a_small_disk_is_kept_aside(tmp_path, free):
    room = DiskSpace(tmp_path)
    assert (room.is_short, room.ballast_size()) == (False, MIB)
    assert room.is_enough_for(0, 0)
    assert not room.is_enough_for(4 * MIB, 0), "a fold writes twice: into the WAL, and into the file"
    assert not room.is_enough_for(0, 8 * MIB), "the journal needs room as well"


def test_the_last_part_is_given_up_for_compact_alone(tmp_path, free):
    room = DiskSpace(tmp_path)
    room.release_reserve()
    assert room.ballast_size() == MIB, "the disk is not short"
    room.release_ballast()
    room.release_ballast()
    assert (room.is_short, room.ballast_size()) == (True, MIB // 4)
    room.release_reserve()
    assert room.ballast_size() == 0


def test_it_is_taken_back_as_far_as_there_is_room(tmp_path, free):
    room = DiskSpace(tmp_path)
    room.release_ballast()
    room.release_reserve()
    free(MIB // 4)
    assert (room.restore_ballast(), room.ballast_size()) == (False, 0)
    free(MIB)
    assert (room.restore_ballast(), room.ballast_size()) == (False, MIB // 4)
    free(2 * MIB)
    assert (room.restore_ballast(), room.ballast_size()) == (True, MIB)


def test_a_start_on_a_full_disk_keeps_the_last_part_only(tmp_path, free):
    DiskSpace(tmp_path)
    free(0)
    room = DiskSpace(tmp_path)
    assert (room.is_short, room.ballast_size()) == (True, MIB // 4)


def test_a_checkpoint_that_ends_is_not_taken_for_the_fold(drive: EngineOnStore, monkeypatch):
    drive.apply(Set(b"a", b"1"))
    drive.store.maintenance.jobs.begin_checkpoint()
    answers = iter([False, True])  # before all is folded, and after
    monkeypatch.setattr(
        drive.store.maintenance.parts.disk_space, "is_enough_for", lambda pending, journal: next(answers)
    )
    drive.store.maintenance.space.room_left = 0
    drive.apply(Set(b"b", b"2"))
    assert (drive.store.overlays.folded, drive.store.maintenance.jobs.durable) == (1, 1)


def test_where_the_disk_is_nearly_full_all_that_waits_fits_into_half_of_the_ballast(drive: EngineOnStore, monkeypatch):
    """Another program may take the rest at any time, and then the fold and COMPACT have the ballast alone."""
    store = drive.store
    monkeypatch.setattr(store.maintenance.parts.disk_space, "bytes", MIB)
    monkeypatch.setattr(store.maintenance.parts.disk_space, "free", lambda: 15 * MIB)
    begin = store.maintenance.jobs.begin_fold
    monkeypatch.setattr(
        store.maintenance.jobs, "begin_fold", lambda *, is_short=False: is_short and begin(is_short=True)
    )
    for number in range(40):
        drive.apply(Set(b"%d" % number, bytes(60_000)))
        assert store.maintenance.space.pending() + store.maintenance.wal.used <= MIB // 2
    assert store.maintenance.jobs.count < 20, "not for each commit"


def test_where_the_disk_is_nearly_full_a_batch_stays_within_a_part_of_the_ballast(drive: EngineOnStore, monkeypatch):
    store = drive.store
    monkeypatch.setattr(store.maintenance.parts.disk_space, "bytes", MIB)
    assert store.batch_bytes() == BATCH_BYTES_MAX
    monkeypatch.setattr(store.maintenance.parts.disk_space, "free", lambda: 15 * MIB)
    assert store.batch_bytes() == MIB // 4
    store.maintenance.space.room_left = 1
    assert store.batch_bytes() == BATCH_BYTES_MAX, "there is plenty, as of the last look"


def test_what_readers_hold_back_is_not_folded_again_for_each_commit(drive: EngineOnStore, monkeypatch):
    store, folds = drive.store, []
    monkeypatch.setattr(store.maintenance.parts.disk_space, "bytes", MIB)
    monkeypatch.setattr(store.maintenance.parts.disk_space, "free", lambda: 15 * MIB)
    monkeypatch.setattr(store.maintenance.jobs, "fold_all", lambda: folds.append(store.maintenance.space.pending()))
    for number in range(40):
        drive.apply(Set(b"%d" % number, bytes(60_000)))
    assert 0 < len(folds) < 20


def test_a_disk_is_nearly_full_unless_it_has_room_for_many_ballasts(tmp_path, free):
    room = DiskSpace(tmp_path)
    free(16 * MIB - 1)
    assert room.is_near_end()
    free(16 * MIB)
    assert not room.is_near_end()
    free(0)
    room.release_ballast()
    assert not room.is_near_end(), "it is at its end"


@pytest.fixture
def attempts(monkeypatch):
    """Return a list of the fold's attempts: keys and bytes. `fails_at(keys)` makes larger attempts fail."""
    tries, real = Tries(), fold_module.Fold.fold_chunk

    def fold(at, portion):
        tries.append(portion.keys)
        if tries[-1] > tries.most:
            raise tries.error
        return real(at, portion)

    monkeypatch.setattr(fold_module.Fold, "fold_chunk", fold)
    return tries


class Tries(list):
    most = 10**9
    error = sqlite_error(13)


def test_while_the_disk_is_short_a_fold_takes_as_much_at_once_as_there_is_room_for(
    drive: EngineOnStore, attempts, monkeypatch
):
    monkeypatch.setattr(fold_thread_module, "FOLD_CHUNK_BYTES", 600_000)
    for number in range(40):
        drive.apply(Set(b"%02d" % number, b"1"))
    drive.settle()
    attempts.most = 10
    drive.store.maintenance.jobs.begin_fold(is_short=True)
    drive.settle()
    assert attempts == [40, 25, 6, 6, 6, 6, 6, 6, 4]
    assert (drive.store.overlays.folded, drive.store.maintenance.jobs.durable) == (40, 40)


@pytest.mark.parametrize(("code", "times"), [(13, 3), (10, 1)])
def test_a_fold_that_has_no_room_for_one_change_or_fails_otherwise_says_so(
    drive: EngineOnStore, attempts, monkeypatch, code, times
):
    monkeypatch.setattr(fold_thread_module, "FOLD_CHUNK_BYTES", 4096 * 16)
    for number in range(10):
        drive.apply(Set(b"%d" % number, b"1"))
    drive.settle()
    attempts.most, attempts.error = 0, sqlite_error(code)
    drive.store.maintenance.jobs.begin_fold(is_short=True)
    assert drive.store.maintenance.parts.fold_thread.done.get().error is attempts.error
    assert len(attempts) == times


def test_compact_gets_the_last_room_and_folds_first(drive: EngineOnStore):
    drive.apply(Set(b"a", b"1"), Clear([b"a"]))
    drive.store.maintenance.parts.disk_space.release_ballast()
    assert drive.store.maintenance.parts.disk_space.ballast_size() > 0
    drive.store.maintenance.jobs.error = Full("no room")
    drive.apply(Compact(2))
    assert drive.store.maintenance.parts.disk_space.ballast_size() == 0
    assert (drive.store.maintenance.jobs.durable, drive.store.compacted) == (2, 2)


def test_what_the_tables_wal_has_yet_to_put_into_the_file_is_reckoned_with(drive: EngineOnStore, monkeypatch):
    """A fold without a checkpoint left 50 MB there, and then neither CLEAR nor COMPACT could make room."""
    monkeypatch.setattr(fold_thread_module, "TABLE_CHECKPOINT_CHANGES", 1 << 30)
    drive.apply(Set(b"a", bytes(1 << 20)))
    drive.fold()
    assert drive.store.maintenance.jobs.table_wal_bytes > 1 << 20
    asked = []
    monkeypatch.setattr(
        drive.store.maintenance.parts.disk_space,
        "is_enough_for",
        lambda pending, files: bool(asked.append(files)) or True,
    )
    drive.store.maintenance.space.room_left = 0
    drive.apply(Set(b"b", b"1"))
    assert asked[0] > drive.store.maintenance.jobs.table_wal_bytes
    drive.restart()
    assert drive.store.maintenance.jobs.table_wal_bytes == 0


def test_the_journals_wal_stays_within_its_first_length(drive: EngineOnStore, monkeypatch):
    """Clears made it longer while a fold was at work, until the fold had no room left, and writes never resumed."""
    store = drive.store
    length = store.journal.wal.stat().st_size
    begin, wait = store.maintenance.jobs.begin_checkpoint, store.maintenance.jobs.wait_for_checkpoint

    def wait_in_earnest():
        monkeypatch.setattr(store.maintenance.jobs, "begin_checkpoint", begin)
        wait()
        monkeypatch.setattr(store.maintenance.jobs, "begin_checkpoint", lambda: None)

    monkeypatch.setattr(store.maintenance.jobs, "begin_checkpoint", lambda: None)  # as if the fold held it up
    monkeypatch.setattr(store.maintenance.jobs, "wait_for_checkpoint", wait_in_earnest)
    for number in range(40):
        drive.apply(Set(b"%d" % number, bytes(length // 10)))
    assert store.journal.wal.stat().st_size <= 1.5 * length
