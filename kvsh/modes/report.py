"""A mode's figures as text: rows for programs, sizes and bars for people. Pure, and independent of the modes.

raw: fields separated by a blank, one row a line, so only the last field may contain blanks; an absent value is `-`.
CSV: RFC 4180. JSON documents come from `kvsh.render.data.document`.
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
    """Return the row of names above a table; JSON has the names in each document."""
    return b"" if form == "json" else row_text(form, names)


def table_text(form: str, values: dict[str, Any]) -> bytes:
    """Return a row of a table, or a JSON document."""
    return document(values) if form == "json" else row_text(form, list(values.values()))


def size_text(count: int) -> str:
    """Return a number of bytes for reading: `512 B`, `1.5 KiB`, `16.0 MiB`."""
    size, power = float(count), 0
    while size >= KIB and power < len(UNITS) - 1:
        size, power = size / KIB, power + 1
    return f"{size:.{min(power, 1)}f} {UNITS[power]}"


def rate_text(rate: float) -> str:
    """Return a rate for reading: `12,345`. Below ten it has a decimal, so that a low rate is not shown as zero."""
    return f"{rate:.1f}" if 0 < rate < 9.95 else f"{rate:,.0f}"  # noqa: PLR2004  # .1f rounds it to 10.0


def bar(count: int, most: int, width: int) -> str:
    """Return a bar for a count: `width` marks if it equals `most`, at least one if it is not zero."""
    return "#" * max(round(width * count / most), 1) if count else ""
