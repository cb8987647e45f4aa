"""Storage in SQLite. The journal is the source of truth; the table is derived from it. No other package uses SQLite."""

from kvd.storage.offline.backup import Backup, back_up, restore
from kvd.storage.offline.check import Damage, Report, check
from kvd.storage.offline.salvage import Salvage, at_rest, report_if_whole, salvage
from kvd.storage.store import Store

__all__ = [
    "Backup",
    "Damage",
    "Report",
    "Salvage",
    "Store",
    "at_rest",
    "back_up",
    "check",
    "report_if_whole",
    "restore",
    "salvage",
]
