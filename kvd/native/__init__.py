"""What the loop does for each command, in C, if it could be built: `module` is None where there was no compiler.

Each part has a plain form in Python that does the same, and is chosen where that is:

    records.c   what is known of each key                  kvd/storage/memory/key_cache.py
    journal.c   rows of the journal, to SQLite and back    kvd/storage/files/journal.py
    sums.c      checksums                                  kvd/storage/files/checksum.py
    table.c     entries from the table into memory         kvd/storage/files/table.py
    plan.c      the net changes that a fold takes          kvd/storage/maintenance/fold.py
    staging.c   GET, SET and MULTISET as most are          kvd/engine/staging.py

(slots.c is the table that records.c is about; row.c and sqlite.c serve the others.)

The meaning is told in Python alone: what is not common (an entry that is not in memory, or has expired, a batch that is
too large) the C leaves to it. This room imports nothing.
"""

from importlib import import_module
from typing import Any


def built() -> Any:
    """Return the compiled module; None where it was not built."""
    try:
        return import_module("kvd.native._core")
    except ImportError:
        return None


class NotBuilt:
    """What stands for a type in C that there is not."""


module = built()
Staging: Any = NotBuilt if module is None else module.Staging
