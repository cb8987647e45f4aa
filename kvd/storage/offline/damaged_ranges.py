"""Reads an ordered table in which pages are damaged, and skips the gaps.

SQLite reads from a given key up to the first damaged page. So each gap is approached from below and from above, and
intact rows inside it are found by bisection.
"""

from collections.abc import Callable, Iterator
from typing import Any

from sqlite_utils.utils import sqlite3

from kvd.storage.files.sqlite import Connection

PROBES_MAX = 1_000_000  # 20 us each
EMPTY_PROBES_MAX = 12  # bisections in a row without a row: then the gap is taken for one damaged page (0.1 s a gap)

Between = Callable[[Any, Any], Any]


def between_numbers(low: int, high: int | None) -> int | None:
    """Return a number between two others, or None if there is none."""
    middle = 2 * max(low, 1) if high is None else (low + high) // 2
    return middle if low < middle and (high is None or middle < high) and middle < 2**62 else None


def between_keys(low: bytes, high: bytes | None) -> bytes | None:
    """Return a key halfway between two others, at most two bytes longer than they are; None if there is none."""
    length = max(len(low), len(high or b"")) + 2
    first = int.from_bytes(low.ljust(length, b"\0"), "big")
    last = 256**length if high is None else int.from_bytes(high.ljust(length, b"\0"), "big")
    middle = (first + last) // 2
    key = middle.to_bytes(length, "big").rstrip(b"\0") or b"\0"
    return key if low < key and (high is None or key < high) else None


def rows_around_damage(
    db: Connection, select: str, key: str, first: Any, between: Between, column: int
) -> Iterator[tuple[Any, ...] | str]:
    """Yield the readable rows after `first`, and a sentence for each gap.

    `select` ends in `WHERE key > ?`; the key is in the row's `column`.
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
                low, high, below = (row[column], high, below) if order == "ASC" else (low, row[column], "<")
                yield row
            else:
                break  # the segment is read completely
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
    """Yield the rows of a segment up to a damaged page, and then None.

    `words` are the key, <= or < for a segment that includes or excludes `high`, and the order.
    """
    key, below, order = words
    end, span = ("", (low,)) if high is None else (f" AND {key} {below} ?", (low, high))
    try:
        yield from db.execute(f"{select}{end} ORDER BY {key} {order}", span)
    except sqlite3.DatabaseError:
        yield None


def _join_ranges(gaps: list[tuple[Any, Any]]) -> Iterator[tuple[Any, Any]]:
    """Yield the gaps in order, with adjacent ones joined."""
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
    """Return the sentence about a gap."""
    low, high = gap
    return f"the rows after {low!r} " + ("cannot be read" if high is None else f"and before {high!r} cannot be read")
