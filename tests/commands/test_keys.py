"""EXISTS, ENTRY, SCAN, COUNT, CLEARPREFIX."""

import pytest
from support.fakes import NOW

from kvd.commands import keys
from kvd.commands.keys import ClearPrefix, Count, EntryOf, Exists, Scan
from kvd.commands.values import Clear, Set

TRICKY = [
    b"\x00",
    b"a",
    b"a\x00",
    b"a\x00\xff",
    b"a\xff",
    b"a\xff\xff",
    b"ab",
    b"b",
    b"\xff",
    b"\xff\xff",
    b"\xff" * 4096,
]


def written(*names):
    return [Set(key, key[:1]) for key in names]


def scan_all(bench, prefix, limit):
    found, after = [], None
    while True:
        page, after = bench.run(Scan(prefix, after, limit))
        found += page
        if after is None:
            return found
        assert len(page) == limit


@pytest.mark.parametrize(
    ("given", "command", "result"),
    [
        ([], Exists([b"a"]), 0),
        (written(b"a"), Exists([b"a", b"a", b"b"]), 2),
        ([], EntryOf(b"a"), None),
        ([Set(b"a", b"123")], EntryOf(b"a"), {"revision": 1, "created": 1, "expires": None, "size": 3}),
        (
            [Set(b"a", b"12")],
            EntryOf(b"a", value=True),
            {"revision": 1, "created": 1, "expires": None, "size": 2, "value": b"12"},
        ),
        (
            [Set(b"a", b""), Set(b"a", b"1", ttl=9)],
            EntryOf(b"a"),
            {"revision": 2, "created": 1, "expires": NOW + 9, "size": 1},
        ),
        (
            [Set(b"a", b"123")],
            EntryOf(b"a", start=1),
            {"revision": 1, "created": 1, "expires": None, "size": 3, "value": b"23"},
        ),
        (
            [Set(b"a", b"123")],
            EntryOf(b"a", value=True, start=-2, end=1),
            {"revision": 1, "created": 1, "expires": None, "size": 3, "value": b"2"},
        ),
        (
            [Set(b"a", b"123")],
            EntryOf(b"a", end=0),
            {"revision": 1, "created": 1, "expires": None, "size": 3, "value": b"1"},
        ),
        ([], Count(), 0),
        (written(b"a", b"ab", b"b"), Count(), 3),
        (written(b"a", b"ab", b"b"), Count(b"a"), 2),
        (written(b"a", b"a"), Count(b""), 1),
        ([*written(b"a", b"b"), Clear([b"a"])], Count(), 1),
        (written(b"\xff", b"\xff\xff", b"a"), Count(b"\xff"), 2),
        ([], Scan(), [[], None]),
        (written(b"b", b"a"), Scan(), [[b"a", b"b"], None]),
        (written(b"b", b"a"), Scan(limit=1), [[b"a"], b"a"]),
        (written(b"b", b"a"), Scan(limit=2), [[b"a", b"b"], None]),
        (written(b"b", b"a"), Scan(after=b"a"), [[b"b"], None]),
        (written(b"b", b"a"), Scan(after=b"b"), [[], None]),
        (written(b"a", b"a\x00"), Scan(after=b"a"), [[b"a\x00"], None]),
        (written(b"a", b"b"), Scan(b"b", after=b"a"), [[b"b"], None]),
        (written(b"a", b"b"), Scan(b"a", after=b"b"), [[], None]),
        ([Set(b"a", b"1", ttl=5)], Scan(values=True), [[(b"a", b"1", 1, NOW + 5)], None]),
        (written(b"a"), Scan(values=False), [[b"a"], None]),
        ([Set(b"a", b"123", ttl=5)], Scan(sizes=True), [[(b"a", 3, 1, NOW + 5)], None]),
        ([Set(b"a", b""), Set(b"b", b"1")], Scan(sizes=True, limit=1), [[(b"a", 0, 1, None)], b"a"]),
        (written(b"a", b"b"), Scan(sizes=True, after=b"b", reverse=True), [[(b"a", 1, 1, None)], None]),
        (written(b"a"), Scan(sizes=False), [[b"a"], None]),
        (written(b"a", b"b", b"c"), Scan(start=b"b"), [[b"b", b"c"], None]),
        (written(b"a", b"b", b"c"), Scan(start=b"a\x00", stop=b"c"), [[b"b"], None]),
        (written(b"a", b"b", b"c"), Scan(start=b"c", stop=b"a"), [[], None]),
        (written(b"a", b"b", b"c"), Scan(b"b", start=b"a", stop=b"d"), [[b"b"], None]),
        (written(b"a", b"b", b"c"), Scan(start=b"b", after=b"a"), [[b"b", b"c"], None]),
        (written(b"a", b"b", b"c"), Scan(start=b"a", after=b"b"), [[b"c"], None]),
        (written(b"a", b"b", b"c"), Scan(reverse=True), [[b"c", b"b", b"a"], None]),
        (written(b"a", b"b", b"c"), Scan(reverse=True, limit=2), [[b"c", b"b"], b"b"]),
        (written(b"a", b"b", b"c"), Scan(reverse=True, after=b"b"), [[b"a"], None]),
        (written(b"a", b"b", b"c"), Scan(reverse=True, after=b"c", stop=b"b"), [[b"a"], None]),
        (written(b"a", b"b", b"c"), Scan(reverse=True, after=b"b", stop=b"c"), [[b"a"], None]),
        (written(b"a", b"b", b"c"), Scan(b"b", reverse=True, start=b"b"), [[b"b"], None]),
        (written(b"a", b"b", b"c"), Scan(start=b"b", reverse=False), [[b"b", b"c"], None]),
    ],
)
def test_a_read_gives_its_result(bench, given, command, result):
    assert bench.execute(*given).run(command) == result


@pytest.mark.parametrize("prefix", [b"", b"a", b"a\x00", b"a\xff", b"ab", b"\xff", b"\xff\xff", b"c"])
@pytest.mark.parametrize("limit", [1, 2, 100])
def test_a_walk_over_pages_of_any_size_is_the_sorted_keys_of_a_prefix(bench, prefix, limit):
    bench.execute(*written(*reversed(TRICKY)))
    expected = sorted(key for key in TRICKY if key.startswith(prefix))
    assert scan_all(bench, prefix, limit) == expected
    assert bench.run(Count(prefix)) == len(expected)


def test_a_page_has_a_hundred_keys_if_nothing_is_said(bench):
    bench.execute(*written(*(b"%03d" % n for n in range(101))))
    assert bench.run(Scan()) == [[b"%03d" % n for n in range(100)], b"099"]


def test_a_key_that_is_there_throughout_comes_once_whatever_changes_between_the_pages(bench):
    bench.execute(*written(b"b", b"d", b"f"))
    assert bench.run(Scan(limit=1)) == [[b"b"], b"b"]
    bench.execute(Clear([b"b"]), *written(b"a", b"c", b"d", b"g"), Clear([b"g"]))
    assert bench.run(Scan(after=b"b", limit=2)) == [[b"c", b"d"], b"d"]
    bench.execute(Clear([b"d"]))
    assert bench.run(Scan(after=b"d", limit=2)) == [[b"f"], None]


def test_a_page_ends_before_it_is_more_than_a_reply_holds(bench, monkeypatch):
    monkeypatch.setattr(keys, "REPLY_BYTES_MAX", 6)
    bench.execute(Set(b"a", b"12"), Set(b"b", b"34"), Set(b"c", b"5678901"), Set(b"d", b""))
    assert bench.run(Scan(values=True)) == [[(b"a", b"12", 1, None), (b"b", b"34", 2, None)], b"b"]
    assert bench.run(Scan(after=b"b", values=True)) == [[(b"c", b"5678901", 3, None)], b"c"]
    assert bench.run(Scan()) == [[b"a", b"b", b"c", b"d"], None]
    bench.execute(Set(b"e" * 5, b""))
    assert bench.run(Scan(b"", b"b", sizes=True)) == [[(b"c", 7, 3, None)], b"c"]
    assert bench.run(Scan()) == [[b"a", b"b"], b"b"]


def test_values_and_sizes_exclude_each_other(bench):
    code, message, _ = bench.run(Scan(values=True, sizes=True))
    assert (code, message) == ("BAD_ARGUMENT", "values and sizes exclude each other: give one of them")


@pytest.mark.parametrize(
    ("command", "live", "gone"),
    [
        (Exists([b"a"]), 1, 0),
        (EntryOf(b"a"), {"revision": 1, "created": 1, "expires": NOW + 10, "size": 1}, None),
        (Count(), 2, 1),
        (Count(b"a"), 1, 0),
        (Scan(), [[b"a", b"b"], None], [[b"b"], None]),
        (ClearPrefix(b"a"), 1, 0),
    ],
)
def test_an_entry_counts_until_the_millisecond_it_expires(bench, command, live, gone):
    bench.execute(Set(b"a", b"1", ttl=10), Set(b"b", b"2"))
    assert bench.at(NOW + 10).run(command) == gone
    assert bench.at(NOW + 9).run(command) == live


@pytest.mark.parametrize(
    ("command", "result", "left"),
    [
        (ClearPrefix(b"a"), 3, [b"b", b"\xff"]),
        (ClearPrefix(b""), 5, []),
        (ClearPrefix(b"\xff"), 1, [b"a", b"a\xff", b"ab", b"b"]),
        (ClearPrefix(b"c"), 0, [b"a", b"ab", b"a\xff", b"b", b"\xff"]),
        (ClearPrefix(b"a", 2), 2, [b"a\xff", b"b", b"\xff"]),
        (ClearPrefix(b"a", 3), 3, [b"b", b"\xff"]),
        (ClearPrefix(b"a", 9), 3, [b"b", b"\xff"]),
    ],
)
def test_clearprefix_ends_the_first_keys_in_byte_order(bench, command, result, left):
    bench.execute(*written(b"\xff", b"b", b"ab", b"a\xff", b"a"))
    assert bench.run(command) == result
    assert bench.run(Scan()) == [sorted(left), None]
    assert [change[0] for change in bench.changes(5)] == ["CLEAR"] * result


def test_clearprefix_of_more_than_its_limit_has_to_be_told_so(bench, monkeypatch):
    monkeypatch.setattr(keys, "CLEARED_KEYS_MAX", 2)
    bench.execute(*written(b"a", b"b", b"c"))
    message = "more than 2 keys have this prefix: clear them in parts, with LIMIT 2"
    assert bench.run(ClearPrefix(b"")) == ("TOO_LARGE", message, {})
    assert bench.run(ClearPrefix(b"", 2)) == 2
    assert bench.execute(*written(b"a")).run(ClearPrefix(b"")) == 2
