"""Colours of what is written to a terminal outside prompt-toolkit: pretty results, and the changes of WATCH."""

from collections.abc import Iterable

from kvsh.render.pretty import Line

# Styles as the parameter of SGR (ECMA-48); one that is not here has no colour.
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


def painted(text: str, style: str) -> str:
    """Return a text in the colour of its style."""
    color = COLORS.get(style)
    return text if color is None else f"\x1b[{color}m{text}\x1b[0m"


def painted_lines(lines: Iterable[Line]) -> bytes:
    """Return lines with their colours, each with a newline."""
    return "".join([f"{''.join([painted(text, style) for style, text in line])}\n" for line in lines]).encode()
