"""The Range of a request (RFC 9110, section 14): one range of bytes. Pure.

Several ranges, another unit and a header that cannot be read are ignored, as the RFC allows: the answer is the whole
value then.
"""

import re
from typing import NamedTuple

from kvd.limits import INTEGER_MAX

BYTES = re.compile(r"bytes=[ \t]*(?:([0-9]+)-([0-9]*)|-([0-9]+))[ \t]*", re.IGNORECASE)
DIGITS_MAX = 18


class Range(NamedTuple):
    """Bytes from `start` to `end`, both included, counted as GETRANGE does: a `start` below 0 counts from the end."""

    start: int
    end: int | None

    def first(self, size: int) -> int:
        """Return the first byte in a value of this size. It lies behind the value if nothing is in the range."""
        return self.start if self.start >= 0 else max(0, self.start + size)


NOTHING = Range(INTEGER_MAX, None)


def range_in(header: str | None) -> Range | None:
    """Return the range that a header asks for, None if the whole value is to be sent."""
    found = BYTES.fullmatch(header or "")
    if found is None:
        return None
    first, last, suffix = found.groups()
    if suffix is not None:
        return Range(-number(suffix), None) if number(suffix) else NOTHING
    start, end = number(first), number(last) if last else None
    return None if end is not None and end < start else Range(start, end)


def number(digits: str) -> int:
    """Return a number of any length; one beyond 64 bits lies behind every value."""
    significant = digits.lstrip("0")
    return int(significant or "0") if len(significant) <= DIGITS_MAX else INTEGER_MAX
