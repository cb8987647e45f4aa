"""The fold: the table becomes what a replay of the journal gives, whenever and however often it runs."""

import shutil
import threading

import pytest
from drives import NOW, Drive, RolledBack, sqlite_error
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from kvd.commands.entry import entry_of
from kvd.commands.expiry import Expire
from kvd.commands.values import Clear, MultiSet, Set
from kvd.errors import Corrupt, Internal
from kvd.limits import CHECKPOINT_WAIT_MS
from kvd.storage import fold as fold_module
from kvd.storage.database import connect

KEYS = st.sampled_from([b"a", b"ab", b"a\x00", b"\xff"])
COMMANDS = st.one_of(
    st.builds(Set, KEYS, st.sampled_from([b"", b"1", b"2"]), st.none() | st.just(5)),
    st.builds(lambda key: Clear([key]), KEYS),
    st.builds(Expire, KEYS, st.just(7)),
)


def replayed(drive):
    """Return the entries that the journal leaves behind when it is read from its start."""
    left = {row[2]: entry_of(row) for row in drive.store.journal.rows_after(0)}
    return sorted((entry for entry in left.values() if entry), key=lambda entry: entry.key)


def folded(drive):
    return list(drive.store.table.scan(b"", None))


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(st.one_of(COMMANDS, st.just("fold")), max_size=25))
def test_a_table_folded_at_any_moments_is_the_replay_of_the_journal(tmp_path_factory, program):
    drive = Drive(tmp_path_factory.mktemp("fold"), fsync="never")
    for number, step in enumerate(program):
        drive.fold() if step == "fold" else drive.apply(step, now=NOW + number)
    drive.fold()
    assert folded(drive) == replayed(drive)
    assert drive.store.table.fold()[1:] == (drive.store.revision, len(folded(drive)))
    drive.store.close()


def test_a_table_that_is_lost_is_folded_anew(drive):
    drive.apply(Set(b"a", b"1"), Set(b"b", b"2"), Clear([b"a"]))
    before = folded(drive.fold())
    drive.store.close()
    (drive.directory / "table.db").unlink()
    drive.open().fold()
    assert folded(drive) == before


def test_a_table_that_fell_back_is_folded_again(drive):
    """As after a power loss: the table is at synchronous = NORMAL."""
    drive.apply(Set(b"a", b"1"), Set(b"c", b"3"))
    drive.fold().store.close()
    shutil.copy(drive.directory / "table.db", drive.directory / "older")
    drive.open().apply(Set(b"a", b"2"), Clear([b"c"]), Set(b"d", b"4"))
    drive.fold().store.close()
    shutil.copy(drive.directory / "older", drive.directory / "table.db")
    drive.open()
    assert (drive.store.folded, drive.store.count(b"", NOW)) == (2, 2)
    assert folded(drive.fold()) == replayed(drive)
    assert drive.store.count(b"", NOW) == 2


def fail_once(monkeypatch, name, error):
    """Let the first use of a thing of fold.py's fail, of those for the table."""
    real, failed = getattr(fold_module, name), []

    def fails(db, *arguments):
        if arguments[-1:] != ("journal",) and not failed:
            failed.append(arguments)
            raise error
        return real(db, *arguments)

    monkeypatch.setattr(fold_module, name, fails)


def test_a_checkpoint_that_fails_after_the_fold_counts_nothing_twice(drive, monkeypatch):
    fail_once(monkeypatch, "checkpoint", sqlite_error(13))
    drive.apply(Set(b"a", b"1"))
    drive.fold()
    assert (drive.store.folded, drive.store.durable) == (0, 0)
    drive.store.fold_error = None
    drive.fold()
    assert (drive.store.folded, drive.store.durable) == (1, 1)
    drive.restart()
    assert (drive.store.count(b"", NOW), drive.store.count(b"a", NOW)) == (1, 1)


def test_a_fold_that_finds_the_disk_full_is_undone_and_tried_again_later(drive, monkeypatch):
    drive.apply(Set(b"a", b"1"))
    drive.settle()
    with monkeypatch.context() as full:
        full.setattr(fold_module, "INSERT", "SELECT full_disk(), :since, :upto")
        full.setattr(fold_module.Folder, "open", open_with_full_disk)
        drive.restart().store.begin_fold()
        done = drive.store.folder.done.get()
    assert (str(done.error), drive.store.table.fold().revision) == ("user-defined function raised exception", 0)
    drive.store.finish(done._replace(error=sqlite_error(13)))
    assert drive.store.room.is_short
    assert drive.store.room.take()  # there was room all the time
    drive.apply(Set(b"b", b"2"))
    drive.store.begin_fold()
    assert drive.store.memory.folding is None
    assert [drive.store.get(key).value for key in (b"a", b"b")] == [b"1", b"2"]
    drive.store.tick(NOW)
    drive.settle()
    assert (drive.store.folded, len(folded(drive))) == (2, 2)


real_open = fold_module.Folder.open


def open_with_a_commit_that_fails(folder):
    return RolledBack(real_open(folder))


def open_with_full_disk(folder):
    """Give SQL a function that fails as a full disk does: in the middle of the fold's transaction."""

    def full_disk():
        raise OSError(28, "no room")

    db = real_open(folder)
    db.create_function("full_disk", 0, full_disk)
    return db


@pytest.mark.parametrize(("code", "cls"), [(11, Corrupt), (10, Internal)])
def test_a_fold_that_finds_anything_else_is_the_end(drive, code, cls, monkeypatch):
    fail_once(monkeypatch, "checkpoint", sqlite_error(code))
    drive.apply(Set(b"a", b"1"))
    drive.store.begin_fold()
    with pytest.raises(cls):
        drive.settle()


def test_a_fold_is_durable_only_when_its_checkpoint_is_whole(drive, monkeypatch):
    monkeypatch.setattr(fold_module, "checkpoint", lambda *_: False)
    drive.apply(Set(b"a", b"1"))
    drive.fold()
    assert (drive.store.folded, drive.store.durable) == (1, 0)


def test_a_fold_reads_values_not_older_than_the_last_of_each_key(drive):
    drive.apply(MultiSet([(b"a", b"%d" % n) for n in range(50)]), Clear([b"a"]), Set(b"a", b"x"))
    (entry,) = folded(drive.fold())
    assert (entry.value, entry.revision, entry.created) == (b"x", 52, 52)


@pytest.mark.parametrize("fsync", ["interval", "never"])
def test_the_journal_is_synced_before_the_table_gets_ahead_of_it(make_drive, monkeypatch, fsync):
    synced = []
    monkeypatch.setattr(fold_module.os, "fdatasync", synced.append)
    drive = make_drive(fsync=fsync)
    drive.apply(Set(b"a", b"1"))
    drive.fold()
    assert (len(synced), drive.store.durable) == (1, 1)


def test_a_fold_whose_commit_was_rolled_back_by_sqlite_itself_is_tried_again(drive, monkeypatch):
    monkeypatch.setattr(fold_module.Folder, "open", open_with_a_commit_that_fails)
    drive.apply(Set(b"a", b"1"))
    drive.fold()
    assert (drive.store.folded, str(drive.store.fold_error)) == (0, "database or disk is full")
    drive.store.tick(NOW)
    drive.settle()
    assert (drive.store.folded, folded(drive)) == (1, replayed(drive))


def test_a_thread_that_never_had_a_job_ends(make_drive):
    make_drive().store.close()


def test_commits_go_on_while_a_fold_is_at_work(drive):
    """BEGIN IMMEDIATE in the fold would lock the attached journal too, and every commit would wait for it."""
    drive.apply(*[Set(b"%d" % number, b"x") for number in range(500)])
    folder = drive.store.folder
    db = folder.open()
    is_at_work, go_on = threading.Event(), threading.Event()
    steps = iter(range(10**9))

    def pause():
        if next(steps) == 50:  # well within its statements, the table locked for writing
            is_at_work.set()
            go_on.wait(60)

    db.set_progress_handler(pause, 10)
    thread = threading.Thread(target=folder.fold, args=(db, fold_module.FoldJob(drive.store.revision)))
    thread.start()
    assert is_at_work.wait(60)
    drive.store.journal.db.execute("PRAGMA busy_timeout = 0")
    drive.apply(Set(b"other", b"1"))
    go_on.set()
    thread.join()
    assert drive.store.get(b"other").value == b"1"
    assert drive.store.table.fold().revision == 500
    db.close()


def test_a_table_is_checkpointed_when_its_wal_is_long_much_was_folded_or_nothing_is_left_to_fold(drive, monkeypatch):
    monkeypatch.setattr(fold_module, "TABLE_CHECKPOINT_BYTES", 1 << 20)
    monkeypatch.setattr(fold_module, "TABLE_CHECKPOINT_CHANGES", 3)
    drive.apply(Set(b"a", b"1"))
    assert drive.fold().store.durable == 0
    drive.fold()
    assert drive.store.durable == 1
    drive.apply(Set(b"a", b"x" * (1 << 20)))
    assert drive.fold().store.durable == 2
    for durable in (2, 2, 2, 6):
        drive.apply(Set(b"a", b"1"))
        assert drive.fold().store.durable == durable


def test_who_reads_the_table_for_long_holds_a_checkpoint_up_for_a_moment_only(drive, monkeypatch):
    """With the usual 5 s each fold beside a backup took 5 s, and the commits waited for it."""
    waits, real = [], fold_module.checkpoint

    def checkpoint(db, how, name):
        class Spy:
            def execute(self, sql):
                waits.append(db.execute("PRAGMA busy_timeout").fetchone()[0] if "checkpoint" in sql else None)
                return db.execute(sql)

        return real(Spy(), how, name)

    monkeypatch.setattr(fold_module, "checkpoint", checkpoint)
    drive.apply(Set(b"a", b"1"))
    drive.fold()
    assert {wait for wait in waits if wait is not None} == {CHECKPOINT_WAIT_MS}
    assert drive.store.durable == 1


def test_a_damaged_mark_is_not_sealed_anew_by_the_next_fold(drive):
    drive.apply(Set(b"a", b"1"))
    drive.settle()
    other = connect(drive.store.table.path)
    other.execute("UPDATE fold SET entries = 7")
    other.close()
    drive.store.begin_fold()
    done = drive.store.folder.done.get()
    assert str(done.error) == "CORRUPT: what the table says of itself is damaged on disk"
    with pytest.raises(Internal, match="what the table says of itself is damaged"):
        drive.store.finish(done)
