"""The client ignores additions of a later release: changes of other kinds, more items, more members."""

import pytest

from kvd import wire
from kvd.client.results import EntryFacts, decode_changes, entry_facts, sizes_page
from kvd.client.selection import SNAPSHOT_END, Selection
from kvd.client.snapshot import Snapshot
from kvd.client.values import RAW, TextCodec
from kvd.commands.base import Ok
from kvd.commands.model import Change

KNOWN = ["SET", 7, b"a", b"1", 3, None, 9]
CHANGE = Change(*KNOWN)
LATER = [
    ["RENAMED", 8, b"a", b"b", 7, None, 9],
    ["EXPIRY", 8, b"a", 5_000],
    ["MOVED", 8, b"a"],
    ["PATCHED", 8, b"a", {"from": 1}, [2], True, "x", "y"],
]


@pytest.mark.parametrize("later", LATER)
def test_a_change_of_a_later_kind_has_its_revision_and_is_not_delivered(later):
    change = wire.decode_change(wire.encode(later))
    assert (change.kind, change.revision, change.key) == tuple(later[:3])
    assert wire.changes_in([later, KNOWN]) == [change, CHANGE]
    assert decode_changes(RAW, [KNOWN, later]) == [CHANGE]
    assert Selection().apply([change, CHANGE]) == [CHANGE]
    assert Selection(codec=TextCodec("utf-8")).apply([change]) == []


def test_a_change_with_more_items_is_the_change():
    assert wire.decode_change(wire.encode([*KNOWN, "more", {}])) == CHANGE
    assert wire.changes_in([[*KNOWN, "more"]]) == [CHANGE]


@pytest.mark.parametrize(
    "broken", [["SET", 7, b"a", 5, 3, None, 9], ["SET", 7, b"a"], ["OTHER", "7", b"a"], ["OTHER"], []]
)
def test_a_change_that_is_broken_is_no_change(broken):
    with pytest.raises(ValueError, match=r"[Ee]xpected"):
        wire.decode_change(wire.encode(broken))
    with pytest.raises(ValueError, match=r"[Ee]xpected"):
        wire.changes_in([broken])


def test_the_end_of_a_snapshot_is_no_kind_of_the_wire():
    end = Change(SNAPSHOT_END, 7, b"", None, 0, None, 0)
    assert Selection(has_mark=True).apply([end]) == [end]


def test_results_with_more_members_and_items_are_the_results():
    facts = {"revision": 1, "created": 1, "expires": None, "size": 2, "lease": 5}
    assert entry_facts(RAW, facts) == EntryFacts(1, 1, None, 2)
    assert sizes_page(RAW, [[[b"a", 2, 1, None, "more"]], None, "more"]).items == [(b"a", 2, 1, None)]
    walk = Snapshot([b""])
    assert walk._on_page(Ok(1, [[[b"a", b"1", 1, None, "more"]], None, "more"])) == [
        Change("SET", 1, b"a", b"1", 0, None, 0)
    ]
