"""The machine's clock jumps by an hour, forth and back: no revision and no time runs back in the journal (R16)."""

import sys
import time
from itertools import pairwise

import pytest

from kvd.server import clock
from kvd.server.clock import Clock

HOUR_MS = 3_600_000
SHIFTED = """
import pathlib, sys, time
real, offset = time.time_ns, pathlib.Path(sys.argv.pop(1))
time.time_ns = lambda: real() + int(offset.read_text()) * 1_000_000
from kvd.cli import main
main()
"""


def shift(daemon, by_ms):
    """Shift the clock that a daemon sees by this offset, from now on."""
    (daemon.directory / "new").write_text(str(by_ms))
    (daemon.directory / "new").rename(daemon.directory / "offset")  # in one step, or it might read half a number


@pytest.fixture
def clock_daemon(make_daemon):
    daemon = make_daemon()
    daemon.program = [sys.executable, "-c", SHIFTED, str(daemon.directory / "offset"), "serve"]
    shift(daemon, 0)
    return daemon.start()


def check_journal(kv):
    """Return the times of all changes, which never run back, as the revisions do not."""
    changes = kv.changes(0, limit=10_000)
    assert [change.revision for change in changes] == list(range(1, len(changes) + 1))
    assert all(a.time <= b.time for a, b in pairwise(changes))
    return [change.time for change in changes]


@pytest.mark.parametrize("shifts", [[-HOUR_MS], [HOUR_MS], [HOUR_MS, 0], [-HOUR_MS, HOUR_MS, -HOUR_MS]])
def test_a_clock_set_while_it_runs_and_between_two_runs(clock_daemon, shifts):
    for restarts in (False, True):
        for by_ms in shifts:
            with clock_daemon.client() as kv:
                kv.set("before", "x")
            if restarts:
                clock_daemon.kill()
            shift(clock_daemon, by_ms)
            if restarts:
                clock_daemon.start()
            with clock_daemon.client() as kv:
                kv.set("after", "x")
                check_journal(kv)


def test_a_clock_set_back_expires_nothing_early_and_goes_on(clock_daemon):
    with clock_daemon.client() as kv:
        begun = time.monotonic()
        kv.set("k", "x", ttl=1)
        shift(clock_daemon, -HOUR_MS)
        kv.set("other", "x")
        first, second = check_journal(kv)
        assert 0 <= second - first < HOUR_MS / 2  # it did not go back
        limit = begun + 20
        while kv.get("k") is not None:
            assert time.monotonic() < limit
        assert time.monotonic() - begun >= 1
        assert kv.changes(2, wait=0.2) in ([], kv.changes(2)), "a wait ends"


def test_a_clock_set_forward_expires_at_once_and_stays_there_when_set_right_again(clock_daemon):
    with clock_daemon.client() as kv:
        kv.set("k", "x", ttl=600)
        shift(clock_daemon, HOUR_MS)
        assert kv.get("k") is None
        kv.set("k", "y", ttl=600)
        shift(clock_daemon, 0)
        assert kv.get("k") == b"y", "an hour ahead is the time now, until the machine's clock has caught up"
        check_journal(kv)
        with kv.watch(since=0) as watch:
            assert watch.ready() <= 3, "heartbeats continue"


def test_a_watch_is_not_broken_off_while_the_clock_is_ahead(clock_daemon):
    states = []
    with clock_daemon.client() as kv, kv.watch(on_state=states.append) as watch:
        watch.ready()
        shift(clock_daemon, -HOUR_MS)
        kv.set("a", "1")
        assert next(watch).key == b"a"
        begun = time.monotonic()
        while time.monotonic() < begun + 4:  # longer than three heartbeats
            watch.take(0.2)
            assert kv.ping() == b"PONG"
        kv.set("a", "2")
        assert next(watch).value == b"2"
        assert states == []


def test_the_clock_never_runs_back_and_goes_slower_while_it_is_ahead(monkeypatch):
    times = iter([(5, 0), (7, 0), (3, 100), (3, 116), (3, 260), (3_600_000, 300), (6, 400), (6, 800)])
    wall = monotonic = 0

    def tick():
        nonlocal wall, monotonic
        wall, monotonic = (1_000_000 * ms for ms in next(times))
        return ours.now()

    monkeypatch.setattr(clock.time, "time_ns", lambda: wall)
    monkeypatch.setattr(clock.time, "monotonic_ns", lambda: monotonic)
    ours = Clock(6)
    assert [tick() for _ in range(8)] == [6, 7, 7, 21, 147, 3_600_000, 3_600_000, 3_600_350]
