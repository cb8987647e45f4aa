"""Which old changes the journal may lose: by count, by bytes and by COMPACT. Decided here, deleted by commits."""

from kvd.limits import TRIMMED_BYTES_PER_COMMIT, TRIMMED_PER_COMMIT_MAX


class Retention:
    """`first` is the revision of the first row there is, `compacted` that up to which changes are not told any more."""

    def __init__(self, first: int, compacted: int, kept_changes: int, kept_bytes: int) -> None:
        self.kept_changes, self.kept_bytes = kept_changes, kept_bytes
        self.first = first
        self.compacted = self.upto = max(compacted, first - 1)
        self.portion = TRIMMED_PER_COMMIT_MAX  # rows that one commit deletes
        self.row_bytes = TRIMMED_BYTES_PER_COMMIT // TRIMMED_PER_COMMIT_MAX

    def plan(self, revision: int, live_bytes: int) -> None:
        """Decide up to where rows may go, from the head revision and the bytes that all of them take."""
        count = revision - self.first + 1
        over = live_bytes - self.kept_bytes
        excess = count * over // live_bytes if over > 0 else 0
        self.row_bytes = max(1, live_bytes // max(count, 1))
        self.portion = max(1, min(TRIMMED_PER_COMMIT_MAX, TRIMMED_BYTES_PER_COMMIT // self.row_bytes))
        self.upto = max(self.upto, self.compacted, revision - self.kept_changes, self.first - 1 + excess)

    def clamp(self, rows: int, size: int) -> int:
        """Return how many rows a commit may delete that would delete so many: a portion at least.

        Not more than TRIMMED_BYTES_PER_COMMIT or so many bytes: to free a large value takes as long as to write it.
        """
        return max(self.portion, min(rows, max(TRIMMED_BYTES_PER_COMMIT, size) // self.row_bytes))

    def target(self, durable: int, least: int | None = None, most: int | None = None) -> int | None:
        """Return up to where a commit deletes rows: a portion or none, never beyond what is folded durably."""
        upto = min(max(self.upto, self.compacted), durable)
        target = min(upto, self.first + (most or self.portion) - 1)
        return target if target - self.first + 1 >= (least or self.portion) else None

    def on_trimmed(self, upto: int) -> None:
        """Take note that the rows up to a revision are deleted."""
        self.first = upto + 1
        self.compacted = max(self.compacted, upto)
