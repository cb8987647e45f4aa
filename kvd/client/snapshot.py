"""Reads the existing entries page by page, and knows which later changes the pages already hold. Pure."""

from bisect import bisect_right
from collections.abc import Sequence
from typing import Any

from kvd.client.probe import disjoint_prefixes
from kvd.commands.keys import Scan
from kvd.commands.model import Change, prefix_end
from kvd.limits import KEY_BYTES_MAX

PAGE_KEYS = 1_000
LAST_KEY = b"\xff" * (KEY_BYTES_MAX + 1)


class Snapshot:
    """Walks the prefixes with SCAN. Each page is as of the revision of its reply, which `covers` remembers.

    It keeps two values for each page, not the keys.
    """

    def __init__(self, prefixes: Sequence[bytes]) -> None:
        self.prefixes = disjoint_prefixes(prefixes)
        self.after: bytes | None = None
        self.bounds: list[bytes] = []
        self.revisions: list[int] = []

    def next_command(self) -> Scan | None:
        """Return the command for the next page, or None when the snapshot is complete."""
        return Scan(self.prefixes[0], self.after, PAGE_KEYS, values=True) if self.prefixes else None

    def on_result(self, revision: int, result: list[Any]) -> list[Change]:
        """Process a page; return its entries as SET changes (`previous` and `time` are unknown: 0)."""
        items, self.after, *_ = result
        self.revisions.append(revision)
        if self.after is None:
            self.bounds.append(prefix_end(self.prefixes.pop(0)) or LAST_KEY)
        else:
            self.bounds.append(self.after + b"\0")
        return [Change("SET", at, key, value, 0, expires, 0) for key, value, at, expires, *_ in items]

    def covers(self, change: Change) -> bool:
        """Return whether the page of the key was read after this change."""
        page = bisect_right(self.bounds, change.key)  # a bound is the first key after its page
        return page < len(self.revisions) and change.revision <= self.revisions[page]
