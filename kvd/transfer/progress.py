"""Progress on standard error: a bar while a transfer runs, drawn over itself, and the total at the end."""

import os
import sys
import time

MESSAGE_FD = 2
REDRAW_S = 0.1
BAR_LENGTH = 24
COLUMNS_DEFAULT = 80
MINUTE_S, HOUR_S = 60, 3600


class Progress:
    """The bar, if `is_shown`. `total` is the final value of `done`; None if unknown."""

    def __init__(self, *, is_shown: bool, total: int | None = None) -> None:
        self.is_shown = is_shown
        self.total = total
        self.started_at = time.monotonic()
        self.next_draw = self.started_at + REDRAW_S
        self.length = 0

    @property
    def seconds(self) -> float:
        """The time since the start."""
        return time.monotonic() - self.started_at

    def show(self, entries: int, done: int) -> None:
        """Draw the bar, at most ten times a second."""
        if self.is_shown and time.monotonic() >= self.next_draw:
            line = bar(entries, done, self.total, self.seconds)[: columns() - 1].ljust(self.length)
            self.length = len(line)
            self.next_draw = time.monotonic() + REDRAW_S
            os.write(MESSAGE_FD, b"\r" + line.encode())

    def clear(self) -> None:
        """Erase the bar, and the ^C that the terminal wrote behind it."""
        if self.length:
            os.write(MESSAGE_FD, b"\r" + b" " * min(self.length + 2, columns() - 1) + b"\r")
            self.length = 0


def bar(entries: int, done: int, total: int | None, seconds: float) -> str:
    """Return the bar as text: the number of entries, the rate and, when the total is known, the time left."""
    rate = f"{entries:,} entries  {entries / max(seconds, 0.001):,.0f}/s"
    if not total:
        return rate
    part = min(1.0, done / total)
    full = round(part * BAR_LENGTH)
    left = f"  {_clock(seconds / part - seconds)} left" if part else ""
    return f"{part:4.0%} [{'#' * full}{'-' * (BAR_LENGTH - full)}]  {rate}{left}"


def _clock(seconds: float) -> str:
    """Return a time as 0:07 or 1:02:03."""
    whole = round(seconds)
    minutes, hours = whole // MINUTE_S % MINUTE_S, whole // HOUR_S
    return f"{hours}:{minutes:02}:{whole % MINUTE_S:02}" if hours else f"{minutes}:{whole % MINUTE_S:02}"


def duration_text(entries: int, seconds: float) -> str:
    """Return the number of entries and the time they took."""
    return f"{entries:,} {'entry' if entries == 1 else 'entries'} in {seconds:.1f} s"


def columns() -> int:
    """Return the width of the terminal; 80 if it is unknown."""
    try:
        return os.get_terminal_size(MESSAGE_FD).columns or COLUMNS_DEFAULT
    except OSError:
        return COLUMNS_DEFAULT


def is_watched(*, data_fd: int | None = None) -> bool:
    """Return whether standard error is a terminal, and no data goes to a terminal between the bars."""
    return sys.stderr is not None and os.isatty(MESSAGE_FD) and not (data_fd is not None and os.isatty(data_fd))
