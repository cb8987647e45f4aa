"""Each of the six validators says no to a stream that breaks its promise, and all say yes to one that keeps it."""

import pytest
from support.watch_validators import (
    BOOKMARK,
    COMPACTED,
    DELIVERED,
    HEARTBEAT,
    RESUMED,
    Event,
    broken,
    is_atomic,
    is_bookmarkable,
    is_ordered,
    is_reliable,
    is_resumable,
    is_unique,
    match_changes,
)


def change(revision, key="user:1", value="x"):
    return Event(DELIVERED, revision, "SET", key, value)


JOURNAL = [
    change(1),
    change(2, "other:1"),
    *(change(3, "user:2", "7/3 a"), change(4, "other:2", "7/3 b"), change(5, "user:3", "7/3 c")),
    change(6),
    Event(DELIVERED, 7, "CLEAR", "user:1"),
    change(8, "user:9", "alone"),
]
USERS = match_changes(JOURNAL, ["user:"])
ONE, THREE, FIVE, SIX, SEVEN, EIGHT = USERS


def at(what, revision):
    return Event(what, revision)


START = at(RESUMED, 0)
WHOLE = [START, *USERS]

RIGHT = {
    "nothing": [START],
    "all": [*WHOLE, at(HEARTBEAT, 8), at(BOOKMARK, 8)],
    "from the middle": [at(RESUMED, 5), SIX, SEVEN, at(BOOKMARK, 7), EIGHT],
    "resumed": [START, ONE, at(BOOKMARK, 2), at(RESUMED, 2), THREE, FIVE, SIX, SEVEN],
    "resumed inside an atom": [START, ONE, THREE, at(BOOKMARK, 4), at(RESUMED, 4), FIVE, SIX],
    "from inside an atom": [at(RESUMED, 3), FIVE, SIX],
    "compacted": [START, ONE, at(COMPACTED, 5), at(RESUMED, 5), SIX, at(BOOKMARK, 6)],
    "compacted inside an atom": [START, ONE, at(COMPACTED, 4), at(RESUMED, 4), FIVE, SIX],
    "heartbeats beside an atom": [START, ONE, at(HEARTBEAT, 2), THREE, FIVE, at(HEARTBEAT, 5), SIX],
}


@pytest.mark.parametrize("name", RIGHT)
def test_a_right_stream_breaks_nothing(name):
    assert broken(RIGHT[name], JOURNAL, ["user:"]) == []


def test_the_end_of_a_key_that_was_over_belongs_to_the_command_that_writes_it():
    journal = [
        *(change(1, "user:2", "7/2 a"), Event(DELIVERED, 2, "EXPIRED", "user:3"), change(3, "user:3", "7/2 c")),
        *(Event(DELIVERED, 4, "EXPIRED", "user:4"), change(5, "user:4", "8/2 a"), change(6, "user:5", "8/2 a")),
    ]
    assert is_atomic([START, *journal[:4], at(HEARTBEAT, 4), *journal[4:]], journal, journal)
    assert not is_atomic([START, *journal[:2], at(HEARTBEAT, 2), *journal[2:]], journal, journal)


def test_a_change_after_a_later_one_is_not_ordered():
    assert not is_ordered([START, ONE, FIVE, THREE, SIX])
    assert not is_ordered([START, ONE, SIX, at(RESUMED, 4), FIVE])


def test_a_change_that_comes_again_is_not_unique():
    assert not is_unique([START, ONE, THREE, THREE])
    assert not is_unique([START, ONE, THREE, at(RESUMED, 1), THREE])


@pytest.mark.parametrize(
    "stream",
    [
        [START, ONE, FIVE],
        [START, ONE, at(RESUMED, 3), FIVE],
        [START, ONE, JOURNAL[1], THREE],
        [START, ONE, change(3, "user:2", "of another value"), FIVE],
        [START, ONE, at(COMPACTED, 3), SIX],
        [START, ONE, FIVE, at(COMPACTED, 5), SIX],
    ],
)
def test_a_missing_or_foreign_change_is_not_reliable(stream):
    assert not is_reliable(stream, USERS)


@pytest.mark.parametrize(
    "stream",
    [
        [START, ONE, THREE],
        [START, ONE, THREE, at(RESUMED, 5), SIX],
        [START, ONE, THREE, SIX, FIVE],
        [START, ONE, FIVE, SIX],
        [START, ONE, at(HEARTBEAT, 3), THREE, FIVE],
        [START, ONE, THREE, at(HEARTBEAT, 4), FIVE],
    ],
)
def test_a_part_of_a_command_is_not_atomic(stream):
    assert not is_atomic(stream, USERS, JOURNAL)


def test_a_journal_with_a_part_of_a_command_or_a_foreign_change_in_it_is_not_atomic():
    without = [each for each in JOURNAL if each.revision != 5]
    between = [*JOURNAL[:3], change(4), *[each._replace(revision=each.revision + 1) for each in JOURNAL[3:]]]
    for journal in (without, between):
        assert not is_atomic([START], [], journal)


@pytest.mark.parametrize("stream", [[START, THREE], [START, ONE, at(RESUMED, 1), FIVE], [at(RESUMED, 5), FIVE]])
def test_a_resumption_that_skips_or_goes_back_is_not_resumable(stream):
    assert not is_resumable(stream, USERS)


@pytest.mark.parametrize(
    "stream",
    [
        [START, ONE, at(BOOKMARK, 3), THREE],
        [START, at(BOOKMARK, 1)],
        [START, ONE, THREE, at(HEARTBEAT, 8)],
        [START, ONE, at(BOOKMARK, 3), at(RESUMED, 3), FIVE],
    ],
)
def test_a_bookmark_ahead_of_what_came_is_not_bookmarkable(stream):
    assert not is_bookmarkable(stream, USERS)
