"""Requests that wait: who is woken, who has waited long enough."""

from hypothesis import given
from hypothesis import strategies as st

from kvd.commands.base import Wait
from kvd.commands.changes import Changes
from kvd.limits import PARKED_MAX
from kvd.server.parking import Parking, prefixes_hit


def parked(prefix, wait_ms=100, now=1000):
    parking = Parking()
    parking.stage([b"id", b""], Changes(3, prefix, 7, wait_ms), Wait(5, prefix, wait_ms), now)
    parking.commit()
    return parking


def row(revision, key):
    return (revision, 1, key, b"", 0, revision, None, 1000)


def test_a_change_of_the_prefix_wakes_from_where_the_rows_begin():
    parking = parked(b"a")
    assert parking.take_matching([row(9, b"b")]) == []
    [woken] = parking.take_matching([row(10, b"b"), row(11, b"ab")])
    assert woken.after(9) == Changes(9, b"a", 7, None)
    assert parking.parked == []


def test_time_that_is_over_wakes_at_its_millisecond():
    parking = parked(b"a")
    assert (parking.take_over(1099), parking.next_until()) == ([], 1100)
    assert len(parking.take_over(1100)) == 1
    assert parking.next_until() is None


def test_a_batch_that_failed_leaves_nobody_waiting():
    parking = Parking()
    parking.stage([b"id", b""], Changes(0), Wait(0, b"", 100), 1000)
    parking.drop()
    parking.commit()
    assert parking.take_all() == []


def test_beyond_the_bound_the_longest_waiting_are_told_at_once():
    parking = Parking()
    for number in range(PARKED_MAX + 3):
        parking.stage([b"%d" % number, b""], Changes(0), Wait(0, b"", 60_000), 1000)
    parking.commit()
    assert [each.envelope[0] for each in parking.take_over(1000)] == [b"0", b"1", b"2"]
    assert len(parking.take_all()) == PARKED_MAX


@given(st.lists(st.binary(max_size=3)), st.lists(st.binary(max_size=4)))
def test_prefixes_hit_is_startswith(prefixes, keys):
    assert prefixes_hit(prefixes, keys) == {p for p in prefixes if any(key.startswith(p) for key in keys)}
