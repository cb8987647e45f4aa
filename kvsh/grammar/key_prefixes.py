"""The prefixes at which keys branch. Pure."""

from collections.abc import Sequence
from typing import AnyStr

STEM_ENDS = b":/"


def common_prefixes(keys: Sequence[bytes], length: int) -> list[bytes]:
    """Return the prefixes that several keys share, up to the next separator at or after `length` bytes."""
    counts: dict[bytes, int] = {}
    for key in keys:
        end = next((at + 1 for at in range(length, len(key)) if key[at] in STEM_ENDS), None)
        if end is not None:
            counts[key[:end]] = counts.get(key[:end], 0) + 1
    return [stem for stem, count in counts.items() if count > 1]


def longest_common_prefix(values: Sequence[AnyStr]) -> AnyStr:
    """Return the longest prefix of all values, of which there is at least one."""
    first, last = min(values), max(values)
    return first[: next((at for at in range(len(first)) if last[at : at + 1] != first[at : at + 1]), len(first))]
