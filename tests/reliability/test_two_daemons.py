"""Two daemons, one directory; files moved away under one (R7): an error, and the files stay untouched.

The refusal of a second daemon on the same path or ipc endpoint is in tests/daemon/test_serve.py.
"""

import contextlib
import os
import shutil
import subprocess
import time
from pathlib import Path

import pytest
from support.running import serve

from kvd.errors import Internal, ReadOnly

FILES = ["journal.db", "journal.db-wal", "table.db", "table.db-wal"]


def serve_too(data, directory):
    """Run a second daemon to its end; return exit code and what it said."""
    return serve("--data", data, "--listen", f"ipc://{directory}/c2.sock", "--publish", f"ipc://{directory}/p2.sock")


def make_link(data):
    path = data.parent / "link"
    path.symlink_to(data)
    return path


def through_proc(data):
    return Path(f"/proc/self/root{data}")


@contextlib.contextmanager
def bound(data):
    path = data.parent / "bound"
    path.mkdir()
    if subprocess.run(["mount", "--bind", data, path], capture_output=True, check=False).returncode:
        pytest.skip("may not mount here")
    try:
        yield path
    finally:
        subprocess.run(["umount", path], check=True)


@pytest.mark.parametrize("way", [make_link, through_proc, bound])
def test_a_second_daemon_by_another_path_is_refused(daemon, kv, way):
    kv.set("a", "1")
    found = way(daemon.data)
    with found if way is bound else contextlib.nullcontext(found) as path:
        code, said = serve_too(path, daemon.directory)
    assert (code, f"is served by another kvd (process {daemon.process.pid})" in said) == (69, True), said
    kv.set("a", "2")
    assert (kv.get("a"), kv.check()["changes"]) == (b"2", 2)
    assert daemon.stop() == 0


@pytest.mark.parametrize("name", FILES)
def test_a_file_that_is_missing_after_a_kill_is_refused_until_it_is_put_back(daemon, kv, name):
    kv.set("a", "1")
    daemon.kill()
    (daemon.data / name).rename(daemon.directory / "aside")
    for _ in range(2):
        code, said = serve_too(daemon.data, daemon.directory)
        assert (code, f"{name} is missing" in said) == (74, True), said
    (daemon.directory / "aside").rename(daemon.data / name)
    daemon.start()
    with daemon.client() as again:
        assert again.get("a") == b"1"


def move(path):
    path.rename(path.with_name("moved"))


def replace(path):
    shutil.copy(path, path.with_name("copy"))
    path.with_name("copy").replace(path)


def until_read_only(kv):
    """Write until the daemon takes no more; return what it says. It looks every five seconds."""
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        try:
            kv.set("b", "2")
        except (ReadOnly, Internal) as error:
            return str(error)
        time.sleep(0.02)
    raise AssertionError("it keeps writing what would be lost")


@pytest.mark.parametrize(
    ("name", "how"),
    [
        ("journal.db", move),
        *[
            pytest.param(name, how, marks=pytest.mark.long)
            for name in FILES
            for how in (move, replace, os.remove)
            if (name, how) != ("journal.db", move)
        ],
    ],
)
def test_a_file_taken_away_under_a_daemon_makes_it_read_only(daemon, kv, name, how):
    kv.set("a", "1")
    how(daemon.data / name)
    said = until_read_only(kv)
    # SQLite may report a missing WAL first, when the fold opens it.
    assert f"{name} was moved or removed while it was in use" in said or (name.endswith("-wal") and "I/O" in said)
    assert kv.get("a") == b"1", "durable entries can be read"
    assert kv.info("server")["server"]["read_only"]
    assert daemon.stop() == 74
    assert "event=read_only" in daemon.log.read_text()
