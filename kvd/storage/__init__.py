"""The only rooms that touch SQLite: the journal is the truth, the table is derived from it."""

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
