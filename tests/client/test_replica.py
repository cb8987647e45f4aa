"""The contents of a mirror, without a daemon."""

from kvd.client.replica import Replica
from kvd.client.selection import SNAPSHOT_END
from kvd.commands.model import Change


def put(revision, key, value=b"x"):
    return Change("SET", revision, key, value, 0, None, 1)


def clear_change(revision, key, kind="CLEAR"):
    return Change(kind, revision, key, None, 0, None, 1)


def mark(revision):
    return Change(SNAPSHOT_END, revision, b"", None, 0, None, 0)


def replica_of(*changes, revision=10):
    replica = Replica()
    replica.begin()
    for change in changes:
        assert replica.apply(change) == []
    return replica, replica.apply(mark(revision))


def test_a_snapshot_is_served_when_it_is_complete():
    replica = Replica()
    assert not replica.is_complete
    replica.begin()
    replica.apply(put(3, b"a"))
    assert (replica.entries, replica.is_gathering, replica.is_complete) == ({}, True, False)
    assert replica.apply(mark(10)) == [put(3, b"a")]
    assert (replica.entries, replica.is_gathering, replica.is_complete) == ({b"a": put(3, b"a")}, False, True)


def test_changes_after_it_are_applied_as_they_come():
    replica, _ = replica_of(put(3, b"a"), put(4, b"b"))
    for change in (put(11, b"a", b"y"), clear_change(12, b"b"), clear_change(13, b"none", "EXPIRED"), put(14, b"c")):
        assert replica.apply(change) == [change]
    assert replica.entries == {b"a": put(11, b"a", b"y"), b"c": put(14, b"c")}


def test_the_next_snapshot_takes_the_place_of_the_entries_and_tells_the_differences():
    replica, _ = replica_of(put(3, b"a"), put(4, b"b"), put(5, b"c"), put(6, b"d"))
    replica.begin()
    for change in (put(3, b"a"), put(20, b"c", b"y"), put(6, b"d", b"another history"), put(21, b"e")):
        assert replica.apply(change) == []
    assert replica.entries[b"b"] == put(4, b"b")
    assert replica.apply(mark(30)) == [
        Change("CLEAR", 30, b"b", None, 4, None, 0),
        put(20, b"c", b"y"),
        put(6, b"d", b"another history"),
        put(21, b"e"),
    ]
    assert sorted(replica.entries) == [b"a", b"c", b"d", b"e"]


def test_a_snapshot_that_broke_off_leaves_nothing_behind():
    replica, _ = replica_of(put(3, b"a"))
    replica.begin()
    replica.apply(put(20, b"half"))
    replica.begin()
    replica.apply(put(3, b"a"))
    assert replica.apply(mark(30)) == []
    assert replica.entries == {b"a": put(3, b"a")}


def test_an_empty_snapshot_is_complete():
    replica, differences = replica_of()
    assert (replica.entries, replica.is_complete, differences) == ({}, True, [])
