"""Journal, table, overlay and cache as one: starts, retention, waits, failures."""

import os
import shutil

import pytest
from msgspec import msgpack
from sqlite_utils.utils import sqlite3
from support.drives import NOW, sqlite_error

from kvd.commands.atomic import Once
from kvd.commands.changes import Changes, Compact
from kvd.commands.values import Clear, Get, Incr, MultiGet, MultiSet, Set, Take
from kvd.errors import Busy, Compacted, Corrupt, Full, Internal, InUse, StorageFailed
from kvd.limits import FOLD_AGE_MS, ONCE_KEPT_MS, TRIM_INTERVAL_MS
from kvd.storage import Store, opening
from kvd.storage.files.journal import PlainRows
from kvd.storage.maintenance import fill, wal_size
from kvd.storage.maintenance import maintenance as maintenance_module
from kvd.storage.maintenance import retention as retention_module

FILL = MultiSet([(b"k", b"v")] * 10)


def revisions(drive, since):
    return [change.revision for change in drive.engine.apply(Changes(since), NOW).result]


# Starts


def test_what_is_committed_is_there_after_a_restart_folded_or_not(drive):
    drive.apply(Set(b"a", b"1", ttl=50), Set(b"b", b"2"))
    drive.fold().apply(Set(b"c", b"3"), Clear([b"b"]))
    before = (list(drive.store.scan()), drive.store.changes(0, b"", 9), drive.store.history)
    drive.restart()
    assert (list(drive.store.scan()), drive.store.changes(0, b"", 9), drive.store.history) == before
    assert (drive.store.revision, drive.store.time, drive.store.count(b"", NOW)) == (4, NOW, 2)


def test_a_second_store_on_the_directory_is_refused_and_the_first_is_untouched(drive):
    drive.apply(Set(b"a", b"1"))
    with pytest.raises(InUse, match="is served by another kvd"):
        Store(drive.directory)
    assert drive.apply(Get(b"a")) == [b"1"]


def test_a_directory_is_made_for_its_owner_alone(make_drive):
    assert make_drive("deep/down").directory.stat().st_mode & 0o777 == 0o700


def test_a_directory_that_cannot_be_made_stops_the_start(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(StorageFailed, match="cannot create the data directory"):
        Store(tmp_path / "file" / "data")


def expect_refusal(drive, sentence):
    """Assert that the store does not open, twice: a refused start lets the directory go."""
    for _ in range(2):
        with pytest.raises(StorageFailed, match=sentence):
            drive.open()


def test_files_of_two_stores_are_refused(make_drive):
    one, other = make_drive("one"), make_drive("other")
    for drive in (one, other):
        drive.apply(Set(b"a", b"1"))
        drive.store.close()
    shutil.copy(other.directory / "journal.db", one.directory / "journal.db")
    expect_refusal(one, r"journal\.db and table\.db are of two different stores: restore both from the same backup")


def test_a_journal_that_was_lost_is_refused(drive):
    drive.apply(Set(b"a", b"1"))
    drive.store.close()
    (drive.directory / "journal.db").unlink()
    expect_refusal(drive, r"journal\.db is missing beside table\.db: put it back")
    assert not (drive.directory / "journal.db").exists(), "a new one would take the place of the one put back"


def test_a_hole_in_the_journal_is_refused(drive):
    drive.apply(FILL)
    drive.sql("journal.db", "DELETE FROM journal WHERE revision = 5")
    expect_refusal(drive, "the journal has a hole after revision 0")


def test_a_journal_that_begins_after_the_table_ends_is_refused(drive):
    drive.apply(FILL)
    drive.sql("journal.db", "DELETE FROM journal WHERE revision < 5")
    expect_refusal(drive, r"the journal \(5 to 10\) does not continue the table \(to 0\)")


def test_a_journal_that_ends_before_the_table_is_refused(drive):
    drive.apply(FILL)
    drive.fold().sql("journal.db", "DELETE FROM journal WHERE revision > 5")
    expect_refusal(drive, r"the journal \(1 to 5\) does not continue the table \(to 10\)")


def test_a_directory_that_may_not_be_read_is_refused_with_a_sentence(drive, monkeypatch):
    drive.store.close()
    monkeypatch.setattr(opening, "Journal", lambda *_, **__: (_ for _ in ()).throw(OSError(5, "broken")))
    expect_refusal(drive, "broken; look at its owner and permissions")


# Retention


@pytest.fixture
def portions(monkeypatch):
    """Trim in portions of three."""
    monkeypatch.setattr(retention_module, "TRIMMED_PER_COMMIT_MAX", 3)


def test_old_changes_are_trimmed_by_count_and_only_what_is_folded(make_drive, portions):
    drive = make_drive(kept_changes=4)
    drive.apply(FILL)
    drive.apply(FILL)
    assert revisions(drive, 0) == list(range(1, 21))
    drive.fold()
    drive.apply(Set(b"a", b"1"))
    assert (drive.store.maintenance.parts.retention.first, drive.store.compacted) == (4, 3)
    assert revisions(drive, 3) == list(range(4, 22))
    with pytest.raises(Compacted) as caught:
        revisions(drive, 2)
    assert caught.value.details == {"compacted": 3}
    drive.idle()
    assert (drive.store.maintenance.parts.retention.first, drive.store.compacted) == (18, 17)
    drive.settle()
    assert revisions(drive.restart(), 17) == list(range(18, 22))


def test_the_journal_does_not_grow_with_large_commits(make_drive, portions):
    drive = make_drive(kept_changes=20)
    for _ in range(12):
        drive.apply(FILL)
        drive.fold()
    assert drive.store.revision - drive.store.maintenance.parts.retention.first < 20 + 2 * 10


def test_a_commit_of_small_rows_does_not_free_many_large_ones():
    retention = retention_module.Retention(1, 0, 10, 1 << 30)
    retention.plan(100, 100 << 20)
    assert (retention.portion, retention.clamp(2000, 200_000)) == (8, 8)
    assert retention.clamp(2000, 32 << 20) == 32
    assert retention.clamp(20, 32 << 20) == 20
    retention.plan(1000, 1000 * 100)
    assert (retention.portion, retention.clamp(20, 2000)) == (250, 250)
    assert retention.clamp(2000, 200_000) == 2000


def test_idle_time_does_not_free_many_large_values_at_once(make_drive, monkeypatch):
    monkeypatch.setattr(retention_module, "TRIMMED_BYTES_PER_COMMIT", 30_000)
    drive = make_drive(kept_changes=1)
    for _ in range(12):
        drive.apply(Set(b"a", b"x" * 10_000))
    drive.fold().store.tick(NOW)
    drive.store.tick(NOW + TRIM_INTERVAL_MS)
    assert 1 <= drive.store.compacted <= 3
    drive.idle(NOW + 2 * TRIM_INTERVAL_MS)
    assert drive.store.compacted == 11


def test_old_changes_are_trimmed_by_bytes(make_drive, portions):
    drive = make_drive(kept_bytes=100_000)
    for _ in range(40):
        drive.apply(Set(b"a", b"x" * 10_000))
    drive.fold()
    drive.idle()
    size = sum(len(change.value) for change in drive.store.changes(drive.store.compacted, b"", 99)[1])
    assert 30_000 <= size <= 130_000
    assert drive.apply(Get(b"a")) == [b"x" * 10_000]


def test_nothing_is_trimmed_before_its_fold_is_durable(make_drive, portions):
    drive = make_drive(kept_changes=1)
    drive.apply(FILL)
    drive.fold().store.maintenance.jobs.durable = 0
    drive.apply(Set(b"a", b"1"))
    assert drive.store.maintenance.trim_target() is None
    assert revisions(drive, 0) == list(range(1, 12))


def test_a_compaction_survives_a_restart_before_and_after_its_rows_are_gone(drive, portions):
    drive.apply(FILL)
    drive.apply(Compact(6))
    for _ in range(2):
        drive.restart()
        assert drive.store.compacted == 6
        with pytest.raises(Compacted):
            revisions(drive, 5)
        assert revisions(drive, 6) == [7, 8, 9, 10]
        drive.fold().idle()
    assert drive.store.maintenance.parts.retention.first == 7


def test_a_revision_is_never_used_again_when_all_is_compacted_trimmed_and_cleared(drive, portions):
    drive.apply(FILL, Take(b"k"))
    drive.apply(Compact(11))
    drive.fold().idle()
    assert (drive.store.maintenance.parts.retention.first, drive.store.compacted) == (11, 11)
    drive.restart()
    assert (drive.store.revision, drive.store.compacted, drive.store.count(b"", NOW)) == (11, 11, 0)
    drive.apply(Set(b"a", b"1"))
    assert revisions(drive, 11) == [12]


# The overlay's bound


def test_a_commit_waits_for_the_fold_when_the_overlay_is_full(drive, monkeypatch):
    monkeypatch.setattr(fill, "OVERLAY_CHANGES_MAX", 15)
    for _ in range(12):
        drive.apply(FILL)
    assert drive.store.facts()["overlay_changes"] <= 2 * 15 + 10
    assert drive.store.overlays.folded >= 80


def test_a_commit_waits_for_the_fold_when_the_overlay_is_too_big(drive, monkeypatch):
    monkeypatch.setattr(fill, "OVERLAY_BYTES_MAX", 1)
    drive.apply(FILL)
    drive.apply(FILL)
    assert (drive.store.maintenance.pressure.waits >= 1, drive.store.overlays.folded) == (True, 10)


def test_a_full_overlay_that_cannot_be_folded_refuses_writes_until_it_can(drive, monkeypatch):
    monkeypatch.setattr(fill, "OVERLAY_CHANGES_MAX", 10)
    drive.apply(FILL)
    drive.store.maintenance.jobs.error = sqlite_error(13, "no room")
    with pytest.raises(Full, match="the table cannot take more: no room"):
        drive.apply(Set(b"a", b"1"))
    assert (drive.store.revision, drive.store.get(b"a")) == (10, None)
    drive.store.tick(NOW)
    drive.settle()
    drive.apply(Set(b"a", b"1"))
    assert drive.store.revision == 11


def test_a_fold_begins_by_itself_when_there_is_enough(drive, monkeypatch):
    monkeypatch.setattr(maintenance_module, "FOLD_CHANGES", 10)
    drive.apply(FILL)
    drive.settle()
    assert drive.store.overlays.folded == 10


def test_a_fold_begins_by_itself_after_a_while(drive):
    drive.apply(FILL)
    drive.store.tick(NOW)
    drive.settle()
    drive.apply(FILL)
    drive.store.tick(NOW + FOLD_AGE_MS)
    assert drive.store.overlays.immutable is None
    drive.store.tick(NOW + FOLD_AGE_MS + 1)
    drive.settle()
    assert drive.store.overlays.folded == 20


# Failures


def fails(code):
    def fail(*_):
        raise sqlite_error(code)

    return fail


@pytest.mark.parametrize(("code", "cls"), [(13, Full), (11, Corrupt), (10, Internal)])
def test_a_commit_that_fails_is_told_and_nothing_of_it_is_seen(drive, monkeypatch, code, cls):
    drive.apply(Set(b"a", b"1"))
    with monkeypatch.context() as broken, pytest.raises(cls):
        broken.setattr(drive.store.journal, "append", fails(code))
        drive.apply(Set(b"a", b"2"), Once(b"token--1", Incr(b"b")))
    assert (drive.store.revision, drive.store.get(b"a").value, len(drive.store.tokens)) == (1, b"1", 0)
    drive.store.tick(NOW)
    assert drive.apply(Set(b"a", b"3", previous=True)) == [b"1"]


def test_a_commit_that_another_program_holds_up_is_busy_and_may_be_tried_again(drive):
    drive.store.journal.db.execute("PRAGMA busy_timeout = 0")
    other = sqlite3.connect(str(drive.directory / "journal.db"), isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    with pytest.raises(Busy, match="another program holds the database"):
        drive.apply(Set(b"a", b"1"))
    other.execute("ROLLBACK")
    other.close()
    assert (drive.store.revision, drive.apply(Incr(b"a"))) == (0, [1])


@pytest.mark.parametrize("name", ["append", "delete_tokens"])
def test_a_full_disk_puts_trimming_off(make_drive, portions, monkeypatch, name):
    drive = make_drive(kept_changes=1)
    drive.apply(FILL)
    drive.fold()
    with monkeypatch.context() as full:
        full.setattr(drive.store.journal, name, fails(13))
        drive.idle()
        assert drive.store.compacted == (0 if name == "append" else 9)
    drive.idle(NOW + FOLD_AGE_MS + 1)
    assert drive.store.compacted == 9


def test_a_full_disk_puts_a_checkpoint_off(drive, monkeypatch):
    with monkeypatch.context() as full:
        full.setattr(drive.store.journal, "finish_checkpoint", fails(13))
        drive.apply(FILL)
        drive.settle()
    before = drive.store.maintenance.wal.used
    assert before > 0
    drive.apply(FILL)
    drive.settle()
    assert drive.store.maintenance.wal.used < before


def test_a_checkpoint_whose_thread_found_the_disk_full_is_put_off(drive):
    drive.apply(FILL)
    done = drive.store.maintenance.parts.fold_thread.done.get()
    drive.store.maintenance.jobs.finish(done._replace(error=sqlite_error(13)))
    assert not drive.store.maintenance.jobs.is_checkpointing
    with pytest.raises(Corrupt):
        drive.store.maintenance.jobs.finish(done._replace(error=sqlite_error(11)))


@pytest.mark.parametrize("name", ["append", "delete_tokens"])
def test_any_other_failure_of_trimming_is_the_end(make_drive, portions, monkeypatch, name):
    drive = make_drive(kept_changes=1)
    drive.apply(FILL)
    drive.fold()
    monkeypatch.setattr(drive.store.journal, name, fails(10))
    with pytest.raises(Internal):
        drive.idle()


class Damaged:
    """A connection that finds the file malformed."""

    def execute(self, *_):
        raise sqlite_error(11, "database disk image is malformed")


@pytest.mark.parametrize(
    "read",
    [
        lambda store: store.get(b"b"),
        lambda store: list(store.scan()),
        lambda store: store.count(b"a", NOW),
        lambda store: store.changes(0, b"", 9),
        lambda store: store.changes(0, b"a", 9),
        lambda store: store.due(NOW, 9),
        lambda store: store.find_once(b"token--1"),
    ],
)
def test_what_sqlite_says_of_a_damaged_file_is_an_error_of_ours(drive, monkeypatch, read):
    drive.apply(Set(b"a", b"1"), Once(b"token--1", Incr(b"n")))
    with monkeypatch.context() as broken, pytest.raises(Corrupt):
        broken.setattr(drive.store.table, "db", Damaged())
        broken.setattr(drive.store.journal, "db", Damaged())
        broken.setattr(drive.store.journal, "rows", PlainRows(Damaged()))
        drive.store.key_cache.set_upper_bound(None)
        read(drive.store)


def test_keys_beyond_the_table_are_not_looked_for_there(drive, monkeypatch):
    drive.apply(Set(b"b", b"1"))
    assert drive.store.key_cache.upper_bound == b""
    drive.fold().restart()
    assert drive.store.key_cache.upper_bound == b"b\0"
    monkeypatch.setattr(drive.store.table, "get", lambda _: pytest.fail("looked for"))
    monkeypatch.setattr(drive.store.table, "get_many", lambda _: pytest.fail("looked for"))
    results = drive.apply(Get(b"b\0"), MultiGet([b"c", b"d"]), MultiSet([(b"c", b"2"), (b"e", b"3")]))
    assert msgpack.decode(msgpack.encode(results)) == [None, [None, None], None]
    assert drive.apply(Get(b"c"), Clear([b"d", b"e"])) == [b"2", 1]
    monkeypatch.undo()
    assert drive.apply(Get(b"b")) == [b"1"]
    assert drive.fold().store.key_cache.upper_bound == b"c\0"


def test_a_last_page_that_is_damaged_holds_nobody_up(drive, monkeypatch):
    drive.apply(Set(b"a", b"1"))
    drive.fold()
    monkeypatch.setattr(drive.store.table, "db", Damaged())
    assert drive.store.table.upper_bound() is None
    monkeypatch.undo()
    monkeypatch.setattr(drive.store.table, "upper_bound", lambda: None)
    drive.apply(Set(b"b", b"2"))
    assert drive.fold().store.key_cache.upper_bound is None
    assert drive.apply(Get(b"a"), Get(b"c")) == [b"1", None]


def test_a_last_key_that_is_damaged_hides_no_other(drive):
    drive.apply(*[Set(b"%d" % number, b"x") for number in range(9)])
    drive.fold().sql("table.db", "UPDATE entry SET revision = 1 WHERE key = x'38'")
    assert drive.open().store.key_cache.upper_bound is None
    assert drive.apply(*[Get(b"%d" % number) for number in range(8)]) == [b"x"] * 8


def test_a_cell_of_another_type_is_corrupt_and_never_a_defect(drive):
    drive.apply(Set(b"a", b"1"))
    drive.fold().sql("table.db", "UPDATE entry SET value = 'text' WHERE key = x'61'")
    with pytest.raises(Corrupt):
        drive.open().store.get(b"a")


def test_a_row_of_another_type_stops_the_start_with_a_sentence(drive):
    drive.apply(Set(b"a", b"1"))
    drive.sql("journal.db", "UPDATE journal SET value = 'text'")
    expect_refusal(drive, "damaged")


# fsync, the WAL


def test_with_always_each_commit_is_synced_by_sqlite(make_drive):
    found = {}
    for fsync in ("always", "interval", "never"):
        found[fsync] = make_drive(fsync, fsync=fsync).store.journal.db.execute("PRAGMA synchronous").fetchone()[0]
    assert found == {"always": 2, "interval": 1, "never": 1}


def test_sync_syncs_what_came_since_the_last(make_drive, monkeypatch):
    synced = []
    drive = make_drive(fsync="interval")
    monkeypatch.setattr(os, "fdatasync", synced.append)
    drive.store.sync()
    drive.apply(Set(b"a", b"1"))
    drive.store.sync()
    drive.store.sync()
    assert synced == [drive.store.journal_sync.fd]


def test_the_wal_is_never_longer_than_estimated(drive):
    drive.store.maintenance.wal.used, drive.store.maintenance.jobs.is_checkpointing = 0, True
    drive.store.maintenance.wal.limit = 1 << 30  # nobody does that checkpoint, so nobody is to wait for it
    for number in range(20):
        drive.apply(*[Set(b"hot", b"%d" % number * 5_000)] * 10, *[Set(b"%d" % n, b"") for n in range(number)])
    _, frames, _ = drive.store.journal.db.execute("PRAGMA wal_checkpoint(PASSIVE)").fetchone()
    drive.store.maintenance.jobs.is_checkpointing = False
    assert frames * 4_120 <= drive.store.maintenance.wal.used + 32 * 4_120


def test_the_wal_is_used_again_after_a_checkpoint(drive, monkeypatch):
    drive.store.maintenance.wal.checkpoint_bytes = 200_000
    for _ in range(100):
        drive.apply(Set(b"a", b"x" * 20_000))
        drive.settle()
    assert os.fstat(drive.store.journal_sync.fd).st_size <= 1 << 20


def test_a_wal_that_grows_while_a_fold_reads_it_is_waited_for(drive, monkeypatch):
    monkeypatch.setattr(wal_size, "WAL_BYTES_MAX", 300_000)
    wal = drive.store.maintenance.wal
    wal.limit_min = wal.limit = wal.checkpoint_bytes = 300_000
    for _ in range(100):
        drive.apply(Set(b"a", b"x" * 20_000))  # nobody takes note of what the fold's thread has done
    assert os.fstat(drive.store.journal_sync.fd).st_size <= 1 << 20


def test_a_wal_that_another_program_reads_holds_no_commit_up_for_long(drive, monkeypatch):
    wal = drive.store.maintenance.wal
    wal.limit_min = wal.limit = wal.checkpoint_bytes = 300_000
    other = sqlite3.connect(str(drive.directory / "journal.db"), isolation_level=None)
    other.execute("BEGIN")
    other.execute("SELECT count(*) FROM journal").fetchone()
    for _ in range(30):
        drive.apply(Set(b"a", b"x" * 20_000))
    assert drive.store.maintenance.wal.limit > 300_000
    other.close()
    for _ in range(60):
        drive.apply(Set(b"a", b"x" * 20_000))
    assert drive.store.maintenance.wal.limit == 300_000


# Expiry


def test_what_is_due_in_memory_comes_before_what_is_due_on_disk(drive):
    drive.apply(Set(b"disk-2", b"", at=NOW + 2), Set(b"disk-1", b"", at=NOW + 1), Set(b"covered", b"", at=NOW + 1))
    drive.fold().restart().apply(
        Set(b"memory-2", b"", at=NOW + 2), Set(b"memory-1", b"", at=NOW + 1), Set(b"covered", b"")
    )
    store = drive.store
    assert store.due(NOW, 9) == []
    assert store.due(NOW + 1, 9) == [b"memory-1", b"disk-1"]
    assert store.due(NOW + 2, 9) == [b"memory-1", b"memory-2", b"disk-1", b"disk-2"]
    assert store.due(NOW + 2, 3) == [b"memory-1", b"memory-2", b"disk-1"]


def test_expiries_survive_a_restart(drive):
    drive.apply(Set(b"a", b"1", ttl=5), Set(b"b", b"2", ttl=6))
    drive.restart().fold()
    assert drive.restart().store.due(NOW + 5, 9) == [b"a"]
    assert (drive.store.count(b"", NOW + 5), drive.store.count(b"b", NOW + 5)) == (1, 1)


def test_a_hundred_thousand_entries_that_expire_later_are_not_looked_at(make_drive):
    drive = make_drive(fsync="never")
    for part in range(10):
        commands = [Set(b"%d" % (part * 10_000 + n), b"", at=NOW + 10**6) for n in range(10_000)]
        drive.apply(*commands)
    drive.apply(Set(b"due", b"", at=NOW + 1))
    drive.fold().restart()
    steps = []
    drive.store.table.db.set_progress_handler(lambda: steps.append(1) and None, 10)
    assert drive.store.due(NOW + 1, 1_000) == [b"due"]
    assert len(steps) < 10


# ONCE


def test_a_token_survives_a_restart(drive):
    drive.apply(Once(b"token--1", Incr(b"a", 5)))
    drive.restart().apply(Incr(b"a"))
    drive.restart()
    reply = drive.engine.apply(Once(b"token--1", Incr(b"a", 5)), NOW + 1)
    assert (reply.revision, bytes(reply.result)) == (1, b"\x05")
    assert drive.apply(Get(b"a")) == [b"6"]


def test_old_tokens_are_forgotten_one_after_the_other(drive):
    for number in range(4):
        drive.apply(Once(b"token--%d" % number, Incr(b"a")), now=NOW + number)
    now = NOW + ONCE_KEPT_MS
    assert [drive.store.once_count(now + later) for later in (-1, 0, 1, 3, 3)] == [4, 3, 2, 0, 0]
    assert drive.store.find_once(b"token--3") is None


def test_a_token_used_again_after_its_time_is_the_youngest_after_a_restart(drive):
    """A token of a write that changed nothing leaves no row, so the head's time does not say how old the tokens are."""
    drive.apply(Once(b"token--1", Incr(b"a")), now=NOW)
    drive.apply(Once(b"token--2", Clear([b"none"])), now=NOW + ONCE_KEPT_MS // 2)
    drive.apply(Once(b"token--1", Clear([b"none"])), now=NOW + ONCE_KEPT_MS)
    assert list(drive.restart().store.tokens) == [b"token--2", b"token--1"]
    assert drive.store.once_count(NOW + 3 * ONCE_KEPT_MS // 2) == 1


# Facts


def test_facts_are_those_of_the_store(drive):
    drive.apply(Set(b"a", b"1"), Set(b"b", b"2"))
    drive.settle()
    drive.fold().apply(Set(b"c", b"3"), Once(b"token--1", Incr(b"n")))
    drive.settle()
    drive.apply(Get(b"a"), Get(b"none"))
    facts = drive.store.facts()
    sizes = {
        name: facts.pop(name)
        for name in ("overlay_bytes", "cache_bytes", "wal_bytes", "cache_hits", "cache_misses", "disk_free")
    }
    assert facts.pop("wal_used_bytes") <= sizes["wal_bytes"]
    assert facts.pop("table_wal_bytes") > 0
    assert facts.pop("fold_last_ms") >= 0
    assert facts == {
        "revision": 4,
        "compacted": 0,
        "folded": 2,
        "keys": 4,
        "overlay_changes": 2,
        "folds": 1,
        "fold_waits": 0,
        "disk_is_short": False,
        "tokens": 1,
    }
    assert sizes["overlay_bytes"] > 0
    assert sizes["cache_bytes"] > 0
