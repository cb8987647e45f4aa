"""`--local`: a daemon runs as long as a shell does, whichever shell started it and however that shell ended."""

import os
import signal

from kvd.client import Client
from kvsh.cli.local import is_free, local_daemon


def pid_of(kv):
    return kv.info("server")["server"]["pid"]


def test_a_killed_daemon_is_replaced_and_all_is_there(tmp_path):
    with local_daemon(str(tmp_path / "d")) as endpoint, Client(endpoint, timeout=30) as kv:
        kv.set("a", "1")
        before = pid_of(kv)
        os.kill(before, signal.SIGKILL)
        assert kv.get("a") == b"1"
        assert pid_of(kv) != before


def test_a_second_shell_joins_and_takes_over_when_the_first_leaves(tmp_path):
    directory = str(tmp_path / "d")
    first = local_daemon(directory)
    endpoint = first.__enter__()
    with local_daemon(directory) as joined, Client(joined, timeout=30) as kv, kv.watch() as watch:
        assert joined == endpoint
        watch.ready()
        kv.set("a", "1")
        before = pid_of(kv)
        first.__exit__(None, None, None)
        kv.once().set("b", "2")
        assert pid_of(kv) != before
        assert [next(watch).key, next(watch).key] == [b"a", b"b"]
    assert is_free(tmp_path / "d" / "lock")


def test_a_lock_that_is_not_there_is_free(tmp_path):
    assert is_free(tmp_path / "lock")
