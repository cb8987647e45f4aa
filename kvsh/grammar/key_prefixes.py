"""Where keys branch: what several of them begin with. Pure."""

from collections.abc import Sequence
from typing import AnyStr

STEM_ENDS = b":/"


def common_prefixes(keys: Sequence[bytes], length: int) -> list[bytes]:
    """Return what several keys begin with: up to the next separator that is not within the first `length` bytes."""
    found: dict[bytes, int] = {}
    for key in keys:
        end = next((at + 1 for at in range(length, len(key)) if key[at] in STEM_ENDS), None)
        if end is not None:
            found[key[:end]] = found.get(key[:end], 0) + 1
    return [stem for stem, count in found.items() if count > 1]


def shared_prefix(values: Sequence[AnyStr]) -> AnyStr:
    """Return what all values begin with; there is at least one."""
    first, last = min(values), max(values)
    return first[: next((at for at in range(len(first)) if last[at : at + 1] != first[at : at + 1]), len(first))]
