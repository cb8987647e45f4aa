"""Many keys read together: what each would give alone, wherever its entry is, and large values only one at a time."""

import pytest
from support.drives import NOW, evict_all

from kvd.commands.keys import Exists
from kvd.commands.model import Entry
from kvd.commands.values import Clear, MultiGet, MultiSet, Set
from kvd.errors import Corrupt
from kvd.storage.files.table import MANY, SMALL_BYTES
from kvd.storage.memory.overlays import NOT_CACHED

KEYS = [b"%d" % number for number in range(6)]


def entry(key):
    return Entry(key, 1, 1, None, b"v")


@pytest.fixture
def cold(drive):
    """Return a store with all entries on disk, and none in memory."""
    drive.apply(*[Set(b"k%03d" % number, b"v%d" % number) for number in range(0, 2 * MANY, 2)])
    drive.apply(Set(b"large", b"x" * (SMALL_BYTES + 1)), Set(b"small", b"x" * SMALL_BYTES), Set(b"gone", b"x", ttl=5))
    drive.fold()
    evict_all(drive.store)
    return drive


def values(found):
    return [None if each is None else each.value for each in found]


def test_what_is_on_disk_is_read_together_in_the_order_asked(cold):
    keys = [b"k%03d" % number for number in reversed(range(2 * MANY + 5))] + [b"k000", b"small"]
    found, is_partial = cold.store.get_many(keys)
    assert not is_partial
    assert values(found) == [
        *[
            b"v%d" % number if number % 2 == 0 and number < 2 * MANY else None
            for number in reversed(range(2 * MANY + 5))
        ],
        b"v0",
        b"x" * SMALL_BYTES,
    ]
    cold.store.table.close()  # all of it is in memory now
    assert values(cold.store.get_many(keys)[0]) == values(found)


def test_large_values_are_left_to_be_read_alone(cold):
    found, is_partial = cold.store.get_many([b"k000", b"large", b"none", b"large"])
    assert is_partial
    assert [each is NOT_CACHED for each in found] == [False, True, False, True]
    assert cold.apply(MultiGet([b"k000", b"large", b"none", b"large"])) == [
        [b"v0", b"x" * (SMALL_BYTES + 1), None, b"x" * (SMALL_BYTES + 1)]
    ]


def test_commands_with_many_keys_see_what_is_staged_and_not_what_has_expired(cold):
    later = NOW + 10
    keys = [b"k000", b"k002", b"k004", b"gone", b"new"]
    engine = cold.engine
    engine.apply(Set(b"new", b"1"), later)
    engine.apply(Clear([b"k000"]), later)
    engine.apply(MultiSet([(b"k002", b"2")]), later)
    assert engine.apply(MultiGet(keys), later).result == [None, b"2", b"v4", None, b"1"]
    assert engine.apply(Exists(keys), later).result == 3
    assert engine.apply(Clear(keys), later).result == 3
    assert engine.apply(MultiGet(keys), later).result == [None] * 5


def test_a_damaged_entry_among_many_is_told(cold):
    cold.sql("table.db", "UPDATE entry SET value = x'00' WHERE key = CAST('k004' AS BLOB)")
    cold.open()
    evict_all(cold.store)
    with pytest.raises(Corrupt):
        cold.store.get_many([b"k002", b"k004"])
    assert values(cold.store.get_many([b"k002", b"k006"])[0]) == [b"v2", b"v6"]
