"""Entries in memory: what covers what, what is kept, what is let go."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kvd.commands.entry import Entry
from kvd.limits import ENTRY_OVERHEAD_BYTES
from kvd.storage import memory as memory_module
from kvd.storage.memory import Cached, Memory, Overlay, payload


def entry(key, value=b"", revision=1, expires=None):
    return Entry(key, revision, revision, expires, value)


def weight(key, found):
    """Return about how many bytes of memory an entry takes besides its place in an overlay."""
    return ENTRY_OVERHEAD_BYTES + payload({key: found})


def filled(*entries):
    """Return memory whose fresh overlay holds entries; None for a key stands for its end."""
    memory = Memory()
    memory.update({e.key: e for e in entries}, len(entries))
    return memory


def walk(memory, below=(), prefix=b"", after=None):
    return [found.key for found in memory.scan(iter(below), prefix, after)]


def test_the_newest_overlay_that_knows_a_key_is_believed():
    memory = filled(entry(b"a", b"1"))
    memory.begin_fold()
    assert memory.entries.get(b"a") == entry(b"a", b"1")
    memory.update({b"a": None}, 1)
    assert memory.entries.get(b"a") is None
    assert memory.get_many([b"b", b"a"]) == ([memory_module.MISSING, None], [0])


def test_what_was_folded_stays_warm_and_covers_no_more():
    memory = filled(entry(b"a", b"1", expires=5))
    memory.begin_fold()
    assert memory.covers(b"a")
    memory.end_fold()
    assert memory.entries.get(b"a") == entry(b"a", b"1", expires=5)
    assert not memory.covers(b"a")
    assert list(memory.due(9)) == []


def test_a_cached_entry_is_replaced_by_what_is_folded_later():
    memory = Memory()
    memory.keep({b"a": entry(b"a", b"old")})
    memory.update({b"a": entry(b"a", b"new")}, 1)
    memory.begin_fold()
    memory.end_fold()
    assert memory.entries.get(b"a") == entry(b"a", b"new")


def test_a_fold_that_failed_is_fresh_again_below_what_came_since():
    memory = filled(entry(b"a", b"1", expires=5), entry(b"b", b"1", expires=6))
    memory.begin_fold()
    memory.update({b"b": entry(b"b", b"2", 3, expires=7), b"c": None}, 2)
    payload = memory.fresh.payload + memory.folding.payload
    memory.undo_fold()
    assert memory.folding is None
    assert memory.fresh.entries == {
        b"a": entry(b"a", b"1", expires=5),
        b"b": entry(b"b", b"2", 3, expires=7),
        b"c": None,
    }
    assert (memory.fresh.changes, memory.fresh.payload) == (4, payload)
    assert (list(memory.due(6)), list(memory.due(7))) == ([b"a"], [b"a", b"b"])
    assert memory.entries.get(b"b") == entry(b"b", b"2", 3, expires=7)


def test_a_walk_shows_each_key_as_its_newest_overlay_has_it():
    memory = filled(entry(b"b"), entry(b"d"))
    memory.begin_fold()
    memory.update({b"a": entry(b"a"), b"b": None, b"e": None}, 3)
    below = [entry(b"a", b"old"), entry(b"c"), entry(b"e")]
    assert walk(memory, below) == [b"a", b"c", b"d"]
    assert walk(memory, below[1:], b"", b"b") == [b"c", b"d"]
    assert walk(memory, [], b"d") == [b"d"]
    assert walk(Memory(), below) == [b"a", b"c", b"e"]


def test_keys_are_due_first_in_time_and_only_as_their_newest_entry_says():
    memory = filled(entry(b"a", expires=9), entry(b"b", expires=5), entry(b"c", expires=5), entry(b"d", expires=5))
    memory.begin_fold()
    memory.update({b"c": None, b"d": entry(b"d", expires=20), b"e": entry(b"e", expires=7), b"f": entry(b"f")}, 4)
    assert list(memory.due(4)) == []
    assert list(memory.due(5)) == [b"b"]
    assert list(memory.due(9)) == [b"e", b"b", b"a"]
    assert list(memory.due(9)) == [b"e", b"b", b"a"]
    assert list(memory.due(20)) == [b"e", b"d", b"b", b"a"]


def test_an_expiry_that_was_set_twice_is_due_once():
    overlay = Overlay()
    overlay.update({b"a": entry(b"a", expires=5)}, 1)
    overlay.update({b"a": entry(b"a", b"2", expires=5)}, 1)
    assert list(overlay.due(5)) == [b"a"]
    overlay.update({b"a": entry(b"a")}, 1)
    assert list(overlay.due(5)) == []


def test_an_overlay_weighs_what_its_entries_weigh():
    overlay = Overlay()
    entries = {b"a": entry(b"a", b"123"), b"bc": None}
    overlay.update(entries, 5)
    assert (overlay.size, overlay.changes) == (sum(weight(key, found) for key, found in entries.items()), 5)


@pytest.fixture
def small(monkeypatch):
    """Four entries to all of it."""
    monkeypatch.setattr(memory_module, "MEMORY_BYTES_MAX", 4 * weight(b"a", None))


def folded(memory):
    memory.begin_fold()
    memory.end_fold()


def test_the_cache_is_within_its_bound_and_what_came_last_stays(small):
    memory = Memory()
    for number in range(50):
        key = b"%d" % (number % 10)
        assert key not in memory.entries
        memory.keep({key: None})
        assert memory.size <= memory_module.MEMORY_BYTES_MAX + weight(key, None)
        assert key in memory.entries
    assert len(memory.entries) == 5


def test_what_is_not_folded_is_never_dropped(small):
    memory = Memory()
    memory.keep({b"a": None})
    memory.update({b"%d" % number: None for number in range(20)}, 20)
    memory.begin_fold()
    memory.update({b"%d" % number: entry(b"x", b"y" * 9) for number in range(20, 40)}, 20)
    memory.evict()
    assert memory.entries.keys() >= {b"%d" % number for number in range(40)}
    memory.end_fold()
    memory.evict()
    assert set(memory.fresh.entries) <= set(memory.entries)
    folded(memory)
    memory.evict()
    assert len(memory.entries) <= 4


def test_a_key_that_was_written_again_is_dropped_after_the_others(small):
    memory = Memory()
    memory.update(dict.fromkeys([b"a", b"b", b"c", b"d"]), 4)
    folded(memory)
    memory.old, memory.young = memory.young, Cached()
    memory.update({b"b": None}, 1)
    folded(memory)
    for key in (b"1", b"2", b"3"):
        memory.keep({key: None})
    memory.evict()
    assert memory.entries.keys() == {b"b", b"1", b"2", b"3"}


def test_a_key_may_be_dropped_while_it_is_on_its_way_to_the_young(small, monkeypatch):
    monkeypatch.setattr(memory_module, "JOINED_AT_ONCE", 1)
    memory = Memory()
    memory.update(dict.fromkeys(b"%d" % number for number in range(6)), 6)
    folded(memory)
    memory.old.keys.update(memory.entries)
    memory.evict()
    assert len(memory.entries) == 4
    for number in range(6, 30):
        memory.keep({b"%d" % number: None})
        assert len(memory.entries) <= 5


def test_what_was_being_folded_may_go_when_it_is(small):
    memory = Memory()
    memory.update(dict.fromkeys(b"%d" % number for number in range(10)), 10)
    assert len(memory.entries) == 10
    folded(memory)
    memory.evict()
    assert len(memory.entries) == 4


PAIRS = st.dictionaries(
    st.sampled_from([b"a", b"bb", b"ccc", b"dddd"]), st.none() | st.binary(max_size=300), max_size=4
)


@given(st.lists(st.tuples(PAIRS, st.booleans())))
def test_the_weight_of_all_is_never_below_what_is_there(steps):
    memory = Memory()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(memory_module, "MEMORY_BYTES_MAX", 1_000)
        patch.setattr(memory_module, "JOINED_AT_ONCE", 1)
        for pairs, is_fold in steps:
            memory.update({key: value if value is None else entry(key, value) for key, value in pairs.items()}, 1)
            if is_fold:
                folded(memory)
            memory.evict()
            assert memory.size >= sum(weight(key, found) for key, found in memory.entries.items())


def test_the_weight_is_that_of_what_is_there_when_nothing_is_written_twice():
    memory = Memory()
    memory.update({b"a": entry(b"a", b"1" * 50), b"b": None}, 2)
    folded(memory)
    memory.update({b"c": entry(b"c", b"1" * 70)}, 1)
    memory.keep({b"d": entry(b"d", b"1" * 90)})
    assert memory.size == sum(weight(key, found) for key, found in memory.entries.items())


BYTES = st.binary(max_size=3)


@given(st.lists(st.tuples(st.lists(BYTES, max_size=12), BYTES, st.none() | BYTES)))
def test_the_keys_of_a_growing_overlay_are_told_in_order(steps):
    overlay = Overlay()
    for keys, prefix, after in steps:
        overlay.update(dict.fromkeys(keys), len(keys))
        wanted = sorted(key for key in overlay.entries if key.startswith(prefix) and (after is None or key > after))
        assert list(overlay.order.between(prefix, after)) == wanted


def test_what_is_not_folded_is_told_newest_first():
    memory = Memory()
    assert memory.overlays() == [memory.fresh]
    memory.begin_fold()
    assert memory.overlays() == [memory.fresh, memory.folding]
