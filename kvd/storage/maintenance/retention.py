"""Retention: which old changes the journal may delete. COMPACT, a number of changes and a number of bytes decide.

Commits delete old rows in portions, so no commit is slow. The alternative, one large DELETE at intervals, would block
the loop while it runs. The last row is always kept because it records the head revision. Rows are deleted only after
they are folded durably, because recovery needs the others.
"""

from kvd.limits import TRIMMED_BYTES_PER_COMMIT, TRIMMED_PER_COMMIT_MAX


class Retention:
    """The policy for one journal.

    `first` is the revision of its first row. Changes up to `compacted` are no longer returned to clients.
    """

    def __init__(self, first: int, compacted: int, kept_changes: int, kept_bytes: int) -> None:
        self.kept_changes, self.kept_bytes = kept_changes, kept_bytes
        self.first = first
        self.compacted = self.upto = max(compacted, first - 1)
        self.portion = TRIMMED_PER_COMMIT_MAX  # rows that one commit deletes
        self.row_bytes = TRIMMED_BYTES_PER_COMMIT // TRIMMED_PER_COMMIT_MAX

    def set_limits(self, kept_changes: int, kept_bytes: int) -> None:
        """Change the limits. The next `plan` applies them."""
        self.kept_changes, self.kept_bytes = kept_changes, kept_bytes

    def plan(self, revision: int, live_bytes: int) -> None:
        """Update the revision up to which rows may be deleted, from the head revision and the bytes of all rows."""
        count = revision - self.first + 1
        over = live_bytes - self.kept_bytes
        excess = count * over // live_bytes if over > 0 else 0
        self.row_bytes = max(1, live_bytes // max(count, 1))
        self.portion = max(1, min(TRIMMED_PER_COMMIT_MAX, TRIMMED_BYTES_PER_COMMIT // self.row_bytes))
        self.upto = max(self.upto, self.compacted, revision - self.kept_changes, self.first - 1 + excess)

    def clamp(self, rows: int, size: int) -> int:
        """Return how many rows a commit may delete: at most `rows`, but at least a portion.

        The bytes of these rows are limited to `size` or TRIMMED_BYTES_PER_COMMIT, whichever is larger: freeing a large
        value takes as long as writing it.
        """
        return max(self.portion, min(rows, max(TRIMMED_BYTES_PER_COMMIT, size) // self.row_bytes))

    def target(self, durable: int, least: int | None = None, most: int | None = None) -> int | None:
        """Return the revision up to which a commit deletes rows, None if fewer than `least` rows may be deleted.

        `least` and `most` default to a portion. `durable` is the last revision that may be deleted.
        """
        upto = min(max(self.upto, self.compacted), durable)
        target = min(upto, self.first + (most or self.portion) - 1)
        return target if target - self.first + 1 >= (least or self.portion) else None

    def on_compacted(self, revision: int) -> None:
        """Handle a COMPACT up to a revision."""
        self.compacted = revision

    def on_trimmed(self, upto: int) -> None:
        """Handle the deletion of the rows up to a revision."""
        self.first = upto + 1
        self.compacted = max(self.compacted, upto)
