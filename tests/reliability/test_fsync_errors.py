"""An fsync that fails: no OK for what it was to make durable, no OK for any write after it, and reads work (R3).

After a failed fsync the page cache lies, so the daemon never tries again: a start ends, a daemon becomes read-only.
"""

import os
import shutil
import subprocess
import sys
import time
from pathlib import Path

import pytest
from support import small_kvd

from kvd.errors import ClientError, Internal, ReadOnly, Refused
from kvd.limits import FOLD_AGE_MS

WRITES = 120
KEYS = 20
INJECTED = "(INJECTED)"
TRACED = "trace=fsync,fdatasync"


def why_not_traced():
    """Return why no system call can be made to fail here, None if it can."""
    if shutil.which("strace") is None:
        return "strace is not here"
    tried = subprocess.run(
        ["strace", "-f", "-o", os.devnull, "-e", "inject=fsync:error=EIO", "true"], capture_output=True, check=False
    )
    return f"strace may not trace here: {tried.stderr.decode().strip()}" if tried.returncode else None


@pytest.fixture(scope="module", autouse=True)
def may_trace():
    if reason := why_not_traced():
        pytest.skip(reason)


@pytest.fixture
def make_failing(make_daemon):
    """Make a daemon with small limits, of which the fsync of each thread that has this number fails."""

    def make(number, *options):
        daemon = make_daemon("--log-level", "warning", *options)
        daemon.whole = [sys.executable, small_kvd.__file__, "serve"]
        daemon.trace = daemon.directory / "trace"
        inject = f"inject=fsync,fdatasync:error=EIO:when={number}"
        # -D: the daemon is our child and not strace's. -y: a call is traced with the path of its file.
        daemon.program = [
            "strace",
            "-D",
            "-f",
            "-y",
            "-o",
            str(daemon.trace),
            "-e",
            TRACED,
            "-e",
            inject,
            *daemon.whole,
        ]
        return daemon

    return make


def is_ready(daemon):
    """Return whether a daemon came up; else it has ended."""
    while daemon.process.poll() is None:
        try:
            with daemon.client(timeout=1) as kv:
                kv.ping()
                return True
        except ClientError:
            time.sleep(0.02)
    return False


def write_until_refused(kv):
    """Write until that is refused or enough; return the sent values by key, the acknowledged ones, and the refusal."""
    acknowledged, sent = [], {}
    for number in range(WRITES):
        some = {b"%d" % (number * step % KEYS): b"%d:%d:%s" % (number, step, b"x" * 600) for step in (1, 3, 7)}
        for key, value in some.items():
            sent.setdefault(key, []).append(value)
        try:
            kv.multiset(some)
        except Refused as error:
            return sent, acknowledged, error
        acknowledged += some.items()
    return sent, acknowledged, None


def read_only(kv):
    """Return why the daemon is read-only, once it is; None when it does not become so."""
    # Longer than what is written may wait for the fold, or the fsync that fails may come just before the kill.
    deadline = time.monotonic() + FOLD_AGE_MS / 1000 + 2
    while (reason := kv.info("server")["server"]["read_only"]) is None and time.monotonic() < deadline:
        time.sleep(0.05)
    return reason


def list_failed_files(daemon):
    """Return the names of the files with a failed fsync; SQLite ignores that of a folder."""
    under_way, failed = {}, []
    for line in daemon.trace.read_text().splitlines():
        thread, _, call = line.partition(" ")
        path = under_way.pop(thread) if "resumed>" in call else Path(call.partition("<")[2].partition(">")[0])
        if "<unfinished" in call:
            under_way[thread] = path
        elif INJECTED in call and path != daemon.data:
            failed.append(path.name)
    return failed


def check_refusals(kv, acknowledged, refusal):
    """The storage has failed: no write is taken any more, and every acknowledged write can be read."""
    assert isinstance(refusal, Internal | ReadOnly | None)
    assert read_only(kv) is not None, "a write was refused, and the daemon is not read-only"
    for write in (lambda: kv.set("later", "1"), lambda: kv.clear("0"), lambda: kv.once(b"t" * 16).incr("n")):
        with pytest.raises((ReadOnly, Internal)):
            write()
    assert dict(kv.items()) == dict(acknowledged), "the readable entries are not the acknowledged ones"


def check_after_restart(daemon, sent, acknowledged):
    """Start without faults: what was OK'd is there, nothing that was never sent, and all of it whole."""
    daemon.program = daemon.whole
    with daemon.start().client() as kv:
        changes = kv.changes(0, limit=10_000)
        written = [(change.key, change.value) for change in changes]
        assert written[: len(acknowledged)] == acknowledged, "an acknowledged write is lost, or a refused one is there"
        assert all(value in sent[key] for key, value in written)
        assert dict(kv.items()) == dict(written)
        assert [change.revision for change in changes] == list(range(1, kv.info("store")["store"]["revision"] + 1))
        kv.check()
        kv.set("again", "1")
    assert daemon.stop() == 0


def fail_one(daemon):
    """Let an fsync fail; return what it was of, and how it ended."""
    daemon.spawn()
    sent, acknowledged = {}, []
    if is_ready(daemon):
        with daemon.client() as kv:
            sent, acknowledged, refusal = write_until_refused(kv)
            is_ended = refusal is not None or read_only(kv) is not None
            if is_ended:
                check_refusals(kv, acknowledged, refusal)
        if is_ended:
            assert daemon.stop() == 74, daemon.log.read_text()
        else:
            daemon.kill()
            assert list_failed_files(daemon) == [], "an fsync failed, and the daemon went on"
        how = "read-only" if is_ended else "no fault"
    else:
        assert daemon.process.returncode == 74, daemon.log.read_text()
        how = "no start"
    failed = list_failed_files(daemon)
    check_after_restart(daemon, sent, acknowledged)
    return failed, how


# A start has some twenty, then come commits; the fold thread's are counted separately.
@pytest.mark.parametrize("number", [3, 9, 15, 24])
def test_an_fsync_that_fails_ends_the_writes_and_no_ok_is_wrong(make_failing, number):
    failed, how = fail_one(make_failing(number))
    assert failed
    assert how != "no fault"


def test_the_fsync_of_an_interval_that_fails_ends_the_writes(make_failing):
    failed, how = fail_one(make_failing(24, "--fsync", "interval"))
    assert failed
    assert how == "read-only"


@pytest.mark.long
@pytest.mark.parametrize("mode", ["always", "interval", "never"])
def test_each_fsync_that_fails(make_failing, mode):
    for number in range(1, 61):
        failed, how = fail_one(make_failing(number, "--fsync", mode))
        print(f"{mode}: fsync {number} of {failed or 'no file'}: {how}")
