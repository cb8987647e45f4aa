"""Percentiles and buckets: exact figures of known times, and what holds for any."""

from collections import Counter
from itertools import pairwise
from math import inf

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kvsh.modes.latency_stats import BUCKETS_MAX, Bucket, buckets, buckets_of, figures, mean, percentile

HUNDRED = dict.fromkeys(range(1, 101), 1)
TIMES = st.dictionaries(st.integers(0, 10**10), st.integers(1, 50), min_size=1)


@pytest.mark.parametrize(
    ("times", "percent", "expected"),
    [
        (HUNDRED, 50, 50),
        (HUNDRED, 99, 99),
        (HUNDRED, 99.5, 100),
        (HUNDRED, 100, 100),
        ({7: 1}, 50, 7),
        ({7: 1, 9: 1}, 50, 7),
        ({7: 1, 9: 1}, 51, 9),
        ({1: 98, 5000: 2}, 98, 1),
        ({5000: 2, 1: 98}, 99, 5000),
    ],
)
def test_a_percentile_is_the_nearest_rank(times, percent, expected):
    assert percentile(times, percent) == expected


def test_of_no_times_there_is_none():
    with pytest.raises(ValueError, match="there are no times"):
        percentile({}, 50)
    nothing = dict.fromkeys(("min_ms", "avg_ms", "p50_ms", "p99_ms", "max_ms"))
    assert figures({}) == {"count": 0, **nothing}
    assert buckets({}) == []


@given(TIMES, st.floats(0.1, 100))
def test_a_percentile_is_what_a_sorted_list_has(times, percent):
    every = sorted(Counter(times).elements())
    found = percentile(times, percent)
    assert sum(time <= found for time in every) >= len(every) * percent / 100
    assert sum(time < found for time in every) < len(every) * percent / 100


def test_figures_are_in_milliseconds():
    assert figures({100: 3, 300: 1}) == {
        "count": 4,
        "min_ms": 0.1,
        "avg_ms": 0.15,
        "p50_ms": 0.1,
        "p99_ms": 0.3,
        "max_ms": 0.3,
    }
    assert mean({100: 3, 300: 1}) == 150.0


def test_buckets_are_half_open_and_those_between_are_there():
    assert buckets({99: 1, 100: 2, 124: 1, 125: 5, 200: 1}) == [
        Bucket(80.0, 100.0, 1),
        Bucket(100.0, 125.0, 3),
        Bucket(125.0, 160.0, 5),
        Bucket(160.0, 200.0, 0),
        Bucket(200.0, 250.0, 1),
    ]


def test_what_is_below_the_first_bound_and_beyond_the_last_has_a_bucket():
    assert buckets({3: 1}) == [Bucket(0.0, 10.0, 1)]
    assert buckets({10**10: 1}) == [Bucket(8e8, inf, 1)]


def test_a_wide_spread_has_wider_buckets():
    assert [bucket.low for bucket in buckets({100: 1, 99_999: 1})][:4] == [100.0, 160.0, 250.0, 400.0]
    assert [bucket.low for bucket in buckets({100: 1, 999_999: 1})][:4] == [100.0, 160.0, 250.0, 400.0]
    assert [bucket.low for bucket in buckets({100: 1, 9_999_999: 1})][:4] == [100.0, 200.0, 500.0, 1000.0]
    assert len(buckets({1: 1, 10**10: 1})) <= BUCKETS_MAX


@given(TIMES)
def test_buckets_hold_all_times_and_join(times):
    found = buckets(times)
    assert sum(bucket.times for bucket in found) == sum(times.values())
    assert all(before.high == after.low for before, after in pairwise(found))
    assert found[0].times
    assert found[-1].times
    assert all(
        bucket.times == sum(n for time, n in times.items() if bucket.low <= time < bucket.high) for bucket in found
    )


def test_edges_are_as_given():
    assert buckets_of({0: 1, 5: 1}, [0, 5, 10]) == [Bucket(0, 5, 1), Bucket(5, 10, 1)]
