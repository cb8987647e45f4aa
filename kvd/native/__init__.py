"""The compiled parts of kvd. FORM says whether they are used; it is decided here, once, when kvd is imported.

Each part does the common cases of one job in C, for the commands of the hot path. Each has a plain form in Python with
the same behaviour. The plain form defines the meaning, is the test oracle, and serves where there is no compiler:

    records.c, slots.c   the key cache                            kvd/storage/memory/key_cache.py
    journal.c            rows of the journal, to SQLite and back  kvd/storage/files/journal.py
    sums.c               checksums                                kvd/storage/files/checksum.py
    table.c              reads of the table into the key cache    kvd/storage/files/table.py
    plan.c               the net changes of a fold                kvd/storage/maintenance/fold.py
    staging.c            GET, SET and MULTISET                    kvd/engine/staging.py
    frames.c             ZeroMQ messages                          kvd/server/sockets/frames.py

The factories beside the plain forms (`make_key_cache`, `rows_of`, `make_staging`, `frames_of`) return the compiled form
unless `module` is None. The C code hands every uncommon case to the plain form: an entry that is not cached or has
expired, a batch that is too large, a damaged row. Set KVD_PLAIN=1 to use the plain forms. This package imports nothing
of kvd.

Rejected: Cython and a Rust extension (a larger toolchain for 1,600 lines), and a server in C (two meanings to keep).
"""

import os
from importlib import import_module
from typing import Any, Literal


def _load() -> Any:
    """Return the extension module, or None if it was not built or KVD_PLAIN=1 is set."""
    if os.environ.get("KVD_PLAIN") == "1":
        return None
    try:
        return import_module("kvd.native._native")
    except ImportError:
        return None


class NotCompiled:
    """A base class in place of a compiled one."""


module = _load()
FORM: Literal["compiled", "plain"] = "plain" if module is None else "compiled"
Staging: Any = NotCompiled if module is None else module.Staging
