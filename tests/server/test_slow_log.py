"""The slow log: slow commands are kept with their client and without values, up to a bound."""

import time
from types import SimpleNamespace

import pytest
from support.drives import evict_all

from kvd import wire
from kvd.commands.atomic import Transaction
from kvd.commands.keys import Scan
from kvd.commands.server import Ping
from kvd.commands.values import Get, Incr, MultiGet, Set
from kvd.server.slow_log import COMMIT, READ_AHEAD, SlowLog

VALUE = b"a secret value"
RESET = [None, True]


def slow_down(monkeypatch, cls, seconds):
    real = cls.run
    monkeypatch.setattr(cls, "run", lambda self, entries, now: (time.sleep(seconds), real(self, entries, now))[1])


@pytest.mark.parametrize(
    ("command", "key", "keys"),
    [
        (Get(b"a"), b"a", 1),
        (Set(b"k" * 1000, VALUE), b"k" * 128, 1),
        (MultiGet([b"a", b"b"]), b"a", 2),
        (Scan(), None, 0),
        (Scan(b"user:"), b"user:", 1),
        (Ping(VALUE), None, 0),
        (Transaction([(b"c", 1)], [Set(b"a", VALUE), Get(b"b")]), b"c", 3),
    ],
)
def test_a_row_tells_the_keys_and_no_value(command, key, keys):
    log = SlowLog()
    log.note(command, None, 12_345_678, 1_700_000_000_000)
    [row] = log.rows(10, forget=False)
    name = command.command_name()
    assert row == {
        "number": 1, "time": 1_700_000_000_000, "us": 12_345, "command": name, "key": key, "keys": keys, "who": None
    }  # fmt: skip
    assert VALUE not in repr(row).encode()


def test_it_keeps_the_last_and_tells_the_newest_first():
    log = SlowLog(0, 3)
    for number in range(5):
        log.note(Get(b"%d" % number), None, number, 0)
    assert [row["key"] for row in log.rows(2, forget=False)] == [b"4", b"3"]
    assert [row["number"] for row in log.rows(10, forget=True)] == [5, 4, 3]
    assert log.rows(10, forget=False) == []
    log.note(Get(b"a"), None, 1, 0)
    assert log.rows(10, forget=False)[0]["number"] == 6


def test_only_what_takes_long_is_kept(rig, monkeypatch):
    slow_down(monkeypatch, Incr, 0.3)
    rig.server.slow_log.set_threshold(250_000)
    rig.send(["SET", b"a", VALUE], ["INCR", b"n"], ["GET", b"a"])
    rig.turns(3)
    rows = [row for row in rig.ask("SLOWLOG")[2] if row["command"] != COMMIT]
    assert [(row["command"], row["key"], row["who"]) for row in rows] == [("INCR", b"n", None)]
    assert rows[0]["us"] >= 300_000
    assert abs(rows[0]["time"] - time.time() * 1000) < 60_000
    assert rig.ask("INFO", "latency")[2]["latency"]["slow_us"] == 250_000


def test_reset_tells_and_forgets(rig):
    rig.server.slow_log.set_threshold(0)
    rig.ask("GET", b"a")
    rig.server.slow_log.set_threshold(-1)
    assert [row["command"] for row in rig.ask("SLOWLOG", *RESET)[2]] == ["GET"]
    assert rig.ask("SLOWLOG")[2] == []
    rig.ask("GET", b"a")
    assert rig.ask("SLOWLOG")[2] == []


def test_a_commit_that_takes_long_is_told_as_what_it_is(rig, monkeypatch):
    real = rig.store.commit
    monkeypatch.setattr(rig.store, "commit", lambda staged: (time.sleep(0.3), real(staged))[1])
    rig.server.slow_log.set_threshold(250_000)
    rig.ask("MULTISET", [[b"a", VALUE], [b"b", VALUE]])
    [row] = rig.ask("SLOWLOG")[2]
    assert (row["command"], row["key"], row["keys"]) == (COMMIT, None, 2)
    assert row["us"] >= 300_000


def test_what_is_no_command_or_is_denied_is_not_kept(rig):
    rig.server.slow_log.set_threshold(0)
    rig.ask("NONSENSE")
    rig.ask("GET", 7)
    assert rig.ask("SLOWLOG")[2] == []


def test_where_clients_have_keys_the_name_is_told(rig):
    executor = rig.server.executor
    executor.authenticator = SimpleNamespace(check=lambda user, command: None, name_of={"her key": "ada"}.get)
    executor.engine.staging.drop()
    executor.slow_log.set_threshold(0)
    executor.run_batch([([b"peer", b""], wire.encode(Get(b"a")), "her key")], 1)
    assert [row["who"] for row in executor.slow_log.rows(1, forget=False)] == ["ada"]


def test_the_settings_of_a_server(make_rig):
    rig = make_rig(server={"slowlog": SlowLog(0, 2)})
    for _ in range(3):
        rig.ask("PING")
    assert len(rig.ask("SLOWLOG")[2]) == 2


def test_reading_ahead_that_takes_long_is_told_with_the_number_of_keys(rig):
    rig.ask("MULTISET", [[b"%d" % number, VALUE] for number in range(9)])
    rig.store.maintenance.jobs.begin_fold()
    rig.store.maintenance.jobs.wait_for_all()
    evict_all(rig.store)
    executor = rig.server.executor
    executor.engine.staging.drop()
    executor.slow_log.set_threshold(0)
    for keys in ((0, 1, 2), (1, 2, 3, 4)):
        executor.run_batch([([b"peer", b""], wire.encode(Get(b"%d" % key))) for key in keys], 1)
    rows = executor.slow_log.rows(10, forget=False)
    assert [(row["command"], row["keys"]) for row in rows[:5]] == [*[("GET", 1)] * 4, (READ_AHEAD, 2)]
