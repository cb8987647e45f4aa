"""Colours for terminal output outside prompt-toolkit: pretty results, and the changes of WATCH."""

import os
import time
from collections.abc import Iterable

from kvd.commands.model import Change
from kvsh.render.changes import change_line
from kvsh.render.pretty import Line
from kvsh.ui.settings import POOR_TERMINALS

# Parameters of SGR (ECMA-48) by style; other styles have no colour.
COLORS = {
    "name": "34",
    "string": "32",
    "number": "36",
    "literal": "35",
    "offset": "90",
    "time": "90",
    "SET": "32",
    "CLEAR": "31",
    "EXPIRED": "33",
}


def has_colors(fd: int) -> bool:
    """Return whether a descriptor is a terminal with colours."""
    return os.isatty(fd) and os.environ.get("TERM", "") not in POOR_TERMINALS


def _paint(text: str, style: str) -> str:
    """Return a text in the colour of its style."""
    color = COLORS.get(style)
    return text if color is None else f"\x1b[{color}m{text}\x1b[0m"


def paint_lines(lines: Iterable[Line]) -> bytes:
    """Return lines in colour, each with a newline."""
    return "".join([f"{''.join([_paint(text, style) for style, text in line])}\n" for line in lines]).encode()


def change_text(change: Change, *, color: bool) -> str:
    """Return a change on a line with its time of day, and the date unless it is today."""
    at = time.localtime(change.time / 1000)
    is_today = at[:3] == time.localtime()[:3]
    clock = time.strftime("%H:%M:%S" if is_today else "%Y-%m-%d %H:%M:%S", at)
    line = change_line(change)
    if not color:
        return f"{clock} {line}"
    return f"{_paint(clock, 'time')} {line.replace(change.kind, _paint(change.kind, change.kind), 1)}"
