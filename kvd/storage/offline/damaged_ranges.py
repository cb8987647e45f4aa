"""Reading an ordered table whose pages do not all fit together: what lies on either side of a gap.

SQLite reads from where it is asked to, up to the first damaged page. So a gap is read up to from below and from
above, and what may lie whole within it is looked for by bisection.
"""

from collections.abc import Callable, Iterator
from typing import Any

from sqlite_utils.utils import sqlite3

from kvd.storage.files.sqlite import Connection

PROBES_MAX = 1_000_000  # 20 us each
EMPTY_PROBES_MAX = 12  # bisections in a row that find nothing: then a gap is taken for one damaged page. 0.1 s each gap

Between = Callable[[Any, Any], Any]


def between_numbers(low: int, high: int | None) -> int | None:
    """Return a number in the middle of two, None when there is none."""
    middle = 2 * max(low, 1) if high is None else (low + high) // 2
    return middle if low < middle and (high is None or middle < high) and middle < 2**62 else None


def between_keys(low: bytes, high: bytes | None) -> bytes | None:
    """Return a key in the middle of two in byte order, None when there is none of their lengths and two bytes more."""
    length = max(len(low), len(high or b"")) + 2
    first = int.from_bytes(low.ljust(length, b"\0"), "big")
    last = 256**length if high is None else int.from_bytes(high.ljust(length, b"\0"), "big")
    middle = (first + last) // 2
    found = middle.to_bytes(length, "big").rstrip(b"\0") or b"\0"
    return found if low < found and (high is None or found < high) else None


def rows_around_damage(
    db: Connection, select: str, key: str, first: Any, between: Between, place: int
) -> Iterator[tuple[Any, ...] | str]:
    """Yield the rows after `first` that can be read, and a sentence for each gap.

    `select` ends in `WHERE key > ?`; the key is the column at `place`.
    """
    probes = 0
    segments = [(first, None, "<", 0)]
    gaps: list[tuple[Any, Any]] = []
    while segments:
        low, high, below, barren = segments.pop()
        count = 0
        for order in ("ASC", "DESC"):
            for row in _readable(db, select, (key, below, order), low, high):
                if row is None:
                    break
                count += 1
                low, high, below = (row[place], high, below) if order == "ASC" else (low, row[place], "<")
                yield row
            else:
                break  # all of the segment was read
        else:
            probes += 1
            middle = between(low, high)
            barren = 0 if count else barren + 1
            if middle is None or barren > EMPTY_PROBES_MAX or probes > PROBES_MAX:
                gaps.append((low, high))
            else:
                segments += [(middle, high, below, barren), (low, middle, "<=", barren)]
    yield from map(_describe, _join_ranges(gaps))


def _readable(
    db: Connection, select: str, words: tuple[str, str, str], low: Any, high: Any
) -> Iterator[tuple[Any, ...] | None]:
    """Yield the rows of a segment; None, and nothing more, where a damaged page comes.

    `words`: the key, whether the segment ends with (<=) or before (<) `high`, and the order.
    """
    key, below, order = words
    end, span = ("", (low,)) if high is None else (f" AND {key} {below} ?", (low, high))
    try:
        yield from db.execute(f"{select}{end} ORDER BY {key} {order}", span)
    except sqlite3.DatabaseError:
        yield None


def _join_ranges(gaps: list[tuple[Any, Any]]) -> Iterator[tuple[Any, Any]]:
    """Yield gaps in order, those that touch as one."""
    before: tuple[Any, Any] | None = None
    for gap in sorted(gaps, key=lambda ends: ends[0]):
        if before is not None and before[1] == gap[0]:
            before = (before[0], gap[1])
            continue
        if before is not None:
            yield before
        before = gap
    if before is not None:
        yield before


def _describe(gap: tuple[Any, Any]) -> str:
    """Return what to say of a gap."""
    low, high = gap
    return f"what lay after {low!r} " + ("cannot be read" if high is None else f"and before {high!r} cannot be read")
