"""Power loss: whatever the disk had not synced may be gone, or half there. Nothing OK'd is lost with `always` (R2).

A daemon with small limits runs under lossy_disk.c, so that folds, checkpoints, trims and restarts come within
seconds; then the power fails at moments swept over the log, and a store is opened on what may be left.
"""

import random
import shutil
import sys
import threading
import time
from dataclasses import dataclass, field

import pytest
from support import lossy_disk, small_kvd
from support.running import eventually

from kvd.client import Client
from kvd.commands.atomic import Once
from kvd.commands.model import Change
from kvd.commands.values import Clear, Set
from kvd.errors import ClientError, KvdError
from kvd.storage import Store, check

pytestmark = pytest.mark.skipif(shutil.which("gcc") is None, reason="gcc is not here to build lossy_disk.c")
WRITERS = 3


@pytest.fixture(scope="session")
def library(tmp_path_factory):
    return lossy_disk.build(tmp_path_factory.mktemp("lossy"))


@pytest.fixture(autouse=True)
def small_limits(monkeypatch):
    for module, name, value in small_kvd.LIMITS:
        monkeypatch.setattr(module, name, value)


@dataclass
class Story:
    """The clients' knowledge: all changes ever, and the time, revision and token of each OK."""

    chance: random.Random
    changes: dict[int, Change] = field(default_factory=dict)
    told: list[tuple[int, int, bytes | None]] = field(default_factory=list)  # CLOCK_MONOTONIC in ns, revision, token
    is_over: bool = False

    def write(self, endpoint: str, number: int) -> None:
        """Write until the end, whatever becomes of the daemon."""
        chance = random.Random(self.chance.random())
        with Client(endpoint, timeout=5) as kv:
            while not self.is_over:
                command = a_command(number, chance)
                token = b"token:%d" % chance.getrandbits(60) if chance.random() < 0.3 else None
                try:
                    answer = kv.answer(command if token is None else Once(token, command))
                except ClientError:
                    time.sleep(0.01)
                else:
                    self.told.append((time.monotonic_ns(), answer.revision, token))

    def follow(self, kv: Client) -> None:
        """Take note of what was changed since the last time."""
        while changes := kv.changes(self.last, limit=10_000):
            self.changes.update({change.revision: change for change in changes})

    @property
    def last(self) -> int:
        return max(self.changes, default=0)

    def entries(self, upto: int) -> dict[bytes, tuple[int, bytes]]:
        """Return revision and value by key, as of a revision."""
        entries: dict[bytes, tuple[int, bytes]] = {}
        for revision in range(1, upto + 1):
            change = self.changes[revision]
            entries.pop(change.key, None)
            if change.value is not None:
                entries[change.key] = (revision, change.value)
        return entries


def a_command(number, chance):
    """Return a write to a key of this writer alone, of small values and large ones."""
    key = b"%d:%d" % (number, chance.randrange(15))
    if chance.random() < 0.15:
        return Clear([key])
    size = chance.choice([5, 50, 500, 6_000])
    return Set(key, chance.randbytes(size), 50 if chance.random() < 0.05 else None)


@pytest.fixture
def make_logged(make_daemon, library):
    """Make daemons with small limits; their writes are logged."""

    def make(*options):
        daemon = make_daemon("--log-level", "warning", *options)
        daemon.writes = daemon.directory / "writes"
        environment = [f"LD_PRELOAD={library}", f"LOSSY_FOLDER={daemon.data}", f"LOSSY_LOG={daemon.writes}"]
        daemon.program = ["env", *environment, sys.executable, small_kvd.__file__, "serve"]
        return daemon

    return make


def live(daemon, story, ends):
    """Let clients write to a daemon that ends and is started again, each time as `ends` says."""
    threads = [threading.Thread(target=story.write, args=(daemon.commands, number)) for number in range(WRITERS)]
    for thread in threads:
        thread.start()
    try:
        for end in ends:
            daemon.start()
            for _ in range(story.chance.randint(2, 4)):
                time.sleep(0.08)
                goal = story.last + 20
                with daemon.client() as kv:
                    eventually(lambda kv=kv, goal=goal: story.follow(kv) or story.last >= goal, 300)
                    kv.compact(story.last * 3 // 4)
            if end == "kill":
                daemon.kill()
                lossy_disk.cut_tail(daemon.writes)
            else:
                assert daemon.stop() == 0, daemon.log.read_text()
    finally:
        story.is_over = True
        for thread in threads:
            thread.join()
    with daemon.start().client() as kv:
        story.follow(kv)
    assert daemon.stop() == 0


def moments(log, count, chance):
    """Return after how many records the power fails: anywhere, and often just after a folder or lock was written to."""
    seldom = [n for n, record in enumerate(log) if record.kind in "CUR" or record.path.endswith("/lock")]
    some = chance.sample(seldom, min(len(seldom), count // 3))
    return sorted({*some, *chance.sample(range(len(log)), min(len(log), count - len(some)))})


def sweep(folder, disk, log, count, chance):
    """Let the power fail at several moments; yield the time, how, and the folder as it may be then."""
    due = moments(log, count, chance)
    for number, record in enumerate(log):
        disk.feed(record)
        if due and number == due[0]:
            due.pop(0)
            for loss in lossy_disk.LOSSES:
                shutil.rmtree(folder, ignore_errors=True)
                folder.mkdir()
                for name, content in disk.after_power_loss(loss, chance).items():
                    (folder / name).write_bytes(content)
                yield record.time, f"{loss} after record {number}, {record[:4]}", folder


def verify(folder, story, mode, least, tokens):
    """Open what is left: a prefix of what was committed, and all up to the revision `least`. Return its length."""
    store = Store(folder, fsync=mode)
    try:
        last = store.revision
        assert least <= last <= story.last, f"{least} was acknowledged, {last} is stored"
        found = {entry.key: (entry.revision, entry.value) for entry in store.scan()}
        assert found == story.entries(last)
        assert store.entries == len(found)
        upto, changes = store.changes(store.compacted, b"", 10**6)
        assert upto == last
        assert changes == [story.changes[revision] for revision in range(store.compacted + 1, last + 1)]
        assert all(store.find_once(token) is not None for token in tokens)
    finally:
        store.close()
    assert check(folder, lambda: None).damages == []
    return last


def power_fails(tmp_path, make_logged, mode, *, seed, ends, count):
    """Live, then let the power fail at several moments; return how often a store was opened."""
    chance = random.Random(seed)
    story = Story(chance)
    daemon = make_logged("--fsync", mode)
    live(daemon, story, ends)
    log = list(lossy_disk.records(daemon.writes))
    opened, prefixes = 0, set()
    for moment, how, folder in sweep(tmp_path / "after", lossy_disk.Disk(daemon.data), log, count, chance):
        told = [(revision, token) for at, revision, token in story.told if at <= moment and mode == "always"]
        least = max((revision for revision, _ in told), default=0)
        try:
            prefixes.add(verify(folder, story, mode, least, [token for _, token in told if token]))
        except (AssertionError, KvdError) as error:
            kept = shutil.copytree(folder, folder.with_name("failed"), dirs_exist_ok=True)
            raise AssertionError(f"{mode}, seed {seed}, {how}: {error}; see {kept}") from error
        opened += 1
    assert len(prefixes) > 3, "the power never failed while something was written"
    kinds = {record.path.rpartition("/")[2] for record in log if record.kind == "E"}
    assert {"journal.db", "journal.db-wal", "table.db", "table.db-wal"} <= kinds, "no checkpoint came"
    return opened


@pytest.mark.parametrize("mode", ["always", "interval", "never"])
def test_after_a_power_loss_what_was_okd_is_there_and_the_rest_is_a_prefix(tmp_path, make_logged, mode):
    power_fails(tmp_path, make_logged, mode, seed=1, ends=["stop", "kill"], count=5)


@pytest.mark.long
@pytest.mark.parametrize("mode", ["always", "interval", "never"])
def test_after_thousands_of_power_losses_too(tmp_path, make_logged, mode):
    for number in range(5):
        seed = time.time_ns()
        (folder := tmp_path / str(number)).mkdir()
        ends = random.Random(seed).choices(["stop", "kill"], k=5)
        opened = power_fails(folder, make_logged, mode, seed=seed, ends=ends, count=100)
        print(f"{mode}: seed {seed}, {opened} power losses, {ends}")
        shutil.rmtree(folder)
