"""A watcher ends with exactly the journal's changes, in order, whatever happens on the way (R10)."""

import signal
import subprocess
import sys
import threading
import time
from itertools import pairwise

import pytest

from kvd.client import Client

WATCHER = """
import sys
from kvd import Client
with Client(sys.argv[1], timeout=30) as kv, kv.watch(*[p.encode() for p in sys.argv[2:]]) as watch:
    print("ready", watch.ready(), flush=True)
    for change in watch:
        print(change.kind, change.revision, change.key.decode(), flush=True)
        if change.key.endswith(b"end"):
            break
"""


def spawn_watcher(daemon, *prefixes):
    """Start a watcher as a process of its own; return it when nothing can be missed any more."""
    process = subprocess.Popen(
        [sys.executable, "-c", WATCHER, daemon.commands, *prefixes], stdout=subprocess.PIPE, text=True, bufsize=1
    )
    assert process.stdout.readline().startswith("ready")
    return process


def read_output(process):
    """Return what a watcher printed until its end."""
    output, _ = process.communicate(timeout=120)
    return [(kind, int(revision), key) for kind, revision, key in (line.split() for line in output.splitlines())]


def in_journal(kv, *prefixes):
    """Return what the journal has of the prefixes."""
    changes = []
    since, head = 0, kv.info("store")["store"]["revision"]
    while since < head:
        page = kv.changes(since, limit=10_000)
        changes += page
        since = page[-1].revision
    return [(c.kind, c.revision, c.key.decode()) for c in changes if c.key.decode().startswith(prefixes)]


def load(kv, count):
    """Set and clear keys of two prefixes, many in flight."""
    with kv.pipeline() as pipeline:
        for number in range(count):
            pipeline.set(f"user:{number % 1000}", str(number))
            pipeline.set(f"other:{number % 1000}", str(number))
            if number % 10 == 0:
                pipeline.clear(f"user:{number % 1000}")


def load_while_stopped(daemon, prefixes, changes, seconds):
    """Load while a watcher is stopped; compare what it saw in the end."""
    with daemon.client(timeout=60) as kv:
        watcher = spawn_watcher(daemon, *prefixes)
        watcher.send_signal(signal.SIGSTOP)
        begun = time.monotonic()
        load(kv, changes)
        while time.monotonic() < begun + seconds:
            load(kv, 1000)
            time.sleep(0.05)  # or the journal would not hold all of it any more
        watcher.send_signal(signal.SIGCONT)
        kv.set("user:end", "")
        assert read_output(watcher) == in_journal(kv, *prefixes)


@pytest.mark.parametrize("prefixes", [("user:",), ("",)])
def test_a_stopped_watcher_misses_nothing(daemon, prefixes):
    load_while_stopped(daemon, prefixes, 30_000, 1)


@pytest.mark.long
@pytest.mark.parametrize("prefixes", [("user:",), ("",)])
def test_a_watcher_stopped_for_ten_seconds_misses_nothing(daemon, prefixes):
    load_while_stopped(daemon, prefixes, 100_000, 10)


def test_a_watcher_whose_daemon_restarts_misses_nothing(daemon):
    watcher = spawn_watcher(daemon, "user:")
    for restart in (daemon.kill, daemon.stop, daemon.kill):
        with daemon.client(timeout=60) as kv:
            load(kv, 500)
        restart()
        daemon.start()
        with daemon.client(timeout=60) as kv:
            load(kv, 100)
    with daemon.client() as kv:
        kv.set("user:end", "")
        assert read_output(watcher) == in_journal(kv, "user:")


def test_a_watcher_under_load_sees_all_at_once_or_later(daemon):
    watchers = [spawn_watcher(daemon, "user:"), spawn_watcher(daemon, ""), spawn_watcher(daemon, "user:1", "user:e")]
    with daemon.client(timeout=60) as kv:
        load(kv, 20_000)
        kv.set("user:end", "")
        for watcher, prefixes in zip(watchers, [("user:",), ("",), ("user:1", "user:e")], strict=True):
            assert read_output(watcher) == in_journal(kv, *prefixes)


def test_two_hundred_watches_each_see_the_key_written_at_their_ready(daemon, kv):
    for number in range(200):
        with kv.watch("user:") as watch:
            watch.ready()
            kv.set("user:1", str(number))
            change = next(watch)
            assert (change.key, change.value) == (b"user:1", b"%d" % number)


def test_a_snapshot_then_each_later_change_once(daemon, kv):
    kv.multiset({f"user:{number:05}": "old" for number in range(5000)})
    stop = threading.Event()

    def write():
        with Client(daemon.commands) as other:
            number = 0
            while not stop.is_set():
                other.set(f"user:{number * 7919 % 6000:05}", str(number))
                other.clear(f"user:{number * 104729 % 6000:05}")
                number += 1

    writer = threading.Thread(target=write)
    writer.start()
    state, revisions = {}, {}
    with kv.watch("user:", snapshot=True) as watch:
        changes = []
        while len(changes) < 8000:
            changes += watch.take()
        stop.set()
        writer.join()
        kv.set("user:end", "")
        while changes[-1].key != b"user:end":
            changes += watch.take()
    for change in changes:
        revisions.setdefault(change.key, []).append(change.revision)
        if change.kind == "SET":
            state[change.key] = change.value
        else:
            state.pop(change.key, None)
    assert state == dict(kv.items("user:"))
    assert all(a < b for found in revisions.values() for a, b in pairwise(found))
