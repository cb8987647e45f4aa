"""Results, errors, changes and help as text: for a terminal, for a pipe, as JSON, as CSV.

    told.py      what a result means, where the wire leaves it to the command
    terminal.py  for reading
    data.py      raw, JSON and CSV: for programs
    changes.py   a change on a line
    help.py      HELP

Pure: no I/O, no clock, no terminal; it knows no names of commands and writes no escape sequences.
"""

from kvsh.render.data import csv, json, raw
from kvsh.render.terminal import terminal

FORMATS = {"terminal": terminal, "raw": raw, "json": json, "csv": csv}
