"""--log-level debug: what the daemon does, batch by batch, and nothing of what clients keep in it."""

import re

import pytest
from support.running import Daemon, eventually

from kvd.limits import WAL_CHECKPOINT_BYTES


def lines(daemon, event):
    """Return the fields of each line of an event, as texts."""
    found = [line for line in daemon.log.read_text().splitlines() if f" event={event} " in line]
    return [dict(re.findall(r"(\w+)=(\"[^\"]*\"|\S+)", line)) for line in found]


@pytest.fixture
def daemon(tmp_path):
    daemon = Daemon(tmp_path, "--log-level", "debug", "--fsync", "never").start()
    yield daemon
    daemon.stop()


def test_batches_folds_checkpoints_and_connections_are_logged_and_no_key_and_no_value(daemon):
    with daemon.client() as kv:
        kv.set("hiddenkey", b"hiddenvalue")
        for number in range(2 + WAL_CHECKPOINT_BYTES // 2**21):
            kv.set(f"hiddenkey{number}", b"hiddenvalue" * (2**21 // 11))
        assert kv.get("hiddenkey") == b"hiddenvalue"
    eventually(lambda: lines(daemon, "fold") and lines(daemon, "checkpoint") and lines(daemon, "disconnected"))
    batches = lines(daemon, "batch")
    assert sum(int(batch["commands"]) for batch in batches) >= 11
    assert all(int(batch["us"]) >= int(batch["commit_us"]) for batch in batches)
    assert {batch["commits"] for batch in batches} == {"0", "1"}
    assert int(lines(daemon, "fold")[0]["revision"]) > 0
    assert int(lines(daemon, "checkpoint")[0]["bytes"]) > 0
    assert {line["socket"] for line in lines(daemon, "connected")} == {"commands"}
    assert "hidden" not in daemon.log.read_text()


def test_without_it_none_of_that_is(tmp_path):
    daemon = Daemon(tmp_path).start()
    with daemon.client() as kv:
        kv.set("key", b"value")
    daemon.stop()
    assert " level=debug " not in daemon.log.read_text()
