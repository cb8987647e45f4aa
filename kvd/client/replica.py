"""The entries of a prefix, kept from a watch with a snapshot: which changes make a difference. Pure.

A snapshot is gathered beside the entries, which are served meanwhile. When it is complete it takes their place, and
what differs becomes changes: keys that are gone, too, which no watch can tell after a break in the history.
"""

from kvd.client.selection import SNAPSHOT_END
from kvd.commands.model import Change


class Replica:
    """Entries by key, each as the change that set it."""

    def __init__(self) -> None:
        self.entries: dict[bytes, Change] = {}
        self.is_complete = False
        self._gathered: dict[bytes, Change] | None = None

    @property
    def is_gathering(self) -> bool:
        """Return whether a snapshot is not whole yet."""
        return self._gathered is not None

    def begin(self) -> None:
        """A snapshot begins."""
        self._gathered = {}

    def apply(self, change: Change) -> list[Change]:
        """Process a change of the watch; return what differs from before."""
        if change.kind == SNAPSHOT_END:
            return self._replace(change.revision)
        if self._gathered is not None:
            self._gathered[change.key] = change
            return []
        if change.kind == "SET":
            self.entries[change.key] = change
        else:
            self.entries.pop(change.key, None)
        return [change]

    def _replace(self, revision: int) -> list[Change]:
        """Serve the snapshot; return what differs: what is gone first, then what is set, in the order of the keys."""
        before, after = self.entries, self._gathered or {}
        self.entries, self._gathered, self.is_complete = after, None, True
        gone = [
            Change("CLEAR", revision, key, None, before[key].revision, None, 0) for key in sorted({*before} - {*after})
        ]
        return gone + [change for key, change in after.items() if _is_different(before.get(key), change)]


def _is_different(before: Change | None, after: Change) -> bool:
    """Return whether two entries of a key differ. In another history a revision may have another value."""
    return before is None or (before.revision, before.value) != (after.revision, after.value)
