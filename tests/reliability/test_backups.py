"""Backups: each is a real commit point, whole or not there, and what comes of it is a store of its own (R8, S9)."""

import os
import random
import shutil
import signal
import subprocess
import sys
import threading
import time
from contextlib import contextmanager, suppress

import pytest
from support import forks, small_kvd
from support.running import eventually

from kvd.errors import BadArgument, ClientError, Corrupt, HistoryChanged, StorageFailed, TooLarge
from kvd.storage import Store, check, restore

KEYS = 200


@pytest.fixture
def daemon(make_daemon):
    daemon = make_daemon("--log-level", "warning")
    daemon.program = [sys.executable, small_kvd.__file__, "serve"]
    return daemon.start()


@pytest.fixture
def backups(daemon):
    return daemon.data / "backups"


@pytest.fixture(autouse=True)
def small_limits(monkeypatch):
    for module, name, value in small_kvd.LIMITS:
        monkeypatch.setattr(module, name, value)


@contextmanager
def writers(daemon, count=2):
    """Let clients set and clear meanwhile."""
    is_over = threading.Event()

    def write(number):
        chance = random.Random(number)
        with daemon.client() as kv:
            while not is_over.is_set():
                keys = [b"%d" % chance.randrange(KEYS) for _ in range(3)]
                kv.multiset({key: chance.randbytes(chance.choice([10, 300])) for key in keys})
                kv.clear(b"%d" % chance.randrange(KEYS))

    threads = [threading.Thread(target=write, args=(number,)) for number in range(count)]
    for thread in threads:
        thread.start()
    try:
        yield
    finally:
        is_over.set()
        for thread in threads:
            thread.join()


def all_changes(kv):
    changes = []
    while some := kv.changes(changes[-1].revision if changes else 0, limit=10_000):
        changes += some
    return changes


def replay(changes, upto):
    entries = {change.key: change.value for change in changes if change.revision <= upto}
    return {key: value for key, value in entries.items() if value is not None}


def contents(directory):
    """Return revision, history and entries of a data directory, which is whole."""
    store = Store(directory)
    try:
        found = store.revision, store.history, {entry.key: entry.value for entry in store.scan()}
    finally:
        store.close()
    assert check(directory, lambda: None).damages == []
    return found


def run_kvd(*arguments):
    return forks.run([sys.executable, "-m", "kvd", *map(str, arguments)], text=True)


def fill_entries(kv, rows=3_000):
    """Write enough that a backup takes a while; return the entries."""
    for number in range(0, rows, 100):
        kv.multiset({b"%06d" % (number + more): os.urandom(2_000) for more in range(100)})
    return dict(kv.items())


def test_each_backup_made_beside_writes_is_a_commit_of_its_own(daemon, backups, tmp_path):
    revisions = {}
    with daemon.client() as kv:
        fill_entries(kv, 2_000)
        with writers(daemon):
            time.sleep(0.2)
            for number in range(4):
                revisions[f"b{number}"] = kv.backup(f"b{number}")["revision"]
                assert run_kvd("backup", str(daemon.data), str(backups / f"c{number}")).returncode == 0
                revisions[f"c{number}"] = None
        changes, history = all_changes(kv), kv.info("server")["server"]["history"]
    histories = {history}
    for name, told in revisions.items():
        made = restore(backups / name, tmp_path / name)
        revision, its_history, entries = contents(tmp_path / name)
        assert told in (None, revision)
        assert entries == replay(changes, revision), name
        assert (made.revision, made.entries) == (revision, len(entries))
        assert its_history not in histories
        histories.add(its_history)
    assert list(backups.glob("*.partial")) == []


def kill_daemon(daemon, path, delay):
    """Kill the daemon some time after it was asked for a backup, and start it again."""

    def ask():
        with daemon.client() as kv, suppress(ClientError):
            kv.backup(path.name)

    thread = threading.Thread(target=ask)
    thread.start()
    time.sleep(delay)
    daemon.kill()
    daemon.start()
    thread.join()


def kill_backup(daemon, path, delay):
    """Kill `kvd backup` some time after it has begun to write."""
    process = subprocess.Popen([sys.executable, "-m", "kvd", "backup", daemon.data, path], stdout=subprocess.DEVNULL)
    aside = path.with_name(f"{path.name}.partial")
    while process.poll() is None and not aside.exists():
        time.sleep(0.001)
    time.sleep(delay)
    if process.poll() is None:
        process.send_signal(signal.SIGKILL)
    process.wait()


def interrupt(daemon, backups, tmp_path, count):
    """Kill several backups, each at another moment; return how many were whole by then."""
    chance = random.Random(count)
    whole = 0
    with daemon.client() as kv:
        entries = fill_entries(kv)
        for number in range(count):
            kill = kill_backup if number % 2 else kill_daemon
            kill(daemon, backups / "b", chance.uniform(0, 0.06))
            if (backups / "b").exists():
                whole += 1
            else:
                kv.backup("b")
                assert [path.name for path in backups.iterdir()] == ["b"]
            restore(backups / "b", tmp_path / "restored")
            assert contents(tmp_path / "restored")[2] == entries
            shutil.rmtree(tmp_path / "restored")
            (backups / "b").unlink()
    return whole


def test_a_backup_that_is_killed_is_whole_or_not_there_and_can_be_made_again(daemon, backups, tmp_path):
    assert interrupt(daemon, backups, tmp_path, 4) < 4


@pytest.mark.long
def test_a_hundred_backups_that_are_killed(daemon, backups, tmp_path):
    whole = interrupt(daemon, backups, tmp_path, 100)
    print(f"100 backups killed, {whole} were whole by then")


def test_who_followed_the_old_store_is_told_that_the_restored_one_is_another(daemon, backups, tmp_path):
    with daemon.client() as kv, kv.watch(since=0) as changes:
        kv.set("a", "1")
        assert next(changes).value == b"1"
        kv.backup("monday")
        assert daemon.stop() == 0
        old, daemon.data = daemon.data, tmp_path / "restored"
        restore(old / "backups" / "monday", daemon.data)
        daemon.start()
        with pytest.raises(HistoryChanged):
            next(changes)
        assert dict(kv.items()) == {b"a": b"1"}


def test_a_damaged_backup_is_refused_or_makes_no_difference(daemon, backups, tmp_path):
    chance = random.Random(8)
    with daemon.client() as kv, writers(daemon):
        eventually(lambda: kv.info("store")["store"]["revision"] > 300, 300)
        kv.backup("whole")
    whole = (backups / "whole").read_bytes()
    restore(backups / "whole", tmp_path / "whole")
    revision, _, entries = contents(tmp_path / "whole")
    damaged, target = tmp_path / "damaged", tmp_path / "target"
    refused = 0
    for number in range(60):
        content = bytearray(whole)
        if number % 6:
            content[chance.randrange(len(whole))] ^= 1 << chance.randrange(8)
        else:
            del content[chance.randrange(len(whole)) :]
        damaged.write_bytes(content)
        try:
            restore(damaged, target)
        except (Corrupt, StorageFailed):
            refused += 1
            assert not target.exists()
        else:
            assert (contents(target)[0], contents(target)[2]) == (revision, entries), number
            shutil.rmtree(target)
    assert refused > 30


@pytest.mark.parametrize(
    "name",
    ["", ".", "..", "a/b", "../b", "/tmp/b", ".b", "-b", "a b", "a\nb", "b\n", "a\0b", "b.partial", "é", "b" * 65],
)
def test_a_backup_goes_into_its_folder_under_a_plain_name(daemon, backups, name):
    with daemon.client() as kv:
        kv.set("a", "1")
        with pytest.raises((BadArgument, TooLarge)):
            kv.backup(name)
    assert list(backups.iterdir()) == []


@pytest.mark.parametrize("link", ["b", "b.partial"])
@pytest.mark.parametrize("target", ["there", "not there"])
def test_a_symlink_in_the_folder_is_not_followed(daemon, backups, tmp_path, link, target):
    (tmp_path / "there").write_text("precious")
    (backups / link).symlink_to(tmp_path / target)
    with daemon.client() as kv:
        kv.set("a", "1")
        with pytest.raises(BadArgument):
            kv.backup("b")
    assert (tmp_path / "there").read_text() == "precious"
    assert not (tmp_path / "not there").exists()
    assert [path.name for path in backups.iterdir()] == [link]
    assert (backups / link).is_symlink()


def test_two_backups_to_one_place_do_not_mix(daemon, backups, tmp_path):
    with daemon.client() as kv:
        entries = fill_entries(kv)
    arguments = [sys.executable, "-m", "kvd", "backup", daemon.data, backups / "same"]
    both = [subprocess.Popen(arguments, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) for _ in range(2)]
    assert sorted(process.wait() for process in both) == [0, 74]
    restore(backups / "same", tmp_path / "same")
    assert contents(tmp_path / "same")[2] == entries


def test_a_backup_under_a_name_that_was_left_half_does_not_touch_a_whole_one_elsewhere(daemon, backups, tmp_path):
    with daemon.client() as kv:
        kv.set("a", "1")
        kv.backup("b")
        os.link(backups / "b", backups / "b.partial")  # as if killed between the two
        (backups / "b").rename(tmp_path / "moved")
        kv.set("a", "2")
        kv.backup("b")
    restore(tmp_path / "moved", tmp_path / "restored")
    assert contents(tmp_path / "restored")[2] == {b"a": b"1"}
