"""The two forms of what is in memory: as it was written in Python, and in C where that was built."""

import pytest
from msgspec import Raw

from kvd import native
from kvd.commands.model import SET, Entry, Row
from kvd.storage.memory.key_cache import NOT_CACHED, PlainKeyCache

built = pytest.mark.skipif(native.module is None, reason="kvd.native._native was not built: is there a C compiler?")


def make_compiled_cache():
    return native.module.Records(Entry, NOT_CACHED, Raw)


IMPLEMENTATIONS = [
    pytest.param(PlainKeyCache, id="plain"),
    pytest.param(make_compiled_cache, id="compiled", marks=built),
]


def row(key, value=b"", revision=1, *, previous=0, created=None, expires=None) -> Row:
    """Return a change; its value None ends the key."""
    if value is None:
        return (revision, 2, key, None, previous, 0, None, 5)
    return (revision, SET, key, value, previous, created or revision, expires, 5)
