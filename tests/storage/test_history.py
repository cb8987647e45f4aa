"""HISTORY on a real journal: along the chain of a key, and by bounded searches where the chain ends."""

import pytest

from kvd.commands.changes import Compact
from kvd.commands.values import Clear, Set
from kvd.errors import Corrupt
from kvd.storage import history

A = b"a"


def revisions(store, before=99, floor=0, limit=9, key=A):
    """Return the revisions of a page, and where the next begins."""
    changes, following = store.changes_of(key, before, floor, limit)
    return [change.revision for change in changes], following


@pytest.fixture
def store(drive):
    """Return a store with A at 1, 3, 4 (cleared), 6, 8 and others between."""
    drive.apply(Set(A, b"1"), Set(b"b", b""), Set(A, b"22"), Clear([A]), Set(b"b", b""), Set(A, b"333"), Set(b"c", b""))
    drive.apply(Set(A, b"4"), Set(b"c", b""))
    return drive.store


def test_a_history_has_every_change_also_before_the_key_was_made_again(store):
    assert revisions(store) == ([8, 6, 4, 3, 1], None)
    changes, _ = store.changes_of(A, 99, 0, 9)
    assert [(change.kind, change.value, change.previous) for change in changes] == [
        ("SET", b"4", 6),
        ("SET", b"333", 0),
        ("CLEAR", None, 3),
        ("SET", b"22", 1),
        ("SET", b"1", 0),
    ]


@pytest.mark.parametrize("limit", [1, 2, 3, 4])
def test_pages_of_any_size_are_the_whole_history(store, limit):
    found, following = [], 99
    while following is not None:
        page, following = revisions(store, following, limit=limit)
        found += page
    assert found == [8, 6, 4, 3, 1]


@pytest.mark.parametrize("before", range(11))
def test_a_history_begins_below_any_revision(store, before):
    expected = [revision for revision in (8, 6, 4, 3, 1) if revision < before]
    assert revisions(store, before) == (expected, None)


@pytest.mark.parametrize("floor", range(10))
def test_a_history_ends_above_what_is_no_longer_kept(store, floor):
    assert revisions(store, floor=floor) == ([revision for revision in (8, 6, 4, 3, 1) if revision > floor], None)


def test_a_key_that_has_ended_or_never_was_is_searched_for(drive, store):
    assert revisions(store, key=b"none") == ([], None)
    drive.apply(Clear([A]))
    assert revisions(store) == ([10, 8, 6, 4, 3, 1], None)
    drive.restart()
    assert revisions(drive.store) == ([10, 8, 6, 4, 3, 1], None)


def test_a_search_looks_through_a_bounded_number_of_changes(store, monkeypatch):
    monkeypatch.setattr(history, "HISTORY_ROWS_MAX", 1)
    assert revisions(store) == ([8, 6], 5)  # along the chain, then one change is looked at
    assert revisions(store, 5) == ([4, 3, 1], None)
    found, following = [], 10
    while following is not None:
        page, following = revisions(store, following, key=b"none")
        assert page == []
        found.append(following)
    assert found == [9, 8, 7, 6, 5, 4, 3, 2, None]


def test_a_page_ends_before_it_is_more_than_a_reply_holds(store, monkeypatch):
    monkeypatch.setattr(history, "REPLY_BYTES_MAX", 6)
    assert revisions(store) == ([8, 6], 6)
    assert revisions(store, 6) == ([4, 3, 1], None)  # a key is 1 byte, a CLEAR has no value
    monkeypatch.setattr(history, "REPLY_BYTES_MAX", 1)
    assert revisions(store) == ([8], 8)


@pytest.mark.parametrize(
    "damage", ["DELETE FROM journal WHERE revision = 6", "UPDATE journal SET value = x'00' WHERE revision = 6"]
)
def test_a_change_that_is_damaged_or_missing_is_corrupt(store, damage):
    store.journal.db.execute(damage)
    with pytest.raises(Corrupt, match="revision 6"):
        revisions(store)


def test_sizes_are_those_of_the_values_folded_or_not(drive):
    drive.apply(Set(A, b"x" * 100_000), Set(b"b", b""), Set(b"c", b"123"))
    drive.fold()
    drive.apply(Set(b"b", b"12"), Clear([b"c"]), Set(b"d", b"1", ttl=9))
    assert [(each.key, each.size, each.revision) for each in drive.store.sizes()] == [
        (A, 100_000, 1),
        (b"b", 2, 4),
        (b"d", 1, 6),
    ]


def test_compact_ends_a_history(drive, store):
    drive.apply(Compact(6))
    assert revisions(store, floor=store.compacted) == ([8], None)
