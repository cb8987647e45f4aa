"""The sums of `--bigkeys`: sizes of entries, in constant memory and one pass over keys in byte order. Pure.

The number of prefixes needs no bound: the keys of a prefix are adjacent, so only the current prefix is summed up, and
of the finished ones only the largest few are kept. The figures are exact.
"""

import re
from collections import Counter
from collections.abc import Iterable
from heapq import heappush, heapreplace
from typing import Any, Generic, NamedTuple, TypeVar

RANKED_MAX = 10
SEPARATOR = re.compile(rb"[:/]")

T = TypeVar("T")


class Group(NamedTuple):
    """How many keys a prefix has, and the bytes of these keys and values. The prefix is None without a separator."""

    prefix: bytes | None
    keys: int
    bytes: int


class Top(Generic[T]):
    """The few largest items; of equal ones, the first."""

    def __init__(self, count: int = RANKED_MAX) -> None:
        self.count = count
        self.offered = 0
        self.heap: list[tuple[int, int, T]] = []  # weight, negated order of arrival, item

    def offer(self, weight: int, item: T) -> None:
        """Keep an item if it is among the largest."""
        self.offered += 1
        if len(self.heap) < self.count:
            heappush(self.heap, (weight, -self.offered, item))
        elif weight > self.heap[0][0]:
            heapreplace(self.heap, (weight, -self.offered, item))

    def rank(self) -> list[tuple[int, T]]:
        """Return weights and items, the largest first."""
        return [(weight, item) for weight, _, item in sorted(self.heap, reverse=True)]


class Sizes:
    """Sums over entries in byte order of their keys. Sizes in bytes."""

    def __init__(self) -> None:
        self.keys = 0
        self.key_bytes = 0
        self.value_bytes = 0
        self.digits: Counter[int] = (
            Counter()
        )  # how many values, by the number of digits in their size; an empty value is under 0
        self.largest: Top[bytes] = Top()
        self.groups: Top[Group] = Top()
        self.group = Group(None, 0, 0)  # the current prefix
        self.others = Group(None, 0, 0)  # all keys without a separator

    def add(self, entries: Iterable[Any]) -> None:
        """Add entries (key, value, ...); their keys follow all earlier keys."""
        for key, value, *_ in entries:
            size = len(value)
            self.keys += 1
            self.key_bytes += len(key)
            self.value_bytes += size
            self.digits[len(str(size)) if size else 0] += 1
            self.largest.offer(size, key)
            self._add_to_group(key, len(key) + size)

    def _add_to_group(self, key: bytes, size: int) -> None:
        """Add a key to its prefix; when another prefix begins, the current one is finished."""
        prefix, keys, total = self.group
        if prefix is not None and key.startswith(prefix):
            self.group = Group(prefix, keys + 1, total + size)
            return
        match = SEPARATOR.search(key)
        if match is None:
            self.others = Group(None, self.others.keys + 1, self.others.bytes + size)
            return
        self.groups.offer(total, self.group)
        self.group = Group(key[: match.end()], 1, size)

    def prefixes(self) -> list[Group]:
        """Return the largest prefixes, the largest first."""
        top: Top[Group] = Top()
        for group in (*[group for _, group in self.groups.rank()], self.group, self.others):
            if group.keys:
                top.offer(group.bytes, group)
        return [group for _, group in top.rank()]

    def document(self) -> dict[str, Any]:
        """Return all figures."""
        sizes = [
            (10 ** (digits - 1) if digits else 0, 10**digits - 1) for digits in range(max(self.digits, default=-1) + 1)
        ]
        return {
            "keys": self.keys,
            "key_bytes": self.key_bytes,
            "value_bytes": self.value_bytes,
            "mean_value_bytes": round(self.value_bytes / self.keys, 1) if self.keys else None,
            "largest": [{"key": key, "bytes": size} for size, key in self.largest.rank()],
            "prefixes": [group._asdict() for group in self.prefixes()],
            "sizes": [{"from": low, "to": high, "keys": self.digits[at]} for at, (low, high) in enumerate(sizes)],
        }
