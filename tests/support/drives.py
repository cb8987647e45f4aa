"""A store with an engine on it, driven by hand: the server's loop without its sockets."""

from pathlib import Path

from sqlite_utils.utils import sqlite3

from kvd.commands import Command
from kvd.engine.engine import Engine
from kvd.limits import TRIM_INTERVAL_MS
from kvd.storage import Store

NOW = 1_000_000


def evict_all(store: Store) -> None:
    """Make the next reads go to the table."""
    assert store.overlays.immutable is None
    assert not store.overlays.active.changes
    store.overlays.key_cache.evict(0, store.overlays.folded, 1_000_000)
    store.overlays.key_cache.set_upper_bound(None)


class EngineOnStore:
    def __init__(self, directory: Path, **options) -> None:
        self.directory = directory
        self.options = options
        self.open()

    def open(self) -> "EngineOnStore":
        self.store = Store(self.directory, **self.options)
        self.engine = Engine(self.store)
        return self

    def apply(self, *commands: Command, now: int = NOW) -> list:
        """Run commands and commit them as one batch; return their results."""
        results = [self.engine.apply(command, now).result for command in commands]
        self.commit()
        return results

    def commit(self) -> None:
        try:
            self.store.commit(self.engine.staging.take())
        finally:
            self.engine.staging.drop()

    def settle(self) -> None:
        """Take in what the fold thread has been asked for."""
        while self.store.overlays.immutable is not None or self.store.maintenance.jobs.is_checkpointing:
            self.store.maintenance.jobs.finish(self.store.maintenance.parts.fold_thread.done.get())

    def fold(self) -> "EngineOnStore":
        self.settle()  # a checkpoint of a long WAL goes first
        self.store.maintenance.jobs.begin_fold()
        self.settle()
        return self

    def idle(self, now: int = NOW) -> None:
        """Let time pass with nobody writing."""
        for _ in range(20):
            self.store.tick(now)
            self.settle()
            now += TRIM_INTERVAL_MS

    def restart(self) -> "EngineOnStore":
        self.store.close()
        return self.open()

    def sql(self, file: str, *statements: str) -> list:
        """Close the store, run statements on one of its files; return the rows of the last."""
        self.store.close()
        db = sqlite3.connect(str(self.directory / file), isolation_level=None)
        try:
            return [db.execute(statement).fetchall() for statement in statements][-1]
        finally:
            db.close()


def sqlite_error(code: int, message: str = "made by the test") -> Exception:
    error = sqlite3.OperationalError(message)
    error.sqlite_errorcode = code
    return error


class RolledBack:
    """A connection that finds the disk full at its first COMMIT; SQLite has rolled back by itself then."""

    def __init__(self, db) -> None:
        self.db = db
        self.has_failed = False

    def __getattr__(self, name):
        return getattr(self.db, name)

    def execute(self, sql, *arguments):
        if sql == "COMMIT" and not self.has_failed:
            self.has_failed = True
            self.db.execute("ROLLBACK")
            raise sqlite_error(13, "database or disk is full")
        return self.db.execute(sql, *arguments)
