"""Readers walk and ask while writers write: the WALs stay short, the daemon's memory flat (R18)."""

import random
import time
from contextlib import ExitStack

import pytest
from support.observing import MIB, Crew, memory, size

from kvd.errors import Compacted

LONGEST = 64 * MIB  # of a WAL
VALUE = random.Random(1).randbytes(1000)


def fill(daemon, keys):
    with daemon.client(timeout=60) as kv, kv.pipeline() as pipeline:
        for first in range(0, keys, 100):
            pipeline.multiset({b"key:%07d" % number: VALUE for number in range(first, min(first + 100, keys))})


def writer(kv, keys, chance):
    """Return what overwrites, ends and expires some keys."""

    def write():
        with kv.pipeline() as pipeline:
            for _ in range(100):
                key = b"key:%07d" % chance.randrange(keys)
                pipeline.set(key, VALUE)
                if chance.random() < 0.05:
                    pipeline.clear(key)
                    pipeline.set(key, VALUE, ttl=1)

    return write


def walker_of_keys(kv, stop):
    def walk():
        last = b""
        for key, _ in kv.items("key:"):
            assert key > last
            last = key
            if stop.is_set():
                return

    return walk


def walker_of_changes(kv, stop):
    position = 0

    def walk():
        nonlocal position
        try:
            changes = kv.changes(position, limit=1000)
        except Compacted as error:
            position = error.details["compacted"]
            return
        assert [change.revision for change in changes] == list(range(position + 1, position + 1 + len(changes)))
        position += len(changes)
        if len(changes) < 1000:
            stop.wait(0.05)

    return walk


def asker(kv, keys, chance):
    def ask():
        assert kv.get(b"key:%07d" % chance.randrange(keys)) in (VALUE, None)

    return ask


def sample_sizes(daemon, seconds):
    """Return (journal's WAL, table's WAL, memory) in bytes, several times a second for so long."""
    samples = []
    until = time.monotonic() + seconds
    while time.monotonic() < until:
        wals = (size(daemon.data / f"{name}.db-wal") for name in ("journal", "table"))
        samples.append((*wals, memory(daemon.process.pid)))
        time.sleep(0.1)
    return samples


def read_under_writes(daemon, keys, seconds):
    fill(daemon, keys)
    with ExitStack() as stack:
        clients = [stack.enter_context(daemon.client(timeout=60)) for _ in range(7)]
        crew = stack.enter_context(Crew())
        for number in (0, 1):
            crew.add(writer(clients[number], keys, random.Random(number)))
        for number in (2, 3):
            crew.add(asker(clients[number], keys, random.Random(number)))
        crew.add(walker_of_keys(clients[4], crew.stop))
        crew.add(walker_of_changes(clients[5], crew.stop))
        samples = sample_sizes(daemon, seconds)
        calls = clients[6].info("traffic")["traffic"]["calls"]
    journal, table, taken = zip(*samples, strict=True)
    half = len(samples) // 2
    first, second = max(taken[:half]), max(taken[half:])
    print(
        f"R18: {seconds} s, {calls}: journal.db-wal at most {max(journal) / MIB:.1f} MiB, table.db-wal "
        f"{max(table) / MIB:.1f} MiB, memory {first / MIB:.0f} MiB in the first half, {second / MIB:.0f} in the second"
    )
    assert max(journal) <= LONGEST
    assert max(table) <= LONGEST
    return first, second


def test_readers_under_writes_let_the_wals_be_short(make_daemon):
    read_under_writes(make_daemon().start(), 10_000, 3)


@pytest.mark.long
def test_ten_minutes_of_readers_under_writes_take_no_more_memory_with_time(make_daemon):
    first, second = read_under_writes(make_daemon().start(), 400_000, 600)
    assert second <= 1.2 * first + 32 * MIB
