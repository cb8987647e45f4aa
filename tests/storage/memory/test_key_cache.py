"""The key cache: both implementations do the same for any input, and entries not yet folded are never evicted."""

import gc
import sys

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec import Raw, msgpack
from support.forms import IMPLEMENTATIONS, built, make_compiled_cache, row

from kvd.commands.model import Entry, entry_of
from kvd.storage.memory.key_cache import NOT_CACHED, PlainKeyCache

KEYS = [b"", b"a", b"b", b"\xff" * 4096, *[b"%d" % number for number in range(40)]]
VALUES = [b"", b"v", b"x" * 100, b"y" * 1023, b"z" * 1024, b"w" * 70_000]
NOW = 100
ENOUGH = 1 << 30


@pytest.fixture(params=IMPLEMENTATIONS)
def cache(request):
    return request.param()


def update(cache, *rows, since=0):
    """Take in changes; return the bytes, how many more entries, the keys new after `since` and what expires."""
    keys, existed, expiring = [], bytearray(), []
    return (*cache.update(list(rows), since, keys, existed, expiring), list(zip(keys, existed, strict=True)), expiring)


def decode(values):
    return msgpack.decode(values) if isinstance(values, Raw) else values


def test_what_is_not_known_is_told_from_what_is_not_there(cache):
    update(cache, row(b"a", b"1", 7), row(b"b", None, 8))
    cache.insert({b"c": None, b"d": Entry(b"d", 3, 2, 50, b"disk")})
    assert cache.get(b"a") == Entry(b"a", 7, 7, None, b"1")
    assert cache.get_many([b"b", b"c", b"d", b"e"]) == [None, None, Entry(b"d", 3, 2, 50, b"disk"), NOT_CACHED]
    assert [cache.revision(key) for key in (b"a", b"b", b"c", b"d", b"e")] == [7, 8, 0, 3, -1]
    assert cache.find_uncached([b"e", b"a", b"e"]) == [b"e", b"e"]
    assert len(cache) == 4


def test_what_comes_is_counted_and_told_once_for_each_key_since(cache):
    rows = [row(b"a", b"12", 5, expires=9), row(b"a", b"3", 6, previous=5), row(b"bb", None, 7, previous=2)]
    told = update(cache, *rows)
    assert told == (7, 0, [(b"a", 0), (b"bb", 1)], [(9, b"a")])
    news = update(cache, row(b"a", b"4", 8, previous=6), row(b"bb", b"", 9), since=7)
    assert news == (4, 1, [(b"a", 1), (b"bb", 0)], [])
    assert update(cache, row(b"a", b"5", 10, previous=8), since=7) == (2, 0, [], [])


def test_what_the_table_says_is_no_news_of_what_is_known(cache):
    update(cache, row(b"a", b"new", 9))
    cache.insert({b"a": Entry(b"a", 1, 1, None, b"old")})
    assert cache.get(b"a").value == b"new"


def test_values_are_an_array_of_those_that_are_live(cache):
    update(cache, *[row(b"%d" % at, value, at + 1) for at, value in enumerate(VALUES)])
    update(cache, row(b"due", b"x", 20, expires=NOW), row(b"later", b"y", 21, expires=NOW + 1), row(b"ended", None, 22))
    keys = [b"due", b"later", b"ended", *[b"%d" % at for at in range(len(VALUES))], b"later"]
    assert decode(cache.values(keys, NOW, ENOUGH)) == [None, b"y", None, *VALUES, b"y"]
    size = sum(map(len, VALUES)) + 2
    assert cache.values(keys, NOW, size - 1) is None
    assert cache.values(keys, NOW, size) is not None
    assert cache.values([*keys, b"unknown"], NOW, ENOUGH) is None
    assert decode(cache.values([], NOW, ENOUGH)) == []
    assert decode(cache.values([b"0", b"1"] * 40_000, NOW, ENOUGH)) == VALUES[:2] * 40_000


@pytest.mark.parametrize("count", [1, 15, 16, 17, 255, 256, 65_535, 65_536])
def test_values_are_an_array_however_many_they_are(cache, count):
    update(cache, row(b"a", b"1"))
    assert decode(cache.values([b"a"] * count, NOW, ENOUGH)) == [b"1"] * count


def test_each_lookup_of_what_is_known_is_a_hit(cache):
    update(cache, row(b"a", b"1"))
    before = cache.hits
    cache.get(b"a"), cache.get(b"x"), cache.get_many([b"a", b"x", b"a"]), cache.values([b"a"], NOW, ENOUGH)
    assert cache.hits - before == 4


def test_what_is_later_than_the_fold_is_never_forgotten(cache):
    update(cache, *[row(b"%d" % number, b"x", number + 1) for number in range(4_000)])
    for _ in range(100):
        cache.evict(0, 3_000, 100_000)
    assert cache.find_uncached([b"%d" % number for number in range(4_000)]) == [
        b"%d" % number for number in range(3_000)
    ]
    cache.evict(0, 4_000, 100_000), cache.evict(0, 4_000, 100_000)
    assert len(cache) == 0


def test_forgetting_ends_when_the_bound_is_met(cache):
    update(cache, *[row(b"%d" % number, b"x" * 100, number + 1) for number in range(4_000)])
    bound = cache.size * 2 // 3
    for _ in range(100):
        cache.evict(bound, 4_000, 1_000)
    assert bound - 1_000 < cache.size <= bound


def test_what_is_asked_for_outlasts_what_is_not():
    pytest.importorskip("kvd.native._native")
    cache = make_compiled_cache()
    update(cache, *[row(b"%d" % number, b"x" * 100, number + 1) for number in range(4_000)])
    bound = cache.size - 2_000 * 100
    for _ in range(200):
        cache.get(b"7")
        cache.evict(bound, 4_000, 100)
    assert cache.get(b"7") is not NOT_CACHED
    assert len(cache) < 3_000


@built
def test_many_collisions_and_their_end_lose_nothing():
    cache, there = make_compiled_cache(), {}
    for number in range(30_000):
        key = b"%d" % (number * number % 7_919)
        update(cache, row(key, b"%d" % number, number + 1))
        there[key] = number + 1
        if number % 1_000 == 999:
            folded = number - 500
            cache.evict(0, folded, 3_000)
            gone = set(cache.find_uncached(list(there)))
            assert all(there[key] <= folded for key in gone)
            assert all(cache.revision(key) == revision for key, revision in there.items() if key not in gone)
            there = {key: revision for key, revision in there.items() if key not in gone}
    assert len(cache) == len(there)


ROWS = st.tuples(st.sampled_from(KEYS), st.none() | st.sampled_from(VALUES), st.none() | st.integers(NOW - 2, NOW + 2))
STEPS = st.one_of(
    st.tuples(st.just("update"), st.lists(ROWS, max_size=30)),
    st.tuples(st.just("keep"), st.lists(ROWS, max_size=10)),
    st.tuples(st.just("read"), st.lists(st.sampled_from(KEYS), max_size=100)),
)


@built
@given(st.lists(STEPS, max_size=20))
def test_both_forms_know_the_same(steps):
    forms, revision = [PlainKeyCache(), make_compiled_cache()], 0
    for what, items in steps:
        if what == "update":
            rows = [row(key, value, revision + at, expires=until) for at, (key, value, until) in enumerate(items, 1)]
            first, second = [update(form, *rows, since=revision // 2) for form in forms]
            revision += len(rows)
            assert first == second
        elif what == "keep":
            found = {key: entry_of(row(key, value, 1, expires=until)) for key, value, until in items}
            missing = forms[0].find_uncached(list(found))
            for form in forms:
                form.insert({key: found[key] for key in missing})
        else:
            first, second = [decode(form.values(items, NOW, 100_000)) for form in forms]
            assert first == second
        first, second = [(form.get_many(KEYS), [*map(form.revision, KEYS)], form.find_uncached(KEYS)) for form in forms]
        assert len(forms[0]) == len(forms[1])
        assert first == second
    assert forms[0].hits == forms[1].hits


@built
@pytest.mark.parametrize("key", ["a", 1, None, b"k" * 65_536])
def test_what_is_no_key_is_refused(key):
    cache = make_compiled_cache()
    for call in (cache.get, cache.revision, lambda key: cache.get_many([key]), lambda key: cache.insert({key: None})):
        with pytest.raises(TypeError):
            call(key)
    with pytest.raises(TypeError):
        update(cache, row(key))
    assert len(cache) == 0


@built
def test_what_is_no_row_is_refused():
    cache = make_compiled_cache()
    for wrong in ((1, 2), [1] * 8, (None, 1, b"k", b"v", 0, 1, None, 5), (1, 1, b"k", "v", 0, 1, None, 5)):
        with pytest.raises(TypeError):
            update(cache, wrong)


@built
def test_nothing_that_came_is_held_when_it_is_gone():
    large, entry = b"l" * 5_000, Entry(b"c", 1, 1, None, b"m" * 5_000)
    gc.collect()
    held = [large, entry.value, NOT_CACHED, Entry]
    before = list(map(sys.getrefcount, held))
    cache = make_compiled_cache()
    for revision in range(1, 50):
        update(cache, row(b"a", large, revision), row(b"b", None, revision), row(b"b", large, revision))
        cache.insert({b"c": entry})
        cache.get_many([b"a", b"b", b"c", b"d"]), cache.values([b"a", b"b", b"c"], NOW, ENOUGH)
        cache.evict(0, 0, 4_000)
    cache.evict(0, 100, 4_000)
    del cache
    gc.collect()
    assert list(map(sys.getrefcount, held)) == before
