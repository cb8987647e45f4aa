"""The tally of sizes: against a plain computation over a dict, and exact figures."""

from collections import defaultdict

from hypothesis import given
from hypothesis import strategies as st

from kvsh.modes.sizes import RANKED_MAX, Group, Sizes, Top

KEYS = st.lists(st.sampled_from([b"a", b"b", b":", b"/", b"\xff"]), min_size=1, max_size=6).map(b"".join)
STORES = st.dictionaries(KEYS, st.binary(max_size=120), max_size=60)


def tally(store):
    sizes = Sizes()
    entries = sorted(store.items())
    for at in range(0, len(entries), 7):  # by pages
        sizes.add([[key, value, 1, None] for key, value in entries[at : at + 7]])
    return sizes


def prefix_of(key):
    ends = [at + 1 for at in (key.find(b":"), key.find(b"/")) if at >= 0]
    return key[: min(ends)] if ends else None


@given(STORES)
def test_sums_are_those_of_the_whole_store(store):
    sizes = tally(store)
    assert sizes.keys == len(store)
    assert sizes.key_bytes == sum(map(len, store))
    assert sizes.value_bytes == sum(map(len, store.values()))
    assert sum(each["keys"] for each in sizes.document()["sizes"]) == len(store)


@given(STORES)
def test_prefixes_are_exact(store):
    expected = defaultdict(lambda: [0, 0])
    for key, value in store.items():
        expected[prefix_of(key)][0] += 1
        expected[prefix_of(key)][1] += len(key) + len(value)
    found = tally(store).prefixes()
    assert all([group.keys, group.bytes] == expected[group.prefix] for group in found)
    most = sorted((size for _, size in expected.values()), reverse=True)[:RANKED_MAX]
    assert [group.bytes for group in found] == most


@given(STORES)
def test_the_largest_are_the_largest(store):
    most = sorted(store, key=lambda key: (-len(store[key]), key))[:RANKED_MAX]
    assert [key for _, key in tally(store).largest.rank()] == most


def test_a_document_of_known_entries():
    store = {b"a:1": b"", b"a:2": b"x" * 9, b"a:b/c": b"x" * 10, b"b/1": b"x" * 99, b"k": b"x" * 100}
    assert tally(store).document() == {
        "keys": 5,
        "key_bytes": 15,
        "value_bytes": 218,
        "mean_value_bytes": 43.6,
        "largest": [
            {"key": b"k", "bytes": 100},
            {"key": b"b/1", "bytes": 99},
            {"key": b"a:b/c", "bytes": 10},
            {"key": b"a:2", "bytes": 9},
            {"key": b"a:1", "bytes": 0},
        ],
        "prefixes": [
            {"prefix": b"b/", "keys": 1, "bytes": 102},
            {"prefix": None, "keys": 1, "bytes": 101},
            {"prefix": b"a:", "keys": 3, "bytes": 30},
        ],
        "sizes": [
            {"from": 0, "to": 0, "keys": 1},
            {"from": 1, "to": 9, "keys": 1},
            {"from": 10, "to": 99, "keys": 2},
            {"from": 100, "to": 999, "keys": 1},
        ],
    }


def test_an_empty_store_has_a_document_too():
    assert tally({}).document() == {
        "keys": 0,
        "key_bytes": 0,
        "value_bytes": 0,
        "mean_value_bytes": None,
        "largest": [],
        "prefixes": [],
        "sizes": [],
    }


def test_more_prefixes_than_are_shown_cost_no_more_room():
    store = {b"%06d:k" % number: b"x" * (number % 1000) for number in range(5_000)}
    sizes = tally(store)
    assert len(sizes.groups.heap) == RANKED_MAX
    assert [group.bytes for group in sizes.prefixes()] == [8 + 999] * 5 + [8 + 998] * 5
    assert sizes.prefixes()[0] == Group(b"000999:", 1, 1007)


def test_of_equals_the_first_are_kept():
    top = Top(2)
    for name in "abc":
        top.offer(1, name)
    assert top.rank() == [(1, "a"), (1, "b")]
    top.offer(2, "d")
    assert top.rank() == [(2, "d"), (1, "a")]
