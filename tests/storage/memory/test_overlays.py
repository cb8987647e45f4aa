"""Entries in memory: what covers what, what is due, what is kept, what is let go. Both forms of records."""

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from support.forms import IMPLEMENTATIONS, row

from kvd.commands.model import ALL, Entry, make_span
from kvd.storage.memory import overlays as overlays_module
from kvd.storage.memory.key_cache import NOT_CACHED, PlainKeyCache, weight
from kvd.storage.memory.overlays import Overlay, Overlays


@pytest.fixture(autouse=True, params=IMPLEMENTATIONS)
def form(request, monkeypatch):
    monkeypatch.setattr(overlays_module, "make_key_cache", request.param)
    return request.param


def entry(key, value=b"", revision=1, expires=None):
    return Entry(key, revision, revision, expires, value)


def memory_of(*rows):
    """Return memory with a fresh overlay that holds the result of the rows."""
    memory = Overlays()
    memory.update(list(rows))
    return memory


def fold_up_to(memory, revision):
    memory.begin_fold(revision)
    memory.end_fold()


def walk(memory, below=(), prefix=b"", after=None):
    return [found.key for found in memory.scan(iter(below), make_span(prefix, after))]


def test_the_newest_change_of_a_key_is_believed():
    memory = memory_of(row(b"a", b"1", 1))
    memory.begin_fold(1)
    assert memory.key_cache.get(b"a") == entry(b"a", b"1")
    memory.update([row(b"a", None, 2)])
    assert memory.key_cache.get(b"a") is None
    assert memory.get_many([b"b", b"a"]) == ([NOT_CACHED, None], [0])


def test_what_was_folded_stays_warm_and_covers_no_more():
    memory = memory_of(row(b"a", b"1", 1, expires=5))
    memory.begin_fold(1)
    assert memory.covers(b"a")
    memory.end_fold()
    assert memory.key_cache.get(b"a") == entry(b"a", b"1", expires=5)
    assert not memory.covers(b"a")
    assert due(memory, 9) == []


def test_what_changed_while_it_was_folded_still_covers():
    memory = memory_of(row(b"a", b"1", 1), row(b"b", b"1", 2))
    memory.begin_fold(2)
    memory.update([row(b"a", b"2", 3)])
    memory.end_fold()
    assert (memory.covers(b"a"), memory.covers(b"b")) == (True, False)
    assert (memory.active.keys, memory.folded) == ([b"a"], 2)


def test_a_cached_entry_is_replaced_by_what_is_written_later():
    memory = Overlays(3)
    memory.insert({b"a": entry(b"a", b"old", 2)})
    memory.update([row(b"a", b"new", 4)])
    fold_up_to(memory, 4)
    assert memory.key_cache.get(b"a").value == b"new"


def test_a_fold_that_failed_is_fresh_again_with_what_came_since():
    memory = memory_of(row(b"a", b"1", 1, expires=5), row(b"b", b"1", 2, expires=6))
    memory.begin_fold(2)
    memory.update([row(b"b", b"2", 3, expires=7), row(b"c", None, 4)])
    payload = memory.active.payload + memory.immutable.payload
    memory.undo_fold()
    assert memory.immutable is None
    assert sorted(memory.active.keys) == [b"a", b"b", b"c"]
    assert (memory.active.since, memory.active.changes, memory.active.payload) == (0, 4, payload)
    assert (due(memory, 6), due(memory, 7)) == ([b"a"], [b"a", b"b"])
    assert all(memory.covers(key) for key in (b"a", b"b", b"c"))


def test_a_walk_shows_each_key_as_its_newest_change_has_it():
    memory = memory_of(row(b"b", revision=1), row(b"d", revision=2))
    memory.begin_fold(2)
    memory.update([row(b"a", revision=3), row(b"b", None, 4), row(b"e", None, 5)])
    below = [entry(b"a", b"old"), entry(b"c"), entry(b"e")]
    assert walk(memory, below) == [b"a", b"c", b"d"]
    assert walk(memory, below[1:], b"", b"b") == [b"c", b"d"]
    assert walk(memory, [], b"d") == [b"d"]
    assert walk(Overlays(), below) == [b"a", b"c", b"e"]


def test_a_key_in_both_overlays_is_shown_once_as_it_is_now():
    memory = memory_of(row(b"a", b"1", 1), row(b"b", b"1", 2))
    memory.begin_fold(2)
    memory.update([row(b"a", b"2", 3)])
    below = iter([entry(b"a", b"0"), entry(b"b", b"0")])
    assert [found.value for found in memory.scan(below, ALL)] == [b"2", b"1"]


def due(known, now):
    """Return the due keys of memory or an overlay, and assert that `all_due` agrees."""
    everything = set(known.all_due(now))
    found = [key for key in known.due(now) if key is not None]
    assert (len(found), set(found)) == (len(everything), everything)
    return found


def test_keys_are_due_first_in_time_and_only_as_their_newest_entry_says():
    times = [(b"a", 9), (b"b", 5), (b"c", 5), (b"d", 5)]
    memory = memory_of(*[row(key, b"", at, expires=until) for at, (key, until) in enumerate(times, 1)])
    memory.begin_fold(4)
    memory.update([row(b"c", None, 5), row(b"d", b"", 6, expires=20), row(b"e", b"", 7, expires=7), row(b"f", b"", 8)])
    assert due(memory, 4) == []
    assert due(memory, 5) == [b"b"]
    assert due(memory, 9) == [b"e", b"b", b"a"]
    assert due(memory, 9) == [b"e", b"b", b"a"]
    assert due(memory, 20) == [b"e", b"d", b"b", b"a"]


def test_an_expiry_that_was_set_twice_is_due_once():
    memory = memory_of(row(b"a", b"", 1, expires=5), row(b"a", b"2", 2, expires=5))
    assert due(memory.active, 5) == [b"a"]
    memory.update([row(b"a", b"", 3)])
    assert due(memory.active, 5) == []


def test_an_expiry_that_was_set_earlier_than_it_was_is_the_one_that_counts():
    memory = memory_of(row(b"a", b"", 1, expires=7), row(b"a", b"", 2, expires=5))
    assert due(memory, 9) == [b"a"]
    assert due(memory, 9) == [b"a"]


def test_an_overlay_weighs_what_came_of_each_key():
    memory = memory_of(row(b"a", b"123", 1), row(b"bc", None, 2), row(b"a", b"4", 3))
    assert (memory.active.size, memory.active.changes) == (2 * memory.key_cache.overhead + 8, 3)
    memory.begin_fold(3)
    assert memory.overlays() == [memory.active, memory.immutable]
    assert memory.overlay_size() == memory.immutable.size


def test_what_is_not_folded_is_never_dropped(monkeypatch):
    monkeypatch.setattr(overlays_module, "MEMORY_BYTES_MAX", 0)
    memory = Overlays()
    memory.insert({b"a": None})
    memory.update([row(b"%d" % number, None, number) for number in range(1, 21)])
    memory.begin_fold(20)
    memory.update([row(b"%d" % number, b"y" * 9, number) for number in range(21, 41)])
    for _ in range(50):
        memory.evict(1_000)
    assert memory.key_cache.find_uncached([b"%d" % number for number in range(1, 41)]) == []
    memory.end_fold()
    for _ in range(50):
        memory.evict(1_000)
    keys = [b"%d" % number for number in range(1, 41)]
    assert memory.key_cache.find_uncached(keys) == keys[:20]
    assert memory.active.size == 20 * (memory.key_cache.overhead + 11)


def test_all_of_it_stays_within_its_bound(monkeypatch):
    memory = Overlays(1)
    monkeypatch.setattr(overlays_module, "MEMORY_BYTES_MAX", memory.size + 500_000)
    for number in range(20_000):
        memory.insert({b"%d" % number: entry(b"%d" % number, b"x" * 100)})
        assert memory.size <= overlays_module.MEMORY_BYTES_MAX + 100_000  # what the slots grow by
    assert memory.key_cache.get(b"19999") is not NOT_CACHED
    assert len(memory.key_cache) > 1_000


def test_large_values_that_come_after_many_small_ones_stay_within_the_bound_too(monkeypatch):
    memory = Overlays(1)
    memory.insert({b"%d" % number: entry(b"%d" % number, b"x") for number in range(20_000)})
    monkeypatch.setattr(overlays_module, "MEMORY_BYTES_MAX", memory.size)
    for number in range(100):
        memory.insert({b"large %d" % number: entry(b"large %d" % number, bytes(100_000))})
        assert memory.size <= overlays_module.MEMORY_BYTES_MAX + 1_000_000  # some have only just been asked for


def test_the_weight_of_the_plain_form_is_that_of_what_is_there():
    known = PlainKeyCache()
    known.update([row(b"a", b"1" * 50, 1), row(b"b", None, 2), row(b"a", b"1" * 5, 3)], 0, [], bytearray(), [])
    known.insert({b"d": entry(b"d", b"1" * 90)})
    assert known.size == sum(weight(found) for found in known.records.values())


BYTES = st.binary(max_size=3)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(steps=st.lists(st.tuples(st.lists(BYTES, max_size=12), BYTES, st.none() | BYTES)))
def test_the_keys_of_a_growing_overlay_are_told_in_order(form, steps):
    overlay, revision = Overlay(form(), 0), 0
    for keys, prefix, after in steps:
        overlay.update([row(key, b"", revision + at) for at, key in enumerate(keys, 1)])
        revision += len(keys)
        wanted = sorted(key for key in overlay.keys if key.startswith(prefix) and (after is None or key > after))
        assert list(overlay.order.between(make_span(prefix, after))) == wanted
        before = sorted(key for key in overlay.keys if key.startswith(prefix) and (after is None or key < after))
        assert list(overlay.order.between(make_span(prefix, after, is_reverse=True))) == before[::-1]
        assert len(set(overlay.keys)) == len(overlay.keys)
