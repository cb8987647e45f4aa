"""The loop, driven turn by turn in this process, on a store with injected faults."""

import msgspec
import pytest

from kvd.errors import Busy, Corrupt, Full, Internal, StorageFailed

encode = msgspec.msgpack.encode


def fail_commits(rig, monkeypatch, *errors):
    """Let the next commits fail with these errors, None for one that works."""
    real, left = rig.store.commit, list(errors)

    def commit(batch):
        error = left.pop(0) if left else None
        if error is not None:
            raise error
        real(batch)

    monkeypatch.setattr(rig.store, "commit", commit)


@pytest.mark.parametrize("error", [Full("no room"), Busy("locked")])
def test_when_a_commit_cannot_be_each_command_stands_for_itself(rig, monkeypatch, error):
    rig.ask("SET", b"a", b"1")
    fail_commits(rig, monkeypatch, error, error)
    rig.send(["GET", b"a"], ["SET", b"big", b"x"], ["CLEAR", [b"a"]], ["CHANGES", 9, b"", None, 10], ["GET", b"a"])
    got = rig.turns(5)
    assert got[0] == ["OK", 1, b"1"]
    assert got[1] == ["ERROR", error.code, error.message, {"outcome": error.outcome}]
    assert got[2] == ["OK", 2, 1]
    assert got[3][:2] == ["ERROR", "BAD_ARGUMENT"]
    assert got[4] == ["OK", 2, None]


READ_ONLY = ["ERROR", "READ_ONLY", "the daemon takes no writes: a commit failed: fsync", {"outcome": "not executed"}]


@pytest.mark.parametrize("errors", [[Internal("fsync")], [Full("no room"), Internal("fsync")]])
def test_after_a_commit_of_unknown_outcome_what_is_durable_can_be_read_and_nothing_written(rig, monkeypatch, errors):
    rig.ask("SET", b"a", b"1")
    fail_commits(rig, monkeypatch, *errors)
    reply = rig.ask("SET", b"a", b"2")
    assert reply[:2] == ["ERROR", "INTERNAL"]
    assert reply[3] == {"outcome": "unknown"}
    assert rig.ask("SET", b"a", b"3") == READ_ONLY
    assert rig.ask("TRANSACTION", [], [["GET", b"a"]]) == READ_ONLY
    assert rig.ask("GET", b"a") == ["OK", 1, b"1"]
    assert rig.ask("CHANGES", 0)[1] == 1
    assert rig.ask("INFO", "server")[2]["server"]["read_only"] == "a commit failed: fsync"
    assert rig.store.revision == 1


def test_when_memory_is_tight_large_replies_are_refused_and_writes_are_not(rig, monkeypatch):
    rig.ask("SET", b"big", b"x" * 5000)
    rig.ask("SET", b"small", b"x")
    cut = []
    monkeypatch.setattr(rig.server.sockets.watchers, "disconnect_all", lambda: cut.append(1))
    with monkeypatch.context() as tight:
        tight.setattr("kvd.server.memory_guard.MEMORY_PRESSURE_BYTES", 1)
        tight.setattr("kvd.server.memory_guard.MEMORY_CHECK_BYTES", 0)
        rig.ask("PING")
        assert rig.ask("GET", b"big")[:2] == ["ERROR", "BUSY"]
        assert rig.ask("GET", b"small")[2] == b"x"
        assert rig.ask("TAKE", b"big")[2] == b"x" * 5000, "it has run: its reply is not to be lost"
        rig.ask("SET", b"big", b"y" * 5000)
        assert cut == [1]
    monkeypatch.setattr("kvd.server.memory_guard.MEMORY_CHECK_BYTES", 0)
    rig.ask("PING")
    assert rig.ask("GET", b"big")[2] == b"y" * 5000


def test_a_resent_write_is_not_said_to_have_never_run_when_the_daemon_is_read_only(rig, monkeypatch):
    fail_commits(rig, monkeypatch, Internal("fsync"))
    write = ["ONCE", b"token--1", ["SET", b"a", b"1"]]
    for _ in range(2):
        assert rig.ask(*write)[3] == {"outcome": "unknown"}


def test_a_read_only_daemon_ends_with_an_error_and_does_not_spin(rig, monkeypatch):
    rig.ask("SET", b"a", b"1", 1)
    rig.server.executor.end_writes("disk")
    rig.server.loop.parts.timers.sweep.next = 0
    assert rig.server.loop.wait_ms() > 0
    rig.server.loop.turn(0)
    assert rig.store.revision == 1
    rig.server.signals.stop()
    with pytest.raises(StorageFailed, match="the daemon was read-only: disk"):
        rig.server.serve()


def test_a_defect_in_a_command_is_answered_and_changes_nothing(rig, monkeypatch):
    def run(self, entries, now):
        entries.put(self.key, self.value, expires=None)
        raise ZeroDivisionError

    monkeypatch.setattr("kvd.commands.values.Set.run", run)
    assert rig.ask("SET", b"a", b"1")[:2] == ["ERROR", "INTERNAL"]
    assert rig.ask("GET", b"a") == ["OK", 0, None]


@pytest.mark.parametrize("error", [Full("no room"), Corrupt("damaged")])
def test_expiry_that_cannot_be_written_is_put_off_and_not_seen_by_readers(rig, monkeypatch, error):
    rig.ask("SET", b"a", b"1", 1)
    fail_commits(rig, monkeypatch, error)
    rig.server.loop.parts.timers.sweep.next = 0
    while rig.server.loop.parts.timers.sweep.next <= rig.server.clock.now() + 1000:
        rig.server.loop.turn(1)
    assert rig.ask("GET", b"a") == ["OK", 1, None]
    rig.server.loop.parts.timers.sweep.next = 0
    rig.server.loop.turn(0)
    assert rig.store.revision == 2


def test_expiry_of_unknown_outcome_ends_the_writes(rig, monkeypatch):
    rig.ask("SET", b"a", b"1", 1)
    fail_commits(rig, monkeypatch, Internal("fsync"))
    while rig.server.executor.read_only is None:
        rig.server.loop.parts.timers.sweep.next = 0
        rig.server.loop.turn(1)
    assert rig.server.executor.read_only == "fsync"


def test_a_damaged_entry_that_expires_holds_nobody_up(rig, monkeypatch):
    rig.ask("SET", b"bad", b"1", 1)
    rig.ask("SET", b"good", b"1", 1)
    real = rig.server.executor.engine.expire

    def expire(keys, now):
        if keys == [b"bad"]:
            raise Corrupt("damaged", key=b"bad")
        return real(keys, now)

    monkeypatch.setattr(rig.server.executor.engine, "expire", expire)
    while rig.store.revision < 3:
        rig.server.loop.parts.timers.sweep.next = 0
        rig.server.loop.turn(1)
    assert rig.server.loop.parts.timers.sweep.damaged == {b"bad"}
    assert rig.store.due(rig.server.clock.now(), 10, skip=rig.server.loop.parts.timers.sweep.damaged) == []


def test_more_that_expires_than_a_batch_takes_goes_on_at_once(rig, monkeypatch):
    monkeypatch.setattr("kvd.server.sweep.EXPIRY_SWEEP_KEYS_MIN", 2)
    monkeypatch.setattr("kvd.server.sweep.EXPIRY_SWEEP_KEYS_MAX", 2)
    for number in range(5):
        rig.ask("SET", b"%d" % number, b"", 1)
    while rig.store.revision < 10:
        rig.server.loop.turn(300)
    assert rig.store.entries == 0


def test_a_batch_is_cut_where_it_has_taken_written_or_answered_enough(rig, monkeypatch):
    rig.ask("PING")
    before = rig.server.pipeline.batches
    monkeypatch.setattr("kvd.server.executor.REPLY_BYTES_MAX", 10)
    batch = [([b"x", b""], encode(["PING", b"y" * 20])) for _ in range(3)]
    rig.server.loop.run_batch(batch)
    assert rig.server.pipeline.batches == before + 3


def test_fsync_interval_syncs_and_a_failing_sync_ends_the_writes(make_rig, monkeypatch):
    rig = make_rig(fsync="interval")
    assert rig.ask("SET", b"a", b"1") == ["OK", 1, None]
    while rig.store.unsynced:
        rig.server.loop.turn(rig.server.loop.wait_ms())
    rig.ask("SET", b"a", b"2")
    monkeypatch.setattr("os.fdatasync", lambda fd: (_ for _ in ()).throw(OSError(5, "broken")))
    while rig.server.executor.read_only is None:
        rig.server.loop.parts.timers.next_sync = 0
        rig.server.loop.turn(0)
    assert rig.server.executor.read_only == "fsync of the journal failed: broken"


def test_the_last_sync_that_fails_is_told_by_the_end(make_rig, monkeypatch):
    rig = make_rig(fsync="interval")
    rig.server.loop.parts.timers.next_sync = rig.server.clock.now() + 60_000
    rig.ask("SET", b"a", b"2")
    monkeypatch.setattr("os.fdatasync", lambda fd: (_ for _ in ()).throw(OSError(5, "broken")))
    rig.server.signals.stop()
    with pytest.raises(StorageFailed, match="broken"):
        rig.server.serve()


def test_a_fold_that_failed_for_good_ends_the_writes(rig, monkeypatch):
    monkeypatch.setattr(rig.store, "tick", lambda now: (_ for _ in ()).throw(Internal("disk")))
    rig.server.loop.turn(0)
    assert rig.server.executor.read_only == "disk"


def test_a_wait_that_is_refused_when_it_wakes_is_told(rig, monkeypatch):
    rig.send(["CHANGES", 0, b"a", None, 30_000])
    while not rig.server.waits.waiters.waiting:
        rig.server.loop.turn(20)
    monkeypatch.setattr("kvd.commands.changes.Changes.run", lambda *_: (_ for _ in ()).throw(Corrupt("damaged")))
    rig.send(["SET", b"a", b"1"])
    assert rig.turns(2) == [["OK", 1, None], ["ERROR", "CORRUPT", "damaged", {"outcome": "failed"}]]


def test_info_tells_a_section_or_all(rig):
    assert list(rig.ask("INFO", "STORE")[2]) == ["store"]
    assert list(rig.ask("INFO")[2]) == ["server", "store", "traffic", "commands", "latency", "process"]
    assert rig.ask("INFO", "nonsense")[:2] == ["ERROR", "BAD_ARGUMENT"]
    assert rig.ask("COMMANDS", "nonsense")[:2] == ["ERROR", "UNKNOWN_COMMAND"]
    assert len(rig.ask("COMMANDS")[2]) > 20


def test_a_reply_to_a_client_that_is_gone_is_counted(rig):
    rig.server.sockets.commands.reply([b"nobody", b""], b"reply")
    assert rig.ask("INFO", "traffic")[2]["traffic"]["replies_dropped"] == 1
