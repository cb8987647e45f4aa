"""A disk that is full: writes get FULL, reads, CLEAR and COMPACT work, and writes resume when there is room (R4).

The disk is a tmpfs of 16 MiB, which takes root to mount.
"""

import os
import subprocess
import time
from collections import deque
from contextlib import suppress

import pytest
from support.drives import EngineOnStore

from kvd.commands.changes import Compact
from kvd.commands.values import Clear, Set
from kvd.errors import Full

DISK = "16m"
BATCH_BYTES = 8_000


@pytest.fixture
def disk(tmp_path):
    folder = tmp_path / "disk"
    folder.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", f"size={DISK}", "tmpfs", folder]
    try:
        subprocess.run(mount, check=True, capture_output=True)
    except (OSError, subprocess.CalledProcessError) as error:
        pytest.skip(f"no small disk can be mounted here: {error}")
    yield folder
    # Lazily: the daemon is stopped by a fixture that ends later or not at all.
    subprocess.run(["umount", "--lazy", folder], check=True)


@pytest.fixture
def daemon(make_daemon, disk):
    daemon = make_daemon("--log-level", "warning")
    daemon.data = disk / "data"
    return daemon.start()


class Known:
    """The acknowledged entries, and writes that keep account of them."""

    def __init__(self, size):
        self.size = size
        self.entries = {}
        self.count = 0
        self.order = deque()

    def set(self, kv):
        """Write one commit; raises Full, and then nothing of it is there."""
        some = {}
        for _ in range(max(1, BATCH_BYTES // self.size)):
            self.count += 1
            some[b"%08d" % self.count] = os.urandom(self.size)
        kv.multiset(some)
        self.entries |= some
        self.order += some

    def fill(self, kv):
        """Write until the disk is full; return how many commits that took."""
        count = 0
        with suppress(Full):
            while True:
                self.set(kv)
                count += 1
        return count

    def free(self, kv, parts):
        """Clear the oldest of `parts` parts of the entries, and compact the history."""
        for _ in range(len(self.order) // parts):
            self.clear(kv, self.order.popleft())
        compact(kv)

    def clear(self, kv, key):
        """Clear an entry. A clear takes disk space as well; COMPACT frees it."""
        deadline = time.monotonic() + 60
        while True:
            try:
                assert kv.clear(key) == 1
            except Full:
                assert time.monotonic() < deadline, kv.info("store")
                compact(kv)
                time.sleep(0.05)
            else:
                del self.entries[key]
                return

    def resume(self, kv):
        """Write once more, as soon as there is room again."""
        deadline = time.monotonic() + 60
        while True:
            try:
                return self.set(kv)
            except Full:
                assert time.monotonic() < deadline, kv.info("store")
                time.sleep(0.05)

    def check(self, kv):
        """Every acknowledged entry can be read, nothing else is stored, and the store is whole."""
        assert dict(kv.items()) == self.entries
        assert kv.count() == len(self.entries)

    def check_whole(self, kv):
        self.check(kv)
        assert kv.check()["entries"] >= 0


def compact(kv):
    """Forget all changes up to now."""
    kv.compact(kv.info("store")["store"]["revision"])


def fill_by_another(disk):
    """Let another program take all the room there is."""
    path = disk / "other"
    with suppress(OSError), path.open("wb", buffering=0) as other:
        for size in (65536, 4096, 1):
            with suppress(OSError):
                while True:
                    other.write(bytes(size))
    assert os.statvfs(disk).f_bavail == 0
    return path


@pytest.mark.parametrize("size", [100, 1_000, 100_000])
def test_a_disk_filled_by_writes_refuses_them_until_something_is_cleared(daemon, size):
    known = Known(size)
    with daemon.client(timeout=60) as kv:
        assert known.fill(kv) > 10
        known.check(kv)
        known.free(kv, 2)
        known.resume(kv)
        for _ in range(10):  # half was cleared and compacted: there is room for it as soon as it is folded
            known.resume(kv)
        known.fill(kv)
        known.check_whole(kv)
        daemon.kill()
        daemon.start()
        known.check(kv)
        known.fill(kv)
        known.free(kv, 3)
        known.resume(kv)
        known.check_whole(kv)
    assert daemon.stop() == 0
    with daemon.start().client() as kv:
        known.check_whole(kv)


@pytest.mark.parametrize("size", [100, 1_000, 100_000])
def test_a_disk_filled_by_another_program_takes_writes_again_when_that_has_made_room(daemon, disk, size):
    known = Known(size)
    with daemon.client(timeout=60) as kv:
        for _ in range(20):
            known.set(kv)
        other = fill_by_another(disk)
        known.fill(kv)
        with pytest.raises(Full):
            known.set(kv)
        known.check(kv)
        known.free(kv, 4)
        known.check_whole(kv)
        daemon.kill()
        fill_by_another(disk)
        daemon.start()
        known.check(kv)
        known.fill(kv)
        known.free(kv, 4)
        known.check(kv)
        other.unlink()
        known.resume(kv)
        known.check_whole(kv)
    assert daemon.stop() == 0
    with daemon.start().client() as kv:
        known.check_whole(kv)


def test_clear_and_compact_free_pages_when_another_program_takes_all_the_room_while_the_fold_lags(disk):
    """The journal's WAL and the overlay took more than the ballast gave: COMPACT got FULL, and nothing became free."""
    drive = EngineOnStore(disk / "data")
    store = drive.store
    jobs, wal = store.maintenance.jobs, store.maintenance.wal
    begin_fold, jobs.begin_fold = jobs.begin_fold, lambda *, is_short=False: is_short and begin_fold(is_short=True)
    wal.checkpoint_bytes, checkpoint_bytes = 1 << 40, wal.checkpoint_bytes
    keys = [b"%03d" % number for number in range(20)]
    for key in keys:
        drive.apply(Set(key, os.urandom(100_000)))
    jobs.begin_fold, wal.checkpoint_bytes = begin_fold, checkpoint_bytes
    fill_by_another(disk)
    with pytest.raises(Full):
        drive.apply(Set(b"more", bytes(100_000)))
    for key in keys[::4]:
        assert drive.apply(Clear([key])) == [1]
    drive.apply(Compact(store.revision))
    drive.idle()
    assert (jobs.error, jobs.durable) == (None, store.revision)
    assert store.journal.free_bytes() > 0
    store.close()


@pytest.mark.long
@pytest.mark.parametrize("size", [100, 1_000, 5_000, 100_000, 1_000_000])
def test_a_full_disk_again_and_again(daemon, size):
    known = Known(size)
    with daemon.client(timeout=60) as kv:
        for number in range(20):
            known.fill(kv)
            if number % 3 == 0:
                daemon.kill()
                daemon.start()
            known.check(kv)
            known.free(kv, 2 + number % 3)
            known.resume(kv)
        known.check_whole(kv)
    print(f"values of {size} bytes: {known.count} written, {len(known.entries)} there at the end")
