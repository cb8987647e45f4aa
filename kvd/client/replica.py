"""The entries of a prefix, kept from a watch with a snapshot; finds the changes that make a difference. Pure.

A snapshot is collected beside the entries, which are served meanwhile. When it is complete it replaces them, and the
differences become changes. These include deleted keys, which no watch can report after a break in the history.
"""

from kvd.client.selection import SNAPSHOT_END
from kvd.commands.model import Change


class Replica:
    """Entries by key, each as the change that set it."""

    def __init__(self) -> None:
        self.entries: dict[bytes, Change] = {}
        self.is_complete = False
        self._snapshot: dict[bytes, Change] | None = None

    @property
    def is_gathering(self) -> bool:
        """Whether a snapshot is incomplete."""
        return self._snapshot is not None

    def begin(self) -> None:
        """Start to collect a snapshot."""
        self._snapshot = {}

    def apply(self, change: Change) -> list[Change]:
        """Process a change of the watch; return the differences."""
        if change.kind == SNAPSHOT_END:
            return self._replace(change.revision)
        if self._snapshot is not None:
            self._snapshot[change.key] = change
            return []
        if change.kind == "SET":
            self.entries[change.key] = change
        else:
            self.entries.pop(change.key, None)
        return [change]

    def _replace(self, revision: int) -> list[Change]:
        """Serve the snapshot; return the differences: deleted keys first, then set ones, in the order of the keys."""
        before, after = self.entries, self._snapshot or {}
        self.entries, self._snapshot, self.is_complete = after, None, True
        gone = [
            Change("CLEAR", revision, key, None, before[key].revision, None, 0) for key in sorted({*before} - {*after})
        ]
        return gone + [change for key, change in after.items() if _is_different(before.get(key), change)]


def _is_different(before: Change | None, after: Change) -> bool:
    """Return whether two entries of a key differ. In another history a revision may have another value."""
    return before is None or (before.revision, before.value) != (after.revision, after.value)
