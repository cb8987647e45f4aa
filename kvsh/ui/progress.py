"""One line on standard error that is redrawn, and erased at the end.

It returns to the beginning of the line and writes over it: without escape sequences, NO_COLOR needs no other form.
"""

import os
import time

MESSAGE_FD = 2
REDRAW_S = 0.1
COLUMNS_DEFAULT = 80
ECHO_LENGTH = 2  # the terminal echoes ^C


def columns(fd: int) -> int:
    """Return the width of a terminal; 80 if it is not a terminal or its width is unknown."""
    try:
        return os.get_terminal_size(fd).columns or COLUMNS_DEFAULT
    except OSError:
        return COLUMNS_DEFAULT


class Progress:
    """The line, if it `is_shown`. It appears after `after_s` seconds, so short work shows none."""

    def __init__(self, *, is_shown: bool, after_s: float = 0.0) -> None:
        self.is_shown = is_shown
        self.length = 0
        self.next_draw = time.monotonic() + after_s

    def is_due(self) -> bool:
        """Return whether to draw the line: at most ten times a second."""
        return self.is_shown and time.monotonic() >= self.next_draw

    def draw(self, text: str) -> None:
        """Write the line over the previous one. A text wider than the terminal is cut, to stay on one line."""
        if self.is_shown:
            line = text[: columns(MESSAGE_FD) - 1].ljust(self.length)
            os.write(MESSAGE_FD, b"\r" + line.encode())
            self.length = len(line)
            self.next_draw = time.monotonic() + REDRAW_S

    def clear(self) -> None:
        """Erase the line, and the ^C after it."""
        if self.length:
            os.write(MESSAGE_FD, b"\r" + b" " * min(self.length + ECHO_LENGTH, columns(MESSAGE_FD) - 1) + b"\r")
            self.length = 0
