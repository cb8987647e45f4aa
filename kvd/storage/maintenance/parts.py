"""The parts of an open store, as opening.py returns them."""

from typing import NamedTuple

from kvd.storage.files.journal import Journal
from kvd.storage.files.once_tokens import OnceTokens
from kvd.storage.files.table import Table
from kvd.storage.maintenance.disk_space import DiskSpace
from kvd.storage.maintenance.fold_thread import FoldThread
from kvd.storage.maintenance.retention import Retention
from kvd.storage.memory.overlays import Overlays


class StoreParts(NamedTuple):
    """The files, the memory and the helpers of one store."""

    journal: Journal
    table: Table
    overlays: Overlays
    tokens: OnceTokens
    retention: Retention
    disk_space: DiskSpace
    fold_thread: FoldThread
