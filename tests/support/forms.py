"""The two forms of what is in memory: as it was written in Python, and in C where that was built."""

import pytest
from msgspec import Raw

from kvd import core
from kvd.commands.entry import SET, Entry, Row
from kvd.storage.records import MISSING, PlainRecords

built = pytest.mark.skipif(core.module is None, reason="kvd.core._core was not built: is there a C compiler?")


def compiled_records():
    return core.module.Records(Entry, MISSING, Raw)


FORMS = [pytest.param(PlainRecords, id="plain"), pytest.param(compiled_records, id="compiled", marks=built)]


def row(key, value=b"", revision=1, *, previous=0, created=None, expires=None) -> Row:
    """Return a change; its value None ends the key."""
    if value is None:
        return (revision, 2, key, None, previous, 0, None, 5)
    return (revision, SET, key, value, previous, created or revision, expires, 5)
