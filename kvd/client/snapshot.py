"""Reads the existing entries page by page, and knows which later changes the pages already hold. Pure."""

from bisect import bisect_right
from collections.abc import Sequence

from kvd.client.probe import disjoint_prefixes
from kvd.client.question import Question
from kvd.commands.base import Ok
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
        self._prefixes = disjoint_prefixes(prefixes)  # the unfinished ones
        self._after: bytes | None = None
        self._bounds: list[bytes] = []
        self._revisions: list[int] = []
        self._is_asked = False

    @property
    def is_complete(self) -> bool:
        return not self._prefixes

    def next_questions(self) -> list[Question]:
        """Return the question for the next page, unless it has been asked."""
        if self.is_complete or self._is_asked:
            return []
        self._is_asked = True
        return [Question(Scan(self._prefixes[0], self._after, PAGE_KEYS, values=True), self._on_page)]

    def on_loss(self) -> None:
        """Ask for the page again: no reply came."""
        self._is_asked = False

    def _on_page(self, reply: Ok) -> list[Change]:
        """Process a page; return its entries as SET changes (`previous` and `time` are unknown: 0)."""
        self._is_asked = False
        items, self._after, *_ = reply.result
        self._revisions.append(reply.revision)
        if self._after is None:
            self._bounds.append(prefix_end(self._prefixes.pop(0)) or LAST_KEY)
        else:
            self._bounds.append(self._after + b"\0")
        return [Change("SET", at, key, value, 0, expires, 0) for key, value, at, expires, *_ in items]

    def covers(self, change: Change) -> bool:
        """Return whether the page of the key was read after this change."""
        page = bisect_right(self._bounds, change.key)  # a bound is the first key after its page
        return page < len(self._revisions) and change.revision <= self._revisions[page]
