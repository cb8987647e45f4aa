"""The only rooms that touch SQLite: the journal is the truth, the table is derived from it."""

from kvd.storage.store import Store

__all__ = ["Store"]
