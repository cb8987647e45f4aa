"""Entries in memory: what covers what, what is kept, what is let go."""

import pytest

from kvd.commands.entry import Entry
from kvd.storage import layers as layers_module
from kvd.storage.layers import MISSING, Layer, Layers, weight


def entry(key, value=b"", revision=1, expires=None):
    return Entry(key, value, revision, revision, expires)


def filled(*entries):
    """Return layers whose fresh one holds entries; None for a key stands for its end."""
    layers = Layers()
    layers.fresh.update({e.key: e for e in entries}, len(entries))
    return layers


def walk(layers, below=(), prefix=b"", after=None):
    return [found.key for found in layers.scan(iter(below), prefix, after)]


def test_the_newest_layer_that_knows_a_key_is_believed():
    layers = filled(entry(b"a", b"1"))
    layers.begin_fold()
    assert layers.get(b"a") == entry(b"a", b"1")
    layers.fresh.update({b"a": None}, 1)
    assert layers.get(b"a") is None
    assert layers.get(b"b") is MISSING
    assert (layers.hits, layers.misses) == (2, 1)


def test_what_was_folded_stays_warm_and_covers_no_more():
    layers = filled(entry(b"a", b"1", expires=5))
    layers.begin_fold()
    assert layers.covers(b"a")
    layers.end_fold()
    assert layers.get(b"a") == entry(b"a", b"1", expires=5)
    assert not layers.covers(b"a")
    assert list(layers.due(9)) == []


def test_a_cached_entry_is_replaced_by_what_is_folded_later():
    layers = Layers()
    layers.keep(b"a", entry(b"a", b"old"))
    layers.fresh.update({b"a": entry(b"a", b"new")}, 1)
    layers.begin_fold()
    layers.end_fold()
    assert layers.get(b"a") == entry(b"a", b"new")


def test_a_fold_that_failed_is_fresh_again_below_what_came_since():
    layers = filled(entry(b"a", b"1", expires=5), entry(b"b", b"1", expires=6))
    layers.begin_fold()
    layers.fresh.update({b"b": entry(b"b", b"2", 3, expires=7), b"c": None}, 2)
    size = layers.fresh.bytes + layers.folding.bytes
    layers.undo_fold()
    assert layers.folding is None
    assert layers.fresh.entries == {
        b"a": entry(b"a", b"1", expires=5),
        b"b": entry(b"b", b"2", 3, expires=7),
        b"c": None,
    }
    assert (layers.fresh.changes, layers.fresh.bytes) == (4, size)
    assert (list(layers.due(6)), list(layers.due(7))) == ([b"a"], [b"a", b"b"])
    assert layers.get(b"b") == entry(b"b", b"2", 3, expires=7)


def test_a_walk_shows_each_key_as_its_newest_layer_has_it():
    layers = filled(entry(b"b"), entry(b"d"))
    layers.begin_fold()
    layers.fresh.update({b"a": entry(b"a"), b"b": None, b"e": None}, 3)
    below = [entry(b"a", b"old"), entry(b"c"), entry(b"e")]
    assert walk(layers, below) == [b"a", b"c", b"d"]
    assert walk(layers, below[1:], b"", b"b") == [b"c", b"d"]
    assert walk(layers, [], b"d") == [b"d"]
    assert walk(Layers(), below) == [b"a", b"c", b"e"]


def test_keys_are_due_first_in_time_and_only_as_their_newest_entry_says():
    layers = filled(entry(b"a", expires=9), entry(b"b", expires=5), entry(b"c", expires=5), entry(b"d", expires=5))
    layers.begin_fold()
    layers.fresh.update({b"c": None, b"d": entry(b"d", expires=20), b"e": entry(b"e", expires=7), b"f": entry(b"f")}, 4)
    assert list(layers.due(4)) == []
    assert list(layers.due(5)) == [b"b"]
    assert list(layers.due(9)) == [b"e", b"b", b"a"]
    assert list(layers.due(9)) == [b"e", b"b", b"a"]
    assert list(layers.due(20)) == [b"e", b"d", b"b", b"a"]


def test_an_expiry_that_was_set_twice_is_due_once():
    layer = Layer()
    layer.update({b"a": entry(b"a", expires=5)}, 1)
    layer.update({b"a": entry(b"a", b"2", expires=5)}, 1)
    assert list(layer.due(5)) == [b"a"]
    layer.update({b"a": entry(b"a")}, 1)
    assert list(layer.due(5)) == []


def test_a_layer_weighs_what_its_entries_weigh():
    layer = Layer()
    entries = {b"a": entry(b"a", b"123"), b"bc": None}
    layer.update(entries, 5)
    assert (layer.bytes, layer.changes) == (sum(weight(key, found) for key, found in entries.items()), 5)
    layer.forget(b"bc", None)
    assert (layer.bytes, layer.entries) == (weight(b"a", entries[b"a"]), {b"a": entries[b"a"]})


@pytest.fixture
def small(monkeypatch):
    """Two entries to a generation, four to the cache."""
    monkeypatch.setattr(layers_module, "GENERATION_BYTES_MAX", weight(b"a", None))
    monkeypatch.setattr(layers_module, "CACHE_BYTES_MAX", 4 * weight(b"a", None))


def test_the_cache_lets_go_what_was_not_asked_for_lately(small):
    layers = Layers()
    for key in (b"a", b"b", b"c", b"d"):
        layers.keep(key, None)
    assert layers.get(b"a") is None
    layers.keep(b"e", None)
    assert [layers.get(key) for key in (b"b", b"a", b"e")] == [MISSING, None, None]
    assert layers.cache_bytes() <= layers_module.CACHE_BYTES_MAX


def test_a_big_fold_becomes_a_generation_of_its_own_and_the_oldest_goes(small):
    layers = Layers()
    layers.keep(b"old", None)
    layers.fresh.update(dict.fromkeys((b"a", b"b", b"c", b"d")), 4)
    layers.begin_fold()
    layers.end_fold()
    assert [layers.get(key) for key in (b"a", b"d", b"old")] == [None, None, MISSING]


def test_what_is_not_folded_is_told_newest_first():
    layers = Layers()
    assert layers.unfolded() == [layers.fresh]
    layers.begin_fold()
    assert layers.unfolded() == [layers.fresh, layers.folding]
