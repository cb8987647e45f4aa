"""Keys similar to a typed word: equal but for case, else keys that contain its characters in order.

The daemon finds keys only by prefix, byte for byte. Other cases are found letter by letter: for each prefix that
exists, both cases of the next letter are looked up. Pure except for `scan`, which asks the daemon.
"""

import asyncio
import re
from collections.abc import Awaitable, Callable, Iterable

from kvsh.repl.encoding import as_bytes, as_text

HEADS_MAX = 16  # prefixes followed at once
LOOSE_KEYS_MAX = 1_000  # keys searched for the characters
LOOSE_CHARACTERS_MIN = 2
OFFERED_MAX = 20

Scan = Callable[[bytes, int], Awaitable[list[bytes]]]


async def similar(scan: Scan, typed: bytes, limit: int) -> list[bytes]:
    """Return the keys that begin with `typed` in any case, else those that contain its characters."""
    heads, is_whole = await _other_cases(scan, as_text(typed))
    if is_whole:
        pages = await asyncio.gather(*[scan(head, limit) for head in heads])
        return sorted({key for page in pages for key in page})[:limit]
    if len(as_text(typed)) < LOOSE_CHARACTERS_MIN:
        return []
    candidates = [key for head in heads for key in await scan(head, LOOSE_KEYS_MAX)]
    return find_loosely(candidates, as_text(typed)) or find_loosely(await scan(b"", LOOSE_KEYS_MAX), as_text(typed))


async def _other_cases(scan: Scan, typed: str) -> tuple[list[bytes], bool]:
    """Return the longest existing prefixes of a text in any case, and whether they are the whole text."""
    heads = [b""]
    for character in typed:
        longer = [head + as_bytes(each) for head in heads for each in cases(character)]
        pages = await asyncio.gather(*[scan(head, 1) for head in longer])
        existing = [head for head, keys in zip(longer, pages, strict=True) if keys]
        if not existing:
            return heads, False
        heads = existing[:HEADS_MAX]
    return heads, True


def cases(character: str) -> list[str]:
    """Return a character in both cases, as typed first."""
    return list(dict.fromkeys([character, character.lower(), character.upper()]))


def find_loosely(keys: Iterable[bytes], typed: str) -> list[bytes]:
    """Return the keys that contain a text's characters in order, in any case; the closest match is first."""
    pattern = re.compile(".*?".join(map(re.escape, typed)), re.IGNORECASE | re.DOTALL)
    matches = [(match, key) for key in keys if (match := pattern.search(as_text(key)))]
    ranked = sorted(matches, key=lambda each: (len(each[0][0]), each[0].start(), each[1]))
    return [key for _, key in ranked[:OFFERED_MAX]]
