"""The fold: the table becomes what a replay of the journal gives, whenever and however often it runs."""

import random
import shutil
import threading
import time

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from support.drives import NOW, EngineOnStore, RolledBack, sqlite_error
from support.forms import built
from support.hypotheses import examples

from kvd import native
from kvd.commands.expiry import Expire
from kvd.commands.model import ALL, entry_of
from kvd.commands.values import Clear, MultiSet, Set
from kvd.errors import Corrupt, Internal, StorageFailed
from kvd.limits import CHECKPOINT_WAIT_MS
from kvd.storage.files import sqlite
from kvd.storage.files.sqlite import connect
from kvd.storage.maintenance import fold as fold_module
from kvd.storage.maintenance import fold_thread as fold_thread_module
from kvd.storage.offline.backup import back_up, restore
from kvd.storage.offline.check import check
from kvd.storage.offline.salvage import salvage

KEYS = st.sampled_from([b"a", b"ab", b"a\x00", b"\xff"])
COMMANDS = st.one_of(
    st.builds(Set, KEYS, st.sampled_from([b"", b"1", b"2"]), st.none() | st.just(5)),
    st.builds(lambda key: Clear([key]), KEYS),
    st.builds(Expire, KEYS, st.just(7)),
)


def replay_journal(drive):
    """Return the entries that the journal leaves behind when it is read from its start."""
    left = {row[2]: entry_of(row) for rows in drive.store.journal.chunks_after(0) for row in rows}
    return sorted((entry for entry in left.values() if entry), key=lambda entry: entry.key)


def table_entries(drive):
    return list(drive.store.table.scan(ALL))


@settings(max_examples=examples(40), suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(st.one_of(COMMANDS, st.just("fold")), max_size=25))
def test_a_table_folded_at_any_moments_is_the_replay_of_the_journal(tmp_path_factory, program):
    drive = EngineOnStore(tmp_path_factory.mktemp("fold"), fsync="never")
    for number, step in enumerate(program):
        drive.fold() if step == "fold" else drive.apply(step, now=NOW + number)
    drive.fold()
    assert table_entries(drive) == replay_journal(drive)
    assert drive.store.table.mark()[1:] == (drive.store.revision, len(table_entries(drive)), drive.store.revision, b"")
    drive.store.close()


@pytest.mark.parametrize("found", [True, False])
def test_a_fold_needs_no_sqlite_that_is_found_in_c(make_drive, monkeypatch, found):
    if not found:
        monkeypatch.setattr(sqlite, "library_path", lambda: "/nowhere")
    drive = make_drive()
    drive.apply(Set(b"a", b"1"), Set(b"b", b"2"), Clear([b"a"]))
    assert table_entries(drive.fold()) == replay_journal(drive)
    assert bool(drive.store.maintenance.parts.fold_thread.address) == (found and native.module is not None)


@built
def test_a_plan_that_is_interrupted_leaves_no_transaction_and_tells_why(drive):
    drive.apply(*[Set(b"%d" % number, b"1") for number in range(5_000)])
    drive.settle()
    db = drive.store.maintenance.parts.fold_thread.open()
    plan = drive.store.overlays.begin_fold(drive.store.revision)
    drive.store.overlays.undo_fold()
    steps = iter(range(10**9))
    db.set_progress_handler(lambda: next(steps) > 200, 10)
    with pytest.raises(sqlite.sqlite3.Error, match="interrupted"):
        fold_module.Fold(db, drive.store.revision, plan, drive.store.maintenance.parts.fold_thread.address)
    db.set_progress_handler(None, 0)
    assert not db.in_transaction
    at = fold_module.Fold(db, drive.store.revision, plan, drive.store.maintenance.parts.fold_thread.address)
    assert at.last == 5_000
    db.close()


def test_a_table_that_is_lost_is_folded_anew(drive):
    drive.apply(Set(b"a", b"1"), Set(b"b", b"2"), Clear([b"a"]))
    before = table_entries(drive.fold())
    drive.store.close()
    (drive.directory / "table.db").unlink()
    drive.open().fold()
    assert table_entries(drive) == before


def test_a_table_that_fell_back_is_folded_again(drive):
    """As after a power loss: the table is at synchronous = NORMAL."""
    drive.apply(Set(b"a", b"1"), Set(b"c", b"3"))
    drive.fold().store.close()
    shutil.copy(drive.directory / "table.db", drive.directory / "older")
    drive.open().apply(Set(b"a", b"2"), Clear([b"c"]), Set(b"d", b"4"))
    drive.fold().store.close()
    shutil.copy(drive.directory / "older", drive.directory / "table.db")
    drive.open()
    assert (drive.store.overlays.folded, drive.store.count(b"", NOW)) == (2, 2)
    assert table_entries(drive.fold()) == replay_journal(drive)
    assert drive.store.count(b"", NOW) == 2


def fail_once(monkeypatch, name, error):
    """Let the first use of a thing of fold_thread.py's fail, of those for the table."""
    real, failed = getattr(fold_thread_module, name), []

    def fails(db, *arguments):
        if arguments[-1:] != ("journal",) and not failed:
            failed.append(arguments)
            raise error
        return real(db, *arguments)

    monkeypatch.setattr(fold_thread_module, name, fails)


def test_a_checkpoint_that_fails_after_the_fold_counts_nothing_twice(drive, monkeypatch):
    fail_once(monkeypatch, "checkpoint", sqlite_error(13))
    drive.apply(Set(b"a", b"1"))
    drive.fold()
    assert (drive.store.overlays.folded, drive.store.maintenance.jobs.durable) == (0, 0)
    drive.store.maintenance.jobs.error = None
    drive.fold()
    assert (drive.store.overlays.folded, drive.store.maintenance.jobs.durable) == (1, 1)
    drive.restart()
    assert (drive.store.count(b"", NOW), drive.store.count(b"a", NOW)) == (1, 1)


def test_a_fold_that_finds_the_disk_full_is_undone_and_tried_again_later(drive, monkeypatch):
    drive.apply(Set(b"a", b"1"))
    drive.settle()
    with monkeypatch.context() as full:
        full.setattr(fold_module, "INSERT", "SELECT full_disk(), :after, :number")
        full.setattr(fold_thread_module.FoldThread, "open", open_with_full_disk)
        drive.restart().store.maintenance.jobs.begin_fold()
        done = drive.store.maintenance.parts.fold_thread.done.get()
    assert (str(done.error), drive.store.table.mark().revision) == ("user-defined function raised exception", 0)
    drive.store.maintenance.jobs.finish(done._replace(error=sqlite_error(13)))
    assert drive.store.maintenance.parts.disk_space.is_short
    assert drive.store.maintenance.parts.disk_space.restore_ballast()  # there was room all the time
    drive.apply(Set(b"b", b"2"))
    drive.store.maintenance.jobs.begin_fold()
    assert drive.store.overlays.immutable is None
    assert [drive.store.get(key).value for key in (b"a", b"b")] == [b"1", b"2"]
    drive.store.tick(NOW)
    drive.settle()
    assert (drive.store.overlays.folded, len(table_entries(drive))) == (2, 2)


real_open = fold_thread_module.FoldThread.open


def open_with_a_commit_that_fails(fold_thread):
    return RolledBack(real_open(fold_thread))


def open_with_full_disk(fold_thread):
    """Give SQL a function that fails as a full disk does: in the middle of the fold's transaction."""

    def full_disk():
        raise OSError(28, "no room")

    db = real_open(fold_thread)
    db.create_function("full_disk", 0, full_disk)
    return db


@pytest.mark.parametrize(("code", "cls"), [(11, Corrupt), (10, Internal)])
def test_a_fold_that_finds_anything_else_is_the_end(drive, code, cls, monkeypatch):
    fail_once(monkeypatch, "checkpoint", sqlite_error(code))
    drive.apply(Set(b"a", b"1"))
    drive.store.maintenance.jobs.begin_fold()
    with pytest.raises(cls):
        drive.settle()


def test_a_fold_is_durable_only_when_its_checkpoint_is_whole(drive, monkeypatch):
    monkeypatch.setattr(fold_thread_module, "checkpoint", lambda *_: False)
    drive.apply(Set(b"a", b"1"))
    drive.fold()
    assert (drive.store.overlays.folded, drive.store.maintenance.jobs.durable) == (1, 0)


def test_a_fold_reads_values_not_older_than_the_last_of_each_key(drive):
    drive.apply(MultiSet([(b"a", b"%d" % n) for n in range(50)]), Clear([b"a"]), Set(b"a", b"x"))
    (entry,) = table_entries(drive.fold())
    assert (entry.value, entry.revision, entry.created) == (b"x", 52, 52)


@pytest.mark.parametrize("fsync", ["interval", "never"])
def test_the_journal_is_synced_before_the_table_gets_ahead_of_it(make_drive, monkeypatch, fsync):
    synced = []
    monkeypatch.setattr(fold_thread_module.os, "fdatasync", synced.append)
    drive = make_drive(fsync=fsync)
    drive.apply(Set(b"a", b"1"))
    drive.fold()
    assert (len(synced), drive.store.maintenance.jobs.durable) == (1, 1)


def test_a_fold_whose_commit_was_rolled_back_by_sqlite_itself_is_tried_again(drive, monkeypatch):
    monkeypatch.setattr(fold_thread_module.FoldThread, "open", open_with_a_commit_that_fails)
    drive.apply(Set(b"a", b"1"))
    drive.fold()
    assert (drive.store.overlays.folded, str(drive.store.maintenance.jobs.error)) == (0, "database or disk is full")
    drive.store.tick(NOW)
    drive.settle()
    assert (drive.store.overlays.folded, table_entries(drive)) == (1, replay_journal(drive))


def test_a_thread_that_never_had_a_job_ends(make_drive):
    make_drive().store.close()


def test_commits_go_on_while_a_fold_is_at_work(drive):
    """BEGIN IMMEDIATE in the fold would lock the attached journal too, and every commit would wait for it."""
    drive.apply(*[Set(b"%d" % number, b"x") for number in range(500)])
    fold_thread = drive.store.maintenance.parts.fold_thread
    db = fold_thread.open()
    is_at_work, go_on = threading.Event(), threading.Event()
    steps = iter(range(10**9))

    def pause():
        if next(steps) == 50:  # well within its statements, the table locked for writing
            is_at_work.set()
            go_on.wait(60)

    db.set_progress_handler(pause, 10)
    thread = threading.Thread(target=fold_thread.fold_to, args=(db, fold_thread_module.FoldJob(drive.store.revision)))
    thread.start()
    assert is_at_work.wait(60)
    drive.store.journal.db.execute("PRAGMA busy_timeout = 0")
    drive.apply(Set(b"other", b"1"))
    go_on.set()
    thread.join()
    assert drive.store.get(b"other").value == b"1"
    assert drive.store.table.mark().revision == 500
    db.close()


def test_a_table_is_checkpointed_when_its_wal_is_long_much_was_folded_or_nothing_is_left_to_fold(drive, monkeypatch):
    monkeypatch.setattr(fold_thread_module, "TABLE_WAL_BYTES_MAX", 1 << 20)
    monkeypatch.setattr(fold_thread_module, "TABLE_CHECKPOINT_CHANGES", 3)
    monkeypatch.setattr(fold_thread_module, "FOLD_CHUNK_BYTES", 1)
    drive.apply(Set(b"a", b"1"))
    assert drive.fold().store.maintenance.jobs.durable == 0
    drive.fold()
    assert drive.store.maintenance.jobs.durable == 1
    for value, durable in (
        (b"x" * (600 << 10), 1),
        (b"x" * (600 << 10), 1),
        (b"1", 3),
        (b"1", 3),
        (b"1", 3),
        (b"1", 7),
    ):
        drive.apply(Set(b"a", value))
        assert drive.fold().store.maintenance.jobs.durable == durable


def fold_calls(monkeypatch):
    """Return what the fold's thread does, in order: keys folded in a portion, files checkpointed."""
    calls = []
    real_step, real_checkpoint = fold_module.Fold.step, fold_thread_module.checkpoint

    def step(at, bytes_max):
        before = at.number
        real_step(at, bytes_max)
        calls.append(at.number - before)

    def checkpoint(db, how, name):
        calls.append(name)
        return real_checkpoint(db, how, name)

    monkeypatch.setattr(fold_module.Fold, "step", step)
    monkeypatch.setattr(fold_thread_module, "checkpoint", checkpoint)
    return calls


def pages_there(drive):
    return drive.store.table.db.execute("PRAGMA page_count").fetchone()[0]


@pytest.mark.parametrize("size", [10, 700, 900, 3_000, 40_000])
def test_a_fold_never_makes_the_wal_of_the_table_longer_than_it_may_be(drive, monkeypatch, size):
    most = 1 << 20
    monkeypatch.setattr(fold_thread_module, "TABLE_CHECKPOINT_CHANGES", 1 << 30)
    monkeypatch.setattr(fold_thread_module, "TABLE_WAL_BYTES_MAX", most)
    monkeypatch.setattr(fold_thread_module, "FOLD_CHUNK_BYTES", most * 2 // 3)
    chance = random.Random(1)
    wal = drive.directory / "table.db-wal"
    for _ in range(4):
        count = (6 << 20) // (size + 600)
        drive.apply(
            *[Set(b"%d" % chance.randrange(10**6), bytes(size), chance.randrange(1, 10**6)) for _ in range(count)]
        )
        drive.fold()
        assert table_entries(drive) == replay_journal(drive)
    assert pages_there(drive) * 4096 > 2 * most
    assert most // 3 < wal.stat().st_size <= most + 32 * 4096


def test_a_key_is_folded_once_however_often_it_changed_and_in_whichever_portion(drive, monkeypatch):
    monkeypatch.setattr(fold_thread_module, "FOLD_CHUNK_BYTES", 60_000)
    drive.apply(*[Set(b"%d" % (number % 50), b"%d" % number) for number in range(1_000)])
    drive.settle()
    calls = fold_calls(monkeypatch)
    drive.fold()
    portions = [call for call in calls if call != "main"]
    assert len(portions) > 3
    assert sum(portions) == 50
    assert table_entries(drive) == replay_journal(drive)


def partly_folded(drive, monkeypatch, portions):
    """Fold a number of portions of one key each, then fail."""
    monkeypatch.setattr(fold_thread_module, "FOLD_CHUNK_BYTES", 1)
    drive.settle()
    steps, real = iter(range(portions)), fold_module.Fold.step

    def step(at, bytes_max):
        if next(steps, None) is None:
            raise sqlite_error(13)
        real(at, bytes_max)

    with monkeypatch.context() as failing:
        failing.setattr(fold_module.Fold, "step", step)
        drive.store.maintenance.jobs.begin_fold()
        drive.settle()
    drive.store.maintenance.jobs.error = None


COMMANDS_OF_THREE_KINDS = (Set(b"b", b"new"), Clear([b"a", b"d"]), Set(b"c", b"1"), Set(b"e", b"1"), Clear([b"e"]))


@pytest.mark.parametrize("portions", range(6))
@pytest.mark.parametrize("restarted", [True, False])
def test_a_fold_that_was_interrupted_goes_on_where_it_was(drive, monkeypatch, portions, restarted):
    drive.apply(*[Set(key, b"old") for key in (b"a", b"b", b"d", b"x")])
    drive.fold()
    drive.apply(*COMMANDS_OF_THREE_KINDS)
    partly_folded(drive, monkeypatch, portions)
    mark = drive.store.table.mark()
    assert (mark.revision == drive.store.revision) == (portions == 5)
    assert mark.entries == len(table_entries(drive))
    if restarted:
        drive.restart()
    assert [drive.store.count(prefix, NOW) for prefix in (b"", b"a", b"b", b"c", b"d", b"e", b"x")] == [
        3,
        0,
        1,
        1,
        0,
        0,
        1,
    ]
    drive.apply(Set(b"a", b"newer"), Set(b"z", b"1"), Clear([b"x"]))
    assert drive.store.count(b"", NOW) == 4
    drive.fold()
    assert table_entries(drive) == replay_journal(drive)
    mark = drive.store.table.mark()
    assert mark[1:] == (drive.store.revision, 4, drive.store.revision, b"")


@pytest.mark.parametrize("portions", range(1, 5))
def test_what_a_table_that_is_partly_folded_is_backed_up_checked_and_repaired_as(
    drive, monkeypatch, tmp_path, portions
):
    drive.apply(*[Set(key, b"old") for key in (b"a", b"b", b"d", b"x")])
    drive.fold()
    drive.apply(*COMMANDS_OF_THREE_KINDS)
    partly_folded(drive, monkeypatch, portions)
    assert check(drive.directory, lambda: None).damages == []
    made = back_up(drive.directory, tmp_path / "backup", lambda: None)
    assert (made.entries, restore(tmp_path / "backup", tmp_path / "restored").entries) == (3, 3)
    expected = replay_journal(drive)
    drive.store.close()
    assert salvage(drive.directory, "aside").losses == []
    for directory in (tmp_path / "restored", drive.directory):
        other = EngineOnStore(directory, fsync="never")
        assert list(other.store.scan()) == expected
        other.store.close()


def test_a_table_that_has_changes_the_journal_has_not_is_refused(drive, monkeypatch):
    drive.apply(*[Set(b"%d" % number, b"") for number in range(3)])
    partly_folded(drive, monkeypatch, 2)
    drive.store.journal.db.execute("DELETE FROM journal WHERE revision = 3")
    drive.store.close()
    with pytest.raises(StorageFailed, match=r"the journal \(1 to 2\) does not continue the table"):
        EngineOnStore(drive.directory)


def test_the_checkpoint_of_the_journal_has_its_turn_between_two_portions(drive, monkeypatch):
    monkeypatch.setattr(fold_thread_module, "FOLD_CHUNK_BYTES", 1)
    drive.apply(*[Set(b"%d" % number, b"") for number in range(3)])
    drive.settle()
    calls = fold_calls(monkeypatch)
    drive.store.maintenance.parts.fold_thread.jobs.put(fold_thread_module.FoldJob(3))
    drive.store.maintenance.jobs.begin_checkpoint()
    fold_thread = drive.store.maintenance.parts.fold_thread
    assert isinstance(fold_thread.done.get().job, fold_thread_module.CheckpointJob)
    fold_thread.may_resume.set()
    assert fold_thread.done.get().job == fold_thread_module.FoldJob(3)
    assert [call for call in calls if call != "main"] == [1, "journal", 1, 1]


def test_a_thread_that_is_to_end_ends_after_a_portion_and_the_next_start_goes_on(drive, monkeypatch):
    """A stop waited for all of a fold: for a minute on a slow disk."""
    monkeypatch.setattr(fold_thread_module, "FOLD_CHUNK_BYTES", 1)
    drive.apply(*[Set(b"%d" % number, b"") for number in range(20)])
    fold_thread, steps = drive.store.maintenance.parts.fold_thread, []
    real, has_begun = fold_thread_module.fold.Fold.step, threading.Event()

    def step(self, bytes_max):
        steps.append(1)
        has_begun.set()
        while not fold_thread.is_stopping:  # `stop` comes just now
            time.sleep(0.001)
        real(self, bytes_max)

    monkeypatch.setattr(fold_thread_module.fold.Fold, "step", step)
    drive.store.maintenance.jobs.begin_fold()
    has_begun.wait()
    fold_thread.stop()
    assert (len(steps), drive.store.table.mark().revision) == (1, 0)
    monkeypatch.undo()
    drive.restart()
    assert len(list(drive.store.scan())) == 20
    assert drive.fold().store.table.mark().revision == 20
    assert len(list(drive.store.table.scan(ALL))) == 20


def test_the_fold_waits_until_the_loop_has_finished_the_checkpoint_of_the_journal(drive, monkeypatch):
    """Else it would read the journal at that moment, and the WAL could not be restarted."""
    monkeypatch.setattr(fold_thread_module, "CHECKPOINT_WAIT_MS", 60_000)
    drive.apply(Set(b"a", b"1"))
    drive.store.maintenance.jobs.begin_checkpoint()
    drive.store.maintenance.jobs.begin_fold()
    done = drive.store.maintenance.parts.fold_thread.done.get()
    time.sleep(0.1)
    assert drive.store.maintenance.parts.fold_thread.done.empty()
    drive.store.maintenance.jobs.finish(done)
    drive.settle()
    assert drive.store.overlays.folded == 1


def test_who_reads_the_table_for_long_holds_a_checkpoint_up_for_a_moment_only(drive, monkeypatch):
    """With the usual 5 s each fold beside a backup took 5 s, and the commits waited for it."""
    waits, real = [], fold_thread_module.checkpoint

    def checkpoint(db, how, name):
        class Spy:
            def execute(self, sql):
                waits.append(db.execute("PRAGMA busy_timeout").fetchone()[0] if "checkpoint" in sql else None)
                return db.execute(sql)

        return real(Spy(), how, name)

    monkeypatch.setattr(fold_thread_module, "checkpoint", checkpoint)
    drive.apply(Set(b"a", b"1"))
    drive.fold()
    assert {wait for wait in waits if wait is not None} == {CHECKPOINT_WAIT_MS}
    assert drive.store.maintenance.jobs.durable == 1


def test_a_damaged_mark_is_not_sealed_anew_by_the_next_fold(drive):
    drive.apply(Set(b"a", b"1"))
    drive.settle()
    other = connect(drive.store.table.path)
    other.execute("UPDATE fold SET entries = 7")
    other.close()
    drive.store.maintenance.jobs.begin_fold()
    done = drive.store.maintenance.parts.fold_thread.done.get()
    assert str(done.error) == "CORRUPT: the mark of the table is damaged on disk"
    with pytest.raises(Internal, match="the mark of the table is damaged"):
        drive.store.maintenance.jobs.finish(done)
