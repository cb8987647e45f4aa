"""The clients that wait for a key, and their order."""

import pytest

from kvd.commands.atomic import Once
from kvd.commands.base import NotYet
from kvd.commands.model import CLEAR, SET
from kvd.commands.values import TakeFirst
from kvd.limits import WAITERS_MAX
from kvd.server.takers import Takers

TOKEN = b"token--1"


def row(key, kind=SET):
    return (1, kind, key, b"", 0, 1, None, 1000)


def make_takers(*prefixes, wait_ms=100, now=1000, token=None):
    """Return takers of prefixes, in this order; their envelopes are their numbers."""
    takers = Takers()
    for number, prefix in enumerate(prefixes):
        command = TakeFirst(prefix, wait_ms)
        takers.stage([b"%d" % number, b""], Once(token, command) if token else command, NotYet(0, prefix, wait_ms), now)
    takers.end_batch(is_committed=True)
    return takers


def numbers(takers):
    return [int(taker.envelope[0]) for taker in takers]


@pytest.mark.parametrize(
    ("prefixes", "key", "expected"),
    [
        ([b"a", b"a"], b"a1", 0),
        ([b"b", b"ab", b"a", b""], b"ab1", 1),
        ([b"b", b"", b"a"], b"a", 1),
        ([b"ab", b"b"], b"a", None),
        ([], b"a", None),
    ],
)
def test_the_longest_waiting_of_all_prefixes_of_a_key_is_next(prefixes, key, expected):
    taker = make_takers(*prefixes).next_for(key)
    assert (None if taker is None else int(taker.envelope[0])) == expected


def test_who_is_answered_waits_no_longer_and_the_others_keep_their_order():
    takers = make_takers(b"a", b"b", b"a", b"a")
    second = sorted(takers)[2]
    takers.remove(second)
    takers.remove(sorted(takers)[1])
    assert (numbers(takers.pop_all()), len(takers), takers.next_for(b"a")) == ([0, 3], 0, None)


def test_keys_that_were_set_last_and_that_somebody_waits_for_are_noted():
    takers = make_takers(b"a")
    takers.note([row(b"a1"), row(b"b1"), row(b"a2"), row(b"a1", CLEAR), row(b"a3", CLEAR), row(b"a3")])
    assert list(takers.keys) == [b"a2", b"a3"]
    nobody = make_takers()
    nobody.note([row(b"a1")])
    assert not nobody.keys


def test_time_that_is_over_ends_a_wait_at_its_millisecond():
    takers = make_takers(b"a", wait_ms=100)
    assert (takers.pop_expired(1099), takers.next_deadline()) == ([], 1100)
    assert numbers(takers.pop_expired(1100)) == [0]
    assert (takers.next_deadline(), takers.pop_expired(9999)) == (None, [])


def test_a_batch_that_failed_leaves_nobody_waiting():
    takers = Takers()
    takers.stage([b"0", b""], TakeFirst(b"a", 5), NotYet(0, b"a", 5), 1000)
    takers.end_batch(is_committed=False)
    takers.end_batch(is_committed=True)
    assert len(takers) == 0


def test_beyond_the_bound_the_longest_waiting_are_told_at_once():
    takers = make_takers(*[b"%d" % (number % 7) for number in range(WAITERS_MAX + 3)])
    assert numbers(takers.pop_expired(1000)) == [0, 1, 2]
    assert len(takers) == WAITERS_MAX


def test_those_with_the_same_token_are_found():
    takers = make_takers(b"a", b"b", token=TOKEN)
    assert takers.pop_token(None) == takers.pop_token(b"token--2") == []
    assert (numbers(takers.pop_token(TOKEN)), len(takers)) == ([0, 1], 0)
    assert make_takers(b"a").pop_token(None) == []
