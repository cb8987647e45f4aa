"""Due keys are found in bounded steps, whatever has expired or was cleared before."""

import pytest
from support.drives import NOW

from kvd.commands.expiry import Expire
from kvd.commands.values import MultiSet, Set
from kvd.storage import due as due_module

KEYS = [b"%03d" % number for number in range(300)]


@pytest.fixture
def looks(monkeypatch):
    """Return a list that has an item for each look."""
    seen = []
    real = due_module.Due._candidates

    def count_candidates(self, now, skip):
        for key in real(self, now, skip):
            seen.append(key)
            yield key

    monkeypatch.setattr(due_module.Due, "_candidates", count_candidates)
    return seen


@pytest.fixture
def drive_due(drive):
    """Return a drive with 300 keys in its table that are due at one time."""
    drive.apply(MultiSet([(key, b"x") for key in KEYS], at=NOW + 1))
    drive.fold()
    return drive.restart()


def sweep(drive, limit, now=NOW + 1):
    """End some keys and commit; return them."""
    keys = drive.store.due(now, limit)
    drive.engine.expire(keys, now)
    drive.commit()
    return keys


def test_what_is_ended_is_not_looked_at_again_by_each_sweep(drive_due, looks):
    found = []
    while keys := sweep(drive_due, 10):
        found += keys
    assert found == KEYS
    assert len(looks) <= 3 * len(KEYS)


def test_what_is_not_ended_is_found_again(drive_due):
    assert drive_due.store.due(NOW + 1, 5) == drive_due.store.due(NOW + 1, 5) == KEYS[:5]
    assert sweep(drive_due, 5) == KEYS[:5]
    assert drive_due.store.due(NOW + 1, 5) == KEYS[5:10]


def test_keys_that_are_skipped_hold_nobody_up(drive_due, looks):
    skip = set(KEYS[:100])
    for place in range(100, 300, 10):
        keys = drive_due.store.due(NOW + 1, 10, skip=skip)
        assert keys == KEYS[place : place + 10]
        drive_due.engine.expire(keys, NOW + 1)
        drive_due.commit()
    assert len(looks) <= 3 * len(KEYS)


def test_a_search_ends_after_so_many_looks_and_goes_on_there(drive_due, monkeypatch):
    monkeypatch.setattr(due_module, "LOOKS_MIN", 0)
    drive_due.engine.expire(KEYS[:290], NOW + 1)  # by others, as it were
    drive_due.commit()
    found, searches = [], 0
    while not found:
        found = drive_due.store.due(NOW + 1, 10)
        searches += 1
        assert drive_due.store.search.is_cut
    assert found[0] == KEYS[290]
    assert searches == 290 // (10 * due_module.LOOKS_PER_KEY) + 1


def test_a_fold_brings_keys_that_are_due_earlier(drive_due):
    sweep(drive_due, 100)
    drive_due.store.due(NOW + 1, 1)
    drive_due.apply(Set(b"early", b"x", at=NOW), now=NOW - 1)
    drive_due.fold()
    assert drive_due.store.due(NOW + 1, 3) == [b"early", *KEYS[100:102]]


@pytest.mark.parametrize("is_folded", [False, True])
def test_a_thousand_expiries_that_were_put_off_are_passed_in_steps(drive, looks, is_folded):
    drive.apply(*[Set(key, b"x", at=NOW + 1) for key in KEYS])
    if is_folded:
        drive.fold()
    drive.apply(*[Expire(key, 1_000_000) for key in KEYS], Set(b"due", b"", at=NOW + 1))
    searches, drive.store.search.is_cut = 0, True
    while drive.store.search.is_cut:
        looks.clear()
        found = drive.store.due(NOW + 1, 10)
        searches += 1
        assert len(looks) <= due_module.LOOKS_MIN + 10 * due_module.LOOKS_PER_KEY
    assert (found, searches) == ([b"due"], 3)


def test_to_count_takes_nothing_from_what_is_to_be_swept(drive):
    drive.apply(*[Set(key, b"x", at=NOW + 1) for key in KEYS])
    assert (drive.store.count(b"", NOW), drive.store.count(b"", NOW + 1), drive.store.count(b"1", NOW + 1)) == (
        300,
        0,
        0,
    )
    assert not drive.store.overlays.active.overdue
    assert sweep(drive, 300) == KEYS
    assert drive.store.count(b"", NOW + 1) == 0


def test_a_large_value_that_ends_is_not_read(drive, monkeypatch):
    drive.apply(Set(b"large", bytes(100_000), at=NOW + 1))
    drive.fold()
    drive.restart()
    monkeypatch.setattr(drive.store.table, "get", None)
    assert sweep(drive, 1) == [b"large"]
    assert drive.store.entries == 0
