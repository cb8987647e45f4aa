"""kill -9 at random moments under eight writers: what was OK'd is there, revisions never fall, no hole (R1)."""

import random
import threading
import time
from dataclasses import dataclass, field

import pytest

from kvd.client import Client
from kvd.errors import ClientError, Refused

WRITERS = 8


@dataclass
class Writer:
    """Sets keys of its own to values never used before, each under ONCE with a token of its own."""

    number: int
    endpoint: str
    acknowledged: dict[bytes, bytes] = field(default_factory=dict)
    sent: dict[bytes, set[bytes]] = field(default_factory=dict)
    revisions: list[int] = field(default_factory=list)
    count: int = 0
    stop: bool = False

    def run(self):
        with Client(self.endpoint, timeout=60) as kv:
            while not self.stop:
                self.write(kv)

    def write(self, kv):
        self.count += 1
        key, value = b"w%d:%d" % (self.number, self.count % 50), b"v%d:%d" % (self.number, self.count)
        self.sent.setdefault(key, set()).add(value)
        try:
            kv.once(b"token:%d:%d" % (self.number, self.count)).set(key, value)
        except (ClientError, Refused):
            return
        self.acknowledged[key] = value
        self.revisions.append(kv.entry(key).revision)


def rounds(daemon, count, seed):
    """Kill and restart several times under load; return the writers and the longest restart in seconds."""
    chance = random.Random(seed)
    writers = [Writer(number, daemon.commands) for number in range(WRITERS)]
    threads = [threading.Thread(target=writer.run) for writer in writers]
    for thread in threads:
        thread.start()
    longest = 0.0
    for _ in range(count):
        time.sleep(chance.uniform(0.005, 0.2))
        daemon.kill()
        begun = time.monotonic()
        daemon.start()
        longest = max(longest, time.monotonic() - begun)
    for writer in writers:
        writer.stop = True
    for thread in threads:
        thread.join()
    return writers, longest


def check(daemon, writers):
    """Compare the stored entries with the writes that were acknowledged and sent."""
    with daemon.client() as kv:
        for writer in writers:
            for key, value in writer.acknowledged.items():
                # Each writer waits for each reply, so the last acknowledged one stays or a later one sent replaced it.
                found = kv.get(key)
                later = {v for v in writer.sent[key] if int(v.split(b":")[1]) > int(value.split(b":")[1])}
                assert found == value or found in later
            assert writer.revisions == sorted(writer.revisions)
        head = kv.info("store")["store"]["revision"]
        changes = []
        while len(changes) < head:
            changes += kv.changes(changes[-1].revision if changes else 0, limit=10_000)
        assert [change.revision for change in changes] == list(range(1, head + 1))
        sent = set().union(*[values for writer in writers for values in writer.sent.values()])
        values = [change.value for change in changes]
        assert set(values) <= sent
        assert len(values) == len(set(values)), "a value was written twice: ONCE ran twice"
        assert {value for writer in writers for value in writer.acknowledged.values()} <= set(values)
        last = {change.key: change.value for change in changes}
        assert dict(kv.items()) == last


def test_twenty_kills_lose_nothing(make_daemon):
    daemon = make_daemon("--log-level", "warning").start()
    writers, longest = rounds(daemon, 20, seed=1)
    check(daemon, writers)
    assert sum(len(writer.acknowledged) for writer in writers) > 0
    print(f"20 kills, longest restart {longest:.2f} s; the promise is two seconds")


@pytest.mark.long
def test_five_hundred_kills_lose_nothing(make_daemon):
    daemon = make_daemon("--log-level", "warning").start()
    writers, longest = rounds(daemon, 500, seed=time.time_ns())
    check(daemon, writers)
    print(f"500 kills, {sum(w.count for w in writers)} writes, longest restart {longest:.2f} s")
