"""Results, errors, changes and help as text: for a terminal, for a pipe, as JSON, as CSV.

    result.py    the meaning of a result where the wire leaves it to the command
    terminal.py  for reading
    tables.py    rows with named columns, for reading
    figures.py   times and durations of a map, for reading
    pretty.py    for reading: JSON indented, binary values as a hex dump
    data.py      raw, NUL, JSON and CSV: for programs
    changes.py   a change on a line
    help.py      HELP

Pure: no I/O, no clock, no terminal. No module knows the name of a command or writes an escape sequence.
"""

from collections.abc import Iterator
from importlib import import_module
from typing import Any

from kvd.commands import Command
from kvsh.render.data import csv, json, nul, raw
from kvsh.render.terminal import terminal, terminal_pieces
from kvsh.words import display_pieces


def pretty(command: Command, result: Any) -> bytes:
    """Return a result in the format PRETTY. The module is loaded at the first call."""
    return bytes(import_module("kvsh.render.pretty").pretty(command, result))


FORMATS = {"terminal": terminal, "raw": raw, "json": json, "csv": csv, "pretty": pretty, "nul": nul}
# Formats for reading: their results are paged, and become raw for a program or a file.
READ = ("terminal", "pretty")


def safe_pieces(form: str, command: Command, result: Any) -> Iterator[bytes]:
    """Yield a result in pieces, each made on demand, with nothing in it that acts on a terminal."""
    if form == "terminal":
        yield from terminal_pieces(command, result)
    elif form in READ:
        yield FORMATS[form](command, result)
    else:
        yield from map(str.encode, display_pieces(FORMATS[form](command, result).replace(b"\r\n", b"\n")))
