"""CHECK on a daemon at work, and `kvd check` beside it, after it, and after a kill."""

import contextlib
import os
import threading

import pytest
from sqlite_utils.utils import sqlite3
from support.damaged import flip
from support.running import run_kvd

from kvd.client import Stream
from kvd.commands.server import Check, Ping
from kvd.errors import Busy, ClientError, Corrupt, ShuttingDown
from kvd.limits import FOLD_CHANGES
from kvd.storage.files.sqlite import PAGE_BYTES


def kvd(*arguments):
    """Run `kvd`; return its exit code and what it said."""
    done = run_kvd(*arguments)
    return done.returncode, done.stdout + done.stderr


def fill(kv, count=3_000):
    with kv.pipeline() as pipeline:
        for number in range(count):
            pipeline.set(b"key:%05d" % number, b"x" * 100)


def damage(daemon):
    """Fold all, and damage one value while the daemon is down."""
    assert daemon.stop() == 0
    db = sqlite3.connect(str(daemon.data / "table.db"), isolation_level=None)
    changed = db.execute("UPDATE entry SET value = x'00' WHERE key = CAST('key:00007' AS BLOB)").rowcount
    db.close()
    return changed


@pytest.fixture
def daemon_with_damage(daemon, kv):
    fill(kv, FOLD_CHANGES + 1)  # so the table has them
    while kv.info("store")["store"]["folded"] < FOLD_CHANGES:
        pass
    assert damage(daemon) == 1
    return daemon


def test_check_under_writes_finds_all_whole(daemon, kv):
    fill(kv)
    stop = threading.Event()

    def write():
        with daemon.client() as other:
            while not stop.is_set():
                fill(other, 200)

    thread = threading.Thread(target=write)
    thread.start()
    try:
        for _ in range(3):
            found = kv.check()
            assert found["changes"] >= 3_000
    finally:
        stop.set()
        thread.join()


def test_one_check_at_a_time_and_none_outlives_the_daemon(daemon, kv):
    fill(kv, 40_000)
    stream = kv.stream()
    stream.answer(Ping())
    stream.send(Check(), "check")
    stream.flush()
    with daemon.client() as other:
        with pytest.raises(Busy, match="CHECK is running: retry when it is done"):
            other.check()
        assert other.get("key:00001") == b"x" * 100, "others are served meanwhile"
    daemon.signal(15)
    with stream:
        [(_, outcome)] = stream.receive()
    assert outcome.code == ShuttingDown.code
    assert daemon.process.wait(60) == 0


def test_a_damaged_entry_is_corrupt_and_named_and_repaired(daemon_with_damage):
    code, said = kvd("check", daemon_with_damage.data)
    assert (code, "table.db: key b'key:00007': the entry of this key is damaged on disk" in said) == (74, True), said
    assert "kvd check --repair" in said
    daemon_with_damage.start()
    with daemon_with_damage.client() as kv:
        with pytest.raises(Corrupt) as caught:
            kv.check()
        assert caught.value.details["key"] == b"key:00007"
        assert caught.value.details["damages"] == [
            {
                "file": "table.db",
                "key": b"key:00007",
                "revision": None,
                "message": "the entry of this key is damaged on disk",
            }
        ]
        with pytest.raises(Corrupt):
            kv.get("key:00007")
        assert kv.get("key:00008") == b"x" * 100
        code, said = kvd("check", "--repair", daemon_with_damage.data)
        assert (code, "is served by another kvd" in said) == (69, True)
        history = kv.info("server")["server"]["history"]
    assert daemon_with_damage.stop() == 0
    code, said = kvd("check", "--repair", daemon_with_damage.data)
    assert (code, "the entry of key b'key:00007' is damaged" in said) == (0, True), said
    assert "repaired: 150,001 entries, up to revision 150001; the history is new" in said
    assert "50,001 entries and 1 changes are whole, 0 damages" in said
    [aside] = daemon_with_damage.data.glob("damaged-*")
    assert {"journal.db", "table.db", "losses.txt"} <= {path.name for path in aside.iterdir()}
    daemon_with_damage.start()
    with daemon_with_damage.client() as kv:
        assert kv.info("server")["server"]["history"] != history
        assert kv.get("key:00007") == b"x" * 100, "the journal had it too"
        assert kv.check()["entries"] == FOLD_CHANGES + 1


def test_kvd_check_beside_a_daemon_after_it_and_after_a_kill(daemon, kv):
    fill(kv, 500)
    code, said = kvd("check", daemon.data)
    assert (code, "500 changes are whole, 0 damages" in said) == (0, True), said
    assert kv.set("after", "1") is None
    daemon.kill()
    before = sorted(path.name for path in daemon.data.iterdir())
    for _ in range(2):
        code, said = kvd("check", daemon.data)
        assert (code, "501 changes are whole, 0 damages" in said) == (0, True), said
    assert sorted(path.name for path in daemon.data.iterdir()) == before
    daemon.start()
    assert "event=recovered" not in daemon.log.read_text()
    with daemon.client() as again:
        assert again.count() == 501
    daemon.stop()
    assert kvd("check", daemon.data)[0] == 0
    assert not list(daemon.data.glob("*-wal"))
    daemon.start()
    assert "event=recovered" not in daemon.log.read_text()


def test_what_a_damaged_wal_has_lost_is_told_by_check_and_by_the_start(daemon, kv):
    fill(kv, 500)
    daemon.kill()
    flip(daemon.data / "journal.db-wal", 1_000)  # in the first frame: what comes last may be left from before
    before = contents(daemon.data)
    for _ in range(2):
        code, said = kvd("check", daemon.data)
        assert contents(daemon.data) == before
        assert "acknowledged changes may be lost" in said or (code, "malformed" in said) == (74, True), said
    with contextlib.suppress(AssertionError):  # refused, if a checkpoint had copied what the WAL has lost
        daemon.start()
    said = daemon.log.read_text()
    assert "event=recovered" in said or ("kvd: " in said and daemon.process.wait() == 74), said


def contents(directory):
    """Return what a directory's databases and their WALs hold."""
    return {path.name: path.read_bytes() for pattern in ("*.db", "*-wal") for path in directory.glob(pattern)}


@pytest.mark.parametrize("damage", ["cut", "garbled"])
def test_the_wal_of_a_file_that_does_not_open_stays(daemon, kv, damage):
    fill(kv, 500)
    daemon.kill()
    flip(daemon.data / "journal.db-wal", 1_000)
    if damage == "cut":
        os.truncate(daemon.data / "journal.db", PAGE_BYTES)
    else:
        flip(daemon.data / "journal.db", 100)  # the first page's header
    before = contents(daemon.data)
    for command in ("check",), ("serve", "--data"), ("check",), ("serve", "--data"):
        code, said = kvd(*command, daemon.data)
        assert (code, "malformed" in said and "kvd check --repair" in said) == (74, True), said
        assert contents(daemon.data) == before


def test_a_folder_of_something_else_is_left_alone(tmp_path):
    for options in ([], ["--repair"]):
        code, said = kvd("check", *options, tmp_path)
        assert (code, "is it a kvd data directory?" in said) == (74, True), said
    assert list(tmp_path.iterdir()) == []
    assert kvd("check", tmp_path / "none")[0] == 2


def test_help_has_an_example():
    assert "Example: kvd check /var/lib/kvd" in kvd("check", "--help")[1]


def test_a_client_that_is_gone_does_not_hurt(daemon):
    with Stream(daemon.commands) as stream:
        stream.answer(Ping())
        stream.send(Check(), "check")
        stream.flush()
    with daemon.client() as kv:
        while True:
            try:
                assert kv.check() == {"entries": 0, "changes": 0}
                break
            except Busy:
                continue
            except ClientError as error:
                raise AssertionError from error
