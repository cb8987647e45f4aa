"""Requests that wait: who is woken, who has waited long enough."""

from hypothesis import given
from hypothesis import strategies as st

from kvd.commands.base import NotYet
from kvd.commands.changes import Changes
from kvd.limits import WAITERS_MAX
from kvd.server.waiters import Waiters, find_prefixes


def make_waiters(prefix, wait_ms=100, now=1000):
    waiters = Waiters()
    waiters.stage([b"id", b""], Changes(3, prefix, 7, wait_ms), NotYet(5, prefix, wait_ms), now)
    waiters.end_batch(is_committed=True)
    return waiters


def row(revision, key):
    return (revision, 1, key, b"", 0, revision, None, 1000)


def test_a_change_of_the_prefix_wakes_from_where_the_rows_begin():
    waiters = make_waiters(b"a")
    assert waiters.pop_matching([row(9, b"b")]) == []
    [woken] = waiters.pop_matching([row(10, b"b"), row(11, b"ab")])
    assert woken.after(9) == Changes(9, b"a", 7, None)
    assert waiters.waiting == []


def test_time_that_is_over_wakes_at_its_millisecond():
    waiters = make_waiters(b"a")
    assert (waiters.pop_expired(1099), waiters.next_deadline()) == ([], 1100)
    assert len(waiters.pop_expired(1100)) == 1
    assert waiters.next_deadline() is None


def test_a_batch_that_failed_leaves_nobody_waiting():
    waiters = Waiters()
    waiters.stage([b"id", b""], Changes(0), NotYet(0, b"", 100), 1000)
    waiters.end_batch(is_committed=False)
    waiters.end_batch(is_committed=True)
    assert waiters.pop_all() == []


def test_beyond_the_bound_the_longest_waiting_are_told_at_once():
    waiters = Waiters()
    for number in range(WAITERS_MAX + 3):
        waiters.stage([b"%d" % number, b""], Changes(0), NotYet(0, b"", 60_000), 1000)
    waiters.end_batch(is_committed=True)
    assert [each.envelope[0] for each in waiters.pop_expired(1000)] == [b"0", b"1", b"2"]
    assert len(waiters.pop_all()) == WAITERS_MAX


@given(st.lists(st.binary(max_size=3)), st.lists(st.binary(max_size=4)))
def test_prefixes_hit_is_startswith(prefixes, keys):
    assert find_prefixes(prefixes, keys) == {p for p in prefixes if any(key.startswith(p) for key in keys)}
