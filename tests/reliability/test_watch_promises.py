"""Watchers see the six promises kept, whatever happens to the daemon, to them and to the journal (R10)."""

import contextlib
import json
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from support.observing import Crew
from support.watch_validators import COMPACTED, DELIVERED, HEARTBEAT, Event, broken, list_changes

from kvd.errors import ClientError, Refused

RECORDER = Path(__file__).parents[1] / "support/watch_recorder.py"
PREFIXES = [["user:"], [""], ["user:1", "other:"]]
LAST = b"user:1end"  # matches all of them


class Recording:
    """A process that watches and writes down what it sees."""

    def __init__(self, daemon, number, prefixes, changes="-"):
        self.prefixes = prefixes
        self.file = daemon.directory / f"stream{number}{changes.count('/')}"
        self.file.touch()
        arguments = [daemon.commands, changes, str(self.file), str(number), *prefixes]
        self.process = subprocess.Popen([sys.executable, str(RECORDER), *arguments])

    def events(self):
        return [Event(*json.loads(line)) for line in self.file.read_text().splitlines()]

    def wait_ready(self):
        limit = time.monotonic() + 60
        while not self.file.stat().st_size:
            assert time.monotonic() < limit
            time.sleep(0.01)

    def finish(self, journal):
        """Wait for the end; return the events, which have to keep all promises."""
        assert self.process.wait(120) == 0
        events = self.events()
        assert broken(events, journal, self.prefixes) == [], self.file
        return events

    def close(self):
        self.process.kill()
        self.process.wait()


class Walk:
    """The journal, walked before it is compacted."""

    def __init__(self):
        self.changes = []

    def go_on(self, kv):
        """Take in what is new; return the last revision."""
        while True:
            since = self.changes[-1].revision if self.changes else 0
            page = kv.changes(since, limit=10_000)
            if not page:
                return since
            for c in page:
                value = None if c.value is None else c.value.decode()
                self.changes.append(Event(DELIVERED, c.revision, c.kind, c.key.decode(), value))


def writer(kv, number, chance):
    """Return what sets, clears and lets expire keys, one by one and many at once, and survives a restart."""
    count = 0

    def write():
        nonlocal count
        count += 1
        with contextlib.suppress(ClientError, Refused), kv.pipeline() as pipeline:
            for _ in range(20):
                pipeline.set(a_key(chance), f"{number}.{count}", ttl=chance.choice([None, None, None, 1]))
            pipeline.clear(*{a_key(chance) for _ in range(3)})
        with contextlib.suppress(ClientError, Refused):
            keys = {a_key(chance) for _ in range(chance.randrange(2, 30))}
            kv.once().multiset({key: f"{number}.{count}/{len(keys)} {key}" for key in keys})
        time.sleep(0.002)

    return write


def a_key(chance):
    return chance.choice(["user:", "other:"]) + str(chance.randrange(200))


def disturb(daemon, recordings, walk, rounds, chance):
    """Kill, stop and compact, and stop watchers meanwhile."""
    for _ in range(rounds):
        stopped = chance.choice(recordings)
        stopped.process.send_signal(signal.SIGSTOP)
        time.sleep(chance.uniform(0.05, 0.4))
        with daemon.client(timeout=60) as kv:
            kv.compact(walk.go_on(kv))
        if chance.random() < 0.7:
            chance.choice([daemon.kill, daemon.stop])()
            daemon.start()
        time.sleep(chance.uniform(0.05, 0.3))
        stopped.process.send_signal(signal.SIGCONT)
        time.sleep(chance.uniform(0.05, 0.5))


def watch_and_check(daemon, rounds, watchers, seed):
    """Let watchers record under all these faults; check what they saw; return the events of all."""
    chance = random.Random(seed)
    begun = time.monotonic()
    walk, recordings = Walk(), [Recording(daemon, number, PREFIXES[number % 3]) for number in range(watchers)]
    try:
        for recording in recordings:
            recording.wait_ready()
        with daemon.client(timeout=5) as first, daemon.client(timeout=5) as second, Crew() as crew:
            crew.add(writer(first, 1, random.Random(seed)))
            crew.add(writer(second, 2, random.Random(seed + 1)))
            disturb(daemon, recordings, walk, rounds, chance)
        with daemon.client(timeout=60) as kv:
            kv.set(LAST, "")
            walk.go_on(kv)
        streams = [recording.finish(walk.changes) for recording in recordings]
    finally:
        for recording in recordings:
            recording.close()
    events = [event for stream in streams for event in stream]
    counts = {what: sum(event.what == what for event in events) for what in sorted({event.what for event in events})}
    seconds = time.monotonic() - begun
    print(f"R10, seed {seed}: {rounds} rounds in {seconds:.0f} s, {len(walk.changes)} changes; watchers saw {counts}")
    return counts


def test_watchers_are_kept_the_six_promises(make_daemon):
    counts = watch_and_check(make_daemon("--log-level", "warning").start(), 3, 3, seed=3)
    assert counts[DELIVERED] > 100


@pytest.mark.long
def test_watchers_are_kept_the_six_promises_across_a_hundred_rounds(make_daemon):
    counts = watch_and_check(make_daemon("--log-level", "warning").start(), 100, 6, seed=time.time_ns() % 1_000_000)
    assert counts[COMPACTED] > 0


def test_a_heartbeat_never_tells_a_revision_inside_a_command(daemon, kv):
    bare = Recording(daemon, 0, ["user:"], daemon.changes)
    try:
        bare.wait_ready()
        with daemon.client() as second, Crew() as crew:
            crew.add(writer(kv, 1, random.Random(1)))
            crew.add(writer(second, 2, random.Random(2)))
            time.sleep(2.5)
        kv.set(LAST, "")
        walk = Walk()
        walk.go_on(kv)
        events = bare.finish(walk.changes)
    finally:
        bare.close()
    assert len(list_changes(events)) > 100
    assert sum(event.what == HEARTBEAT for event in events) >= 1


def test_a_watch_behind_a_compaction_is_told_and_not_left_waiting(daemon):
    recording = Recording(daemon, 1, [""])
    try:
        recording.wait_ready()
        recording.process.send_signal(signal.SIGSTOP)
        walk = Walk()
        with daemon.client(timeout=60) as kv:
            with kv.pipeline() as pipeline:  # more than the daemon's queue for it
                for number in range(60_000):
                    pipeline.set(f"user:{number}", "x" * 100)
            kv.compact(walk.go_on(kv))
            recording.process.send_signal(signal.SIGCONT)
            kv.set(LAST, "")
            walk.go_on(kv)
        counts = [event.what for event in recording.finish(walk.changes)]
    finally:
        recording.close()
    assert COMPACTED in counts
