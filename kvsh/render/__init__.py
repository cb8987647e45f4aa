"""Results, errors, changes and help as text: for a terminal, for a pipe, as JSON, as CSV.

    told.py      what a result means, where the wire leaves it to the command
    terminal.py  for reading
    pretty.py    for reading: JSON indented, binary values as a hex dump
    data.py      raw, JSON and CSV: for programs
    changes.py   a change on a line
    help.py      HELP

Pure: no I/O, no clock, no terminal; it knows no names of commands and writes no escape sequences.
"""

from kvsh.render.data import csv, json, raw
from kvsh.render.pretty import pretty
from kvsh.render.terminal import terminal

FORMATS = {"terminal": terminal, "raw": raw, "json": json, "csv": csv, "pretty": pretty}
# Those that are for reading: their results are paged, and are raw for a program or a file.
READ = ("terminal", "pretty")
