"""The sweep is bounded in time, and others are served between two."""

import pytest

from kvd.limits import (
    EXPIRY_LATE_MS,
    EXPIRY_LATE_SWEEPS,
    EXPIRY_SWEEP_KEYS_MAX,
    EXPIRY_SWEEP_KEYS_MIN,
    EXPIRY_SWEEP_US,
    EXPIRY_SWEEP_US_MAX,
)
from kvd.server import sweep
from kvd.server.sweep import Pace

BUDGET_S = EXPIRY_SWEEP_US / 1_000_000


def settle_pace(key_s, wait_s=0.0, now=0):
    """Return the pace after many sweeps: each key took `key_s`, each commit waited `wait_s`."""
    pace = Pace()
    for _ in range(200):
        cpu_s = pace.keys * key_s
        pace.note(pace.keys, cpu_s + wait_s, cpu_s, now, is_more=True)
    return pace


@pytest.mark.parametrize("key_us", [0.5, 3, 6, 20])
def test_sweeps_come_to_take_the_time_they_may(key_us):
    taken_us = settle_pace(key_us / 1_000_000).keys * key_us
    assert EXPIRY_SWEEP_US - key_us <= taken_us <= EXPIRY_SWEEP_US


def test_sweeps_have_some_keys_and_not_too_many():
    assert settle_pace(1.0).keys == EXPIRY_SWEEP_KEYS_MIN
    assert settle_pace(0.0).keys == EXPIRY_SWEEP_KEYS_MAX


@pytest.mark.parametrize(
    ("wait_s", "budget_s"),
    [(0.0, BUDGET_S), (0.000_2, BUDGET_S), (0.004, 0.002), (1.0, EXPIRY_SWEEP_US_MAX / 1_000_000)],
)
def test_where_the_disk_is_slow_a_sweep_is_worth_its_commit(wait_s, budget_s):
    assert settle_pace(0.000_01, wait_s).budget_s(0) == pytest.approx(budget_s)


def test_one_slow_sweep_makes_the_next_small_and_is_soon_forgotten():
    pace = settle_pace(0.000_003)
    usual = pace.keys
    pace.note(usual, 0.1, 0.1, 0, is_more=True)
    assert pace.keys == EXPIRY_SWEEP_KEYS_MIN
    for _ in range(6):
        pace.note(pace.keys, pace.keys * 0.000_003, pace.keys * 0.000_003, 0, is_more=True)
    assert pace.keys == usual


def test_a_sweep_that_is_late_takes_more_until_all_is_swept():
    pace = settle_pace(0.000_003)
    assert pace.budget_s(EXPIRY_LATE_MS) == BUDGET_S
    assert pace.budget_s(EXPIRY_LATE_MS + 1) == BUDGET_S * EXPIRY_LATE_SWEEPS
    pace.note(1, 0.0, 0.0, 1, is_more=False)
    assert pace.budget_s(10 * EXPIRY_LATE_MS) == BUDGET_S


def due_rig(rig, count=100):
    """Let many keys expire; no sweep has been made yet."""
    rig.server.loop.parts.timers.sweep.next = rig.server.clock.now() + 3_600_000
    for number in range(count):
        rig.ask("SET", b"%d" % number, b"", 1)
    while rig.server.clock.now() <= rig.store.time + 1:
        rig.server.loop.turn(1)
    rig.server.loop.parts.timers.sweep.next = 0
    return rig


def test_a_sweep_leaves_off_when_its_time_is_over(rig, monkeypatch):
    due_rig(rig)
    monkeypatch.setattr(sweep, "EXPIRY_SWEEP_KEYS_MIN", 100)
    rig.server.loop.parts.timers.sweep._pace.keys = 100
    monkeypatch.setattr(Pace, "budget_s", lambda *_: 0.0)
    for left in (99, 98):
        rig.server.loop.parts.timers.sweep.run(rig.server.clock.now())
        assert rig.store.entries == left
        assert rig.server.loop.parts.timers.sweep.next <= rig.server.clock.now() + 1


def test_the_loop_is_free_for_as_long_as_a_sweep_took(rig, monkeypatch):
    due_rig(rig)
    clock = [100.0]
    monkeypatch.setattr(sweep, "perf_counter", lambda: clock[0])
    real = rig.server.pipeline.commit

    def commit():
        clock[0] += 2.0
        return real()

    monkeypatch.setattr(rig.server.pipeline, "commit", commit)
    rig.server.loop.parts.timers.sweep.run(rig.server.clock.now())
    later = rig.server.clock.now() + 1_000
    clock[0] += 1.9
    assert not rig.server.loop.parts.timers.sweep.is_due(later)
    clock[0] += 0.2
    assert rig.server.loop.parts.timers.sweep.is_due(later)


def test_requests_are_answered_between_two_sweeps(rig):
    due_rig(rig, 300)
    left = []
    while rig.store.entries:
        assert rig.ask("PING")[0] == "OK"
        left.append(rig.store.entries)
    assert len(set(left)) > 3
