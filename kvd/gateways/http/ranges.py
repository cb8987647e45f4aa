"""Parses the Range header (RFC 9110, section 14) with one range of bytes. Pure.

A header with several ranges, another unit or a syntax error is ignored, as the RFC allows: the response is the whole
value.
"""

import re
from typing import NamedTuple

from kvd.limits import INTEGER_MAX

BYTES = re.compile(r"bytes=[ \t]*(?:([0-9]+)-([0-9]*)|-([0-9]+))[ \t]*", re.IGNORECASE)
DIGITS_MAX = 18


class Range(NamedTuple):
    """Bytes from `start` to `end`, both inclusive, as in GETRANGE: a negative `start` counts from the end."""

    start: int
    end: int | None

    def first(self, size: int) -> int:
        """Return the first byte's position in a value of this size; beyond the value if the range is outside."""
        return self.start if self.start >= 0 else max(0, self.start + size)


NOTHING = Range(INTEGER_MAX, None)


def parse_range(header: str | None) -> Range | None:
    """Return the range of a header, None for the whole value."""
    match = BYTES.fullmatch(header or "")
    if match is None:
        return None
    first, last, suffix = match.groups()
    if suffix is not None:
        return Range(-_parse_number(suffix), None) if _parse_number(suffix) else NOTHING
    start, end = _parse_number(first), _parse_number(last) if last else None
    return None if end is not None and end < start else Range(start, end)


def _parse_number(digits: str) -> int:
    """Parse a number of any length; one of more than 64 bits becomes INTEGER_MAX, which is beyond every value."""
    significant = digits.lstrip("0")
    return int(significant or "0") if len(significant) <= DIGITS_MAX else INTEGER_MAX
