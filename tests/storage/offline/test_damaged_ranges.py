"""Reading around damaged pages: every row outside them once, and a sentence for each gap."""

from bisect import bisect_left, bisect_right
from operator import le, lt

import pytest
from hypothesis import given
from hypothesis import strategies as st
from sqlite_utils.utils import sqlite3

from kvd.storage.offline.damaged_ranges import between_keys, between_numbers, rows_around_damage

NUMBERS = st.integers(0, 2**62)
KEYS = st.binary(max_size=5) | st.sampled_from([b"\0", b"a\0", b"a\0\0", b"\xff\xff", b"\xff"])


@given(NUMBERS, NUMBERS | st.none())
def test_a_number_between_two_lies_between_them(low, high):
    middle = between_numbers(low, high)
    if middle is None:
        assert high is not None or low >= 2**61
        assert high is None or high <= low + 1 or high > 2**61
    else:
        assert low < middle
        assert high is None or middle < high


@given(KEYS, KEYS | st.none())
def test_a_key_between_two_lies_between_them(low, high):
    middle = between_keys(low, high)
    if middle is not None:
        assert low < middle
        assert high is None or middle < high
    elif high is not None and low < high:
        assert high <= low + b"\0\0\0", "only such neighbours have none"


def test_neighbours_have_nothing_between():
    assert between_numbers(5, 6) is None
    assert between_numbers(5, 5) is None
    assert between_keys(b"a", b"a\0") is None
    assert between_keys(b"\xff" * 3, None) == b"\xff\xff\xff\x80"


class Pages:
    """Rows of one column on pages; a walk that comes to a damaged page is an error, as in SQLite."""

    def __init__(self, pages, damaged):
        self.pages, self.damaged = pages, damaged
        self.firsts = [page[0] for page in pages]
        self.asked = 0

    def execute(self, sql, span):
        self.asked += 1
        low, high = (*span, None)[:2]
        first = max(0, bisect_right(self.firsts, low) - 1)
        is_within = le if "<= ?" in sql else lt
        search = bisect_right if "<= ?" in sql else bisect_left
        last = len(self.pages) if high is None else max(1, search(self.firsts, high))
        places = range(first, last)
        for place in places if "ASC" in sql else reversed(places):
            if place in self.damaged:
                raise sqlite3.DatabaseError("database disk image is malformed")
            page = [key for key in self.pages[place] if low < key and (high is None or is_within(key, high))]
            yield from ((key,) for key in (page if "ASC" in sql else reversed(page)))


@st.composite
def draw_pages(draw, keys):
    keys = sorted(draw(st.sets(keys, min_size=1, max_size=150)))
    size = draw(st.integers(1, 9))
    pages = [keys[start : start + size] for start in range(0, len(keys), size)]
    return Pages(pages, draw(st.sets(st.integers(0, len(pages) - 1))))


def read(pages, first, between):
    found = list(rows_around_damage(pages, "SELECT k FROM t WHERE k > ?", "k", first, between, 0))
    return [row[0] for row in found if not isinstance(row, str)], [row for row in found if isinstance(row, str)]


def whole(pages):
    return [key for place, page in enumerate(pages.pages) if place not in pages.damaged for key in page]


@given(draw_pages(st.integers(0, 60)))  # as far as EMPTY_PROBES_MAX bisections surely reach
def test_every_number_outside_damaged_pages_is_found_once(pages):
    rows, gaps = read(pages, -1, between_numbers)
    assert sorted(rows) == whole(pages)
    assert bool(gaps) == bool(pages.damaged)


@given(draw_pages(st.binary(min_size=1, max_size=1)))
def test_every_key_outside_damaged_pages_is_found_once(pages):
    rows, gaps = read(pages, b"", between_keys)
    assert sorted(rows) == whole(pages)
    assert bool(gaps) == bool(pages.damaged)


def test_what_touches_is_one_gap():
    pages = Pages([[1, 2], [3, 4], [5, 6], [7, 8], [9, 10]], {1, 2, 4})
    assert read(pages, -1, between_numbers) == (
        [1, 2, 8, 7],
        ["the rows after 2 and before 7 cannot be read", "the rows after 8 cannot be read"],
    )


@pytest.mark.parametrize(("first", "between"), [(-1, between_numbers), (b"", between_keys)])
def test_where_nothing_can_be_read_it_ends(first, between):
    pages = Pages([[1 if first == -1 else b"a"]], {0})
    rows, gaps = read(pages, first, between)
    assert (rows, gaps) == ([], [f"the rows after {first!r} cannot be read"])
    assert pages.asked < 2**15
