"""How many changes a person is shown: a burst whole, a flood as a few lines a second. Pure: time is an argument."""

from collections import deque
from collections.abc import Callable

from kvd.commands.model import Change
from kvsh.render.changes import change_line

LINES_AT_ONCE_MAX = 150
LINES_PER_S = 50.0
# So many are waited for, rather than write a line at a time, when nothing is left of the allowance: 0.25 s.
LINES_FEW = 12


class TokenBucket:
    """How many lines may be written: so many at once, then so many a second (a token bucket). Times in seconds."""

    def __init__(self, now: float) -> None:
        self.lines = float(LINES_AT_ONCE_MAX)
        self.now = now

    def pass_time(self, now: float) -> None:
        """Let what may be written grow."""
        self.lines = min(LINES_AT_ONCE_MAX, self.lines + (now - self.now) * LINES_PER_S)
        self.now = now

    def wait_s(self, waiting: int) -> float:
        """Return how long to wait before lines are written, of so many that wait."""
        return max(0.0, (min(waiting, LINES_FEW) - self.lines) / LINES_PER_S)

    def spend(self, lines: int) -> None:
        """Note that lines are written."""
        self.lines -= lines


class Backlog:
    """Changes that wait to be shown: the last ones, and how many there are in all. `line_of` makes a line of one."""

    def __init__(self, line_of: Callable[[Change], str] = change_line) -> None:
        self.line_of = line_of
        self.last: deque[Change] = deque(maxlen=LINES_AT_ONCE_MAX)
        self.count = 0

    def add(self, changes: list[Change]) -> None:
        """Take changes in."""
        self.last.extend(changes)
        self.count += len(changes)

    def lines(self, room: int) -> list[str]:
        """Return the changes that wait as lines; of more than there is room for the last, and how many are left out."""
        shown = list(self.last)[-room:]
        hidden = self.count - len(shown)
        self.last.clear()
        self.count = 0
        return [*([_skipped_text(hidden)] if hidden else []), *map(self.line_of, shown)]


def _skipped_text(count: int) -> str:
    """Return the line for changes that are not shown."""
    return f"        ... {count} {'change' if count == 1 else 'changes'} not shown"
