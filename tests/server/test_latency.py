"""The histogram of requests, and the INFO fields of commands, commits, folds and the process."""

import os
import time

import pytest
import zmq

from kvd import wire
from kvd.commands.server import Ping
from kvd.commands.values import Incr
from kvd.server.latency import BOUNDS_US, Latency


@pytest.mark.parametrize(
    ("us", "bound"), [(0, 16), (15, 16), (16, 32), (31, 32), (1000, 1024), (1024, 2048), (2**24 - 1, 2**24)]
)
def test_a_request_is_below_the_next_bound_and_not_below_the_one_before(us, bound):
    latency = Latency()
    latency.note(3, (us + 0.5) / 1_000_000)
    facts = latency.facts()
    assert facts[f"below_{bound}_us"] == 3
    assert sum(facts[f"below_{each}_us"] for each in BOUNDS_US if each < bound) == 0


def test_what_takes_longer_than_all_bounds_is_in_the_sum_alone():
    latency = Latency()
    latency.note(2, 40)
    latency.note(1, 0.001)
    facts = latency.facts()
    assert facts[f"below_{BOUNDS_US[-1]}_us"] == 1
    assert (facts["requests"], facts["us"], facts["max_us"]) == (3, 80_001_000, 40_000_000)


def test_info_tells_each_command_with_its_calls_and_its_time(rig):
    for number in range(3):
        rig.ask("SET", b"k%d" % number, b"v")
    rig.ask("GET", b"k1")
    rig.ask("NONSENSE")
    told = rig.ask("INFO", "commands")[2]["commands"]
    assert {name: facts["calls"] for name, facts in told.items()} == {"SET": 3, "GET": 1}
    for facts in told.values():
        assert 0 < facts["mean_us"] * facts["calls"] <= facts["us"] + 1 < 1_000_000


def test_a_command_that_takes_long_is_the_one_that_is_told_so(rig, monkeypatch):
    real = Incr.run

    def run(self, entries, now):
        time.sleep(0.3)
        return real(self, entries, now)

    monkeypatch.setattr(Incr, "run", run)
    rig.send(["SET", b"a", b"1"], ["INCR", b"n"], ["GET", b"a"])
    rig.turns(3)
    told = rig.ask("INFO", "commands")[2]["commands"]
    assert told["INCR"]["us"] >= 300_000
    assert told["SET"]["us"] + told["GET"]["us"] < 300_000


def test_a_batch_that_takes_too_long_is_answered_in_parts(rig, monkeypatch):
    monkeypatch.setattr("kvd.server.executor.BATCH_NS_MAX", 0)
    before = rig.server.pipeline.batches
    rig.server.loop.run_batch([([b"x", b""], wire.encode(Ping())) for _ in range(3)])
    assert rig.server.pipeline.batches == before + 3


def test_info_tells_requests_and_commits(rig):
    rig.ask("SET", b"a", b"1")
    rig.ask("GET", b"a")
    told = rig.ask("INFO", "latency")[2]["latency"]
    assert (told["requests"], told["commits"]) == (2, 1)
    assert 0 < told["commit_max_us"] <= told["commit_us"] <= told["us"]


def test_info_tells_folds_and_both_wals(rig):
    rig.ask("SET", b"a", b"1")
    rig.store.maintenance.jobs.begin_fold()
    rig.store.maintenance.jobs.wait_for_all()
    rig.ask("SET", b"b", b"1")
    told = rig.ask("INFO", "store")[2]["store"]
    assert (told["folds"], told["folded"]) == (1, 1)
    assert told["fold_last_ms"] >= 0
    assert told["wal_bytes"] >= told["wal_used_bytes"] > 0
    assert told["table_wal_bytes"] > 0


def test_info_tells_the_process(rig):
    told = rig.ask("INFO", "process")[2]["process"]
    assert told["pid"] == os.getpid()
    assert told["started"] <= rig.server.clock.now()
    assert 0 < told["memory_bytes"] < told["memory_bytes_max"]
    assert {"version", "python", "libzmq", "cpu_ms", "memory_is_tight", "connections_max"} <= set(told)


def test_info_counts_the_watchers_that_were_cut(rig):
    with rig.context.socket(zmq.SUB) as sub:
        sub.connect(rig.server.sockets.publishing[0].endpoint)
        while not rig.server.sockets.watchers.count:
            rig.server.loop.turn(20)
        rig.server.sockets.watchers.disconnect_all()
        assert rig.ask("INFO", "traffic")[2]["traffic"]["watchers_cut"] == 1
