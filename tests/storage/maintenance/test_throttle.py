"""Back-pressure: commits wait in proportion to what they bring, never long, and are refused only as the last resort."""

import itertools

import pytest
from support.drives import NOW

from kvd.commands.values import Clear, MultiSet, Set
from kvd.errors import Busy
from kvd.limits import BATCH_BYTES_MAX, WAL_BYTES_MAX
from kvd.storage.maintenance import fill, throttle
from kvd.storage.maintenance.throttle import (
    BATCH_DELAY_S,
    DELAY_S_MAX,
    EASY,
    LIMIT,
    RATE,
    RATE_MIN,
    WEIGHT,
    Throttle,
    weight,
)


def test_nobody_waits_while_half_of_the_overlay_is_free():
    assert (weight(0.0), weight(EASY)) == (0.0, 0.0)
    assert Throttle().delay_s(EASY, 1.0, RATE) == 0.0
    assert Throttle().batch(EASY, RATE) == 1.0


def test_the_wait_grows_with_the_fill_without_a_jump():
    fills = [number / 100 for number in range(50, 201)]
    weights = [weight(fill) for fill in fills]
    assert weights == sorted(weights)
    assert max(later - earlier for earlier, later in itertools.pairwise(weights)) < 0.1
    assert weight(1.0) == WEIGHT


def test_a_commit_waits_in_proportion_to_what_it_brings_but_never_for_long():
    pace = Throttle()
    assert pace.delay_s(1.0, 0.01, 1.0) == pytest.approx(0.02)
    assert pace.delay_s(1.0, 0.02, 1.0) == pytest.approx(0.04)
    assert pace.delay_s(1.0, 0.01, 0.5) == pytest.approx(0.04)
    assert pace.delay_s(1.9, 1.0, RATE_MIN) == DELAY_S_MAX


@pytest.mark.parametrize("fill", [0.51, 0.75, 1.0, 1.5])
@pytest.mark.parametrize("rate", [0.01, 0.1, 1.0])
def test_a_full_batch_waits_no_longer_than_it_may(fill, rate):
    pace = Throttle()
    assert pace.delay_s(fill, pace.batch(fill, rate), rate) <= BATCH_DELAY_S + 1e-9


def test_the_rate_is_that_of_the_folds_and_of_the_one_under_way():
    pace = Throttle()
    for _ in range(20):
        pace.on_fold(0.4, 4.0)
    assert pace.rate == pytest.approx(0.1, 0.01)
    pace.rate = 0.1
    pace.on_fold(throttle.MEASURED_FILL_MIN / 2, 0.000_1)  # too little to measure anything
    assert pace.rate == pytest.approx(0.1)
    assert pace.rate_now(0.4, 2.0) == pytest.approx(0.1)
    assert pace.rate_now(0.4, 40.0) == pytest.approx(0.01)
    assert pace.rate_now(0.4, 1e9) == RATE_MIN
    assert pace.rate_now(0.0, 0.0) == pytest.approx(0.1)
    pace.on_fold(1.0, 0.0)


@pytest.mark.parametrize("rate", [0.02, 0.1, 0.5])
@pytest.mark.parametrize("offered", [0.5, 2.0])
def test_the_overlay_stays_within_its_bound_whatever_comes(rate, offered):
    """A writer that offers more than the fold takes, in small commits; a fold takes everything present at its start."""
    pace, fill, folding, left, worst = Throttle(), 0.0, 0.0, 0.0, 0.0
    pace.rate = rate
    for _ in range(20_000):
        if not folding and fill > 0.33:
            folding = left = fill
        step = 0.002
        seconds = step / offered + pace.delay_s(fill, step, rate)
        fill += step
        left -= rate * seconds
        if folding and left <= 0:
            fill, folding = fill - folding, 0.0
        worst = max(worst, fill)
    assert worst < 1.2


@pytest.fixture
def stuck(drive, monkeypatch):
    """Return a drive with folds that never end and an overlay for 10 changes."""
    monkeypatch.setattr(fill, "OVERLAY_CHANGES_MAX", 10)
    monkeypatch.setattr(throttle, "DELAY_S_MAX", 0.01)
    monkeypatch.setattr(drive.store.maintenance.jobs, "begin_fold", lambda **_: None)
    return drive


def fill_up(drive):
    """Write until writes are refused; return how many were taken."""
    for count in range(100):
        try:
            drive.apply(Set(b"%d" % count, b""))
        except Busy:
            return count
    raise AssertionError("never refused")


def test_writes_go_on_beyond_the_bound_and_are_refused_far_beyond_it(stuck):
    assert fill_up(stuck) == 10 * LIMIT
    assert stuck.store.revision == 10 * LIMIT
    assert stuck.store.get(b"0").value == b""
    with pytest.raises(Busy, match="the disk does not keep up with the writes: try again in a moment"):
        stuck.apply(Clear([b"0"]))


def test_a_refusal_is_waited_for_once(stuck, monkeypatch):
    fill_up(stuck)
    waits = []
    monkeypatch.setattr(stuck.store.maintenance.jobs, "wait_for_fold", waits.append)
    for _ in range(3):
        with pytest.raises(Busy):
            stuck.apply(Set(b"a", b""))
    assert throttle.DELAY_S_MAX not in waits[1:]
    assert sum(waits) <= 4 * throttle.DELAY_S_MAX


def test_writes_are_taken_again_after_a_fold(stuck, monkeypatch):
    fill_up(stuck)
    monkeypatch.undo()
    stuck.fold()
    stuck.apply(Set(b"a", b"1"))
    assert stuck.store.get(b"a").value == b"1"


def test_a_batch_brings_less_while_the_fold_is_behind(drive, monkeypatch):
    assert drive.store.batch_bytes() == BATCH_BYTES_MAX
    monkeypatch.setattr(fill, "OVERLAY_CHANGES_MAX", 10)
    monkeypatch.setattr(drive.store.maintenance.parts.fold_thread, "submit", lambda _: None)
    drive.apply(MultiSet([(b"%d" % number, b"") for number in range(9)]), now=NOW)
    assert drive.store.batch_bytes() == BATCH_BYTES_MAX  # no fold is under way
    drive.store.maintenance.jobs.begin_fold()
    assert 0 < drive.store.batch_bytes() < BATCH_BYTES_MAX
    drive.store.overlays.undo_fold()


def test_a_checkpoint_that_does_not_end_holds_no_commit_up_for_long(drive, monkeypatch):
    monkeypatch.setattr(throttle, "DELAY_S_MAX", 0.01)
    monkeypatch.setattr(drive.store.maintenance.jobs, "begin_checkpoint", lambda: None)
    drive.store.maintenance.jobs.is_checkpointing = True
    wal = drive.store.maintenance.wal
    wal.limit, wal.limit_min = 0, WAL_BYTES_MAX  # as on a disk that is not small
    drive.apply(Set(b"a", b"1"))
    assert drive.store.maintenance.jobs.is_checkpointing
    assert drive.store.get(b"a").value == b"1"
    drive.store.maintenance.jobs.is_checkpointing = False
