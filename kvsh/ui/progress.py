"""One line on standard error that is drawn again and again, and gone at the end.

It returns to the begin of the line and writes over it: no escape sequence, so NO_COLOR needs no other way.
"""

import os
import time

MESSAGE_FD = 2
REDRAW_S = 0.1
COLUMNS_DEFAULT = 80
ECHO_LENGTH = 2  # what the terminal writes for Ctrl-C


def columns(fd: int) -> int:
    """Return how wide a terminal is; 80 when it is none or does not say."""
    try:
        return os.get_terminal_size(fd).columns or COLUMNS_DEFAULT
    except OSError:
        return COLUMNS_DEFAULT


class Progress:
    """The line, if it `is_shown`. What takes less than `after_s` seconds is over before it is worth one."""

    def __init__(self, *, is_shown: bool, after_s: float = 0.0) -> None:
        self.is_shown = is_shown
        self.length = 0
        self.next_draw = time.monotonic() + after_s

    def is_due(self) -> bool:
        """Return whether it is time to draw it: ten times a second."""
        return self.is_shown and time.monotonic() >= self.next_draw

    def draw(self, text: str) -> None:
        """Write the line over the one before; what does not fit is cut, since a second line would stay."""
        if self.is_shown:
            line = text[: columns(MESSAGE_FD) - 1].ljust(self.length)
            os.write(MESSAGE_FD, b"\r" + line.encode())
            self.length = len(line)
            self.next_draw = time.monotonic() + REDRAW_S

    def clear(self) -> None:
        """Take the line away, and the ^C behind it."""
        if self.length:
            os.write(MESSAGE_FD, b"\r" + b" " * min(self.length + ECHO_LENGTH, columns(MESSAGE_FD) - 1) + b"\r")
            self.length = 0
