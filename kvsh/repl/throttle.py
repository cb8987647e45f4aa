"""Limits the changes shown to a person: a burst whole, a flood as a few lines a second. Pure: time is an argument."""

from collections import deque
from collections.abc import Callable

from kvd.commands.model import Change
from kvsh.render.changes import change_line

LINES_AT_ONCE_MAX = 150
LINES_PER_S = 50.0
# With an empty bucket, wait for this many lines (0.25 s) instead of writing them one at a time.
LINES_FEW = 12


class TokenBucket:
    """A token bucket of lines: LINES_AT_ONCE_MAX at once, then LINES_PER_S. Times in seconds."""

    def __init__(self, now: float) -> None:
        self.lines = float(LINES_AT_ONCE_MAX)
        self.now = now

    def pass_time(self, now: float) -> None:
        """Refill the bucket."""
        self.lines = min(LINES_AT_ONCE_MAX, self.lines + (now - self.now) * LINES_PER_S)
        self.now = now

    def wait_s(self, waiting: int) -> float:
        """Return how long to wait before writing some of the `waiting` lines."""
        return max(0.0, (min(waiting, LINES_FEW) - self.lines) / LINES_PER_S)

    def spend(self, lines: int) -> None:
        """Remove written lines from the bucket."""
        self.lines -= lines


class Backlog:
    """Changes that wait to be shown: the newest ones, and the number of all. `line_of` formats a change."""

    def __init__(self, line_of: Callable[[Change], str] = change_line) -> None:
        self.line_of = line_of
        self.last: deque[Change] = deque(maxlen=LINES_AT_ONCE_MAX)
        self.count = 0

    def add(self, changes: list[Change]) -> None:
        self.last.extend(changes)
        self.count += len(changes)

    def lines(self, count_max: int) -> list[str]:
        """Return at most `count_max` of the newest changes as lines, and the number of omitted changes."""
        shown = list(self.last)[-count_max:]
        hidden = self.count - len(shown)
        self.last.clear()
        self.count = 0
        return [*([_omission_text(hidden)] if hidden else []), *map(self.line_of, shown)]


def _omission_text(count: int) -> str:
    """Return the line about omitted changes."""
    return f"        ... {count} {'change' if count == 1 else 'changes'} not shown"
