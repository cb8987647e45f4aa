"""The distribution of measured times: percentiles and buckets, exact to the microsecond. Pure.

Times are counted by whole microseconds, `{microseconds: count}`. This counter takes constant memory for any duration
(a network gives a few thousand different times), merges by addition, and loses nothing.
"""

from bisect import bisect_right
from collections import Counter
from collections.abc import Mapping
from math import ceil
from typing import Any, NamedTuple

BUCKETS_MAX = 20
# Lower bounds of the buckets of a decade, in microseconds: Renard's series R10 and R5 (ISO 3) and coarser ones, round
# and about equally wide on a logarithmic scale. The finest series with at most BUCKETS_MAX buckets is used.
SERIES = (
    (10.0, 12.5, 16.0, 20.0, 25.0, 31.5, 40.0, 50.0, 63.0, 80.0),
    (10.0, 16.0, 25.0, 40.0, 63.0),
    (10.0, 20.0, 50.0),
    (10.0,),
)
DECADES = range(8)  # from 10 us to 1000 s; the first bucket begins at 0, the last has no end
US_PER_MS = 1000

Times = Counter[int]


class Bucket(NamedTuple):
    """The number of `times` that were at least `low` and below `high`, in microseconds."""

    low: float
    high: float
    times: int


def percentile(times: Mapping[int, int], percent: float) -> int:
    """Return the smallest time in microseconds that `percent` of all do not exceed (nearest rank).

    Raises ValueError when there are no times.
    """
    rank = ceil(sum(times.values()) * percent / 100)
    below = 0
    for time in sorted(times):
        below += times[time]
        if below >= rank:
            return time
    raise ValueError("there are no times")


def mean(times: Mapping[int, int]) -> float:
    """Return the mean in microseconds. Raises ZeroDivisionError when there are no times."""
    return sum([time * count for time, count in times.items()]) / sum(times.values())


def figures(times: Mapping[int, int]) -> dict[str, Any]:
    """Return the count, and min, avg, p50, p99 and max in milliseconds (None when there are no times)."""
    names = ("min_ms", "avg_ms", "p50_ms", "p99_ms", "max_ms")
    values: list[float | None] = [None] * len(names)
    if times:
        values = [min(times), round(mean(times)), percentile(times, 50), percentile(times, 99), max(times)]
    milliseconds = [None if each is None else each / US_PER_MS for each in values]
    return {"count": sum(times.values()), **dict(zip(names, milliseconds, strict=True))}


def buckets(times: Mapping[int, int]) -> list[Bucket]:
    """Return the buckets from the first to the last nonempty one, including empty ones between."""
    chosen: list[Bucket] = []
    for series in SERIES:
        chosen = buckets_of(times, [0.0, *(step * 10**decade for decade in DECADES for step in series), float("inf")])
        if len(chosen) <= BUCKETS_MAX:
            break
    return chosen


def buckets_of(times: Mapping[int, int], edges: list[float]) -> list[Bucket]:
    """Return the buckets between edges, without the empty ones at both ends."""
    counts: Counter[int] = Counter()
    for time, count in times.items():
        counts[bisect_right(edges, time) - 1] += count
    span = range(min(counts), max(counts) + 1) if counts else range(0)
    return [Bucket(edges[at], edges[at + 1], counts[at]) for at in span]
