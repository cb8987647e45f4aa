"""The text of a mode's figures: rows for programs, sizes and bars for a person. Pure; no mode is known here.

raw: fields with a blank between, a line a row, so what may hold blanks is the last field, and what there is not is
`-`. CSV: RFC 4180. JSON documents are made by `kvsh.render.data.document`.
"""

from collections.abc import Sequence
from typing import Any

from kvsh.render.data import document, plain, row

UNITS = ("B", "KiB", "MiB", "GiB", "TiB")
KIB = 1024


def row_text(form: str, fields: Sequence[Any]) -> bytes:
    """Return fields as a row of CSV or a line of raw."""
    if form == "csv":
        return row(list(fields))
    return b" ".join([b"-" if value is None else plain(value) for value in fields]) + b"\n"


def head_text(form: str, names: Sequence[str]) -> bytes:
    """Return what stands once above the rows of a table: its names; JSON has them in each document."""
    return b"" if form == "json" else row_text(form, names)


def table_text(form: str, values: dict[str, Any]) -> bytes:
    """Return a row of a table whose names are above it, or a JSON document."""
    return document(values) if form == "json" else row_text(form, list(values.values()))


def size_text(count: int) -> str:
    """Return a number of bytes for reading: `512 B`, `1.5 KiB`, `16.0 MiB`."""
    size, power = float(count), 0
    while size >= KIB and power < len(UNITS) - 1:
        size, power = size / KIB, power + 1
    return f"{size:.{min(power, 1)}f} {UNITS[power]}"


def rate_text(rate: float) -> str:
    """Return a rate for reading: `12,345`; what is below ten has a decimal, so that little is not nothing."""
    return f"{rate:.1f}" if 0 < rate < 9.95 else f"{rate:,.0f}"  # noqa: PLR2004  # what .1f makes 10.0 of


def bar(count: int, most: int, width: int) -> str:
    """Return a bar for a count: `width` for the most, at least one mark for any."""
    return "#" * max(round(width * count / most), 1) if count else ""
