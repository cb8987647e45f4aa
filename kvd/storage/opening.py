"""Opening a data directory: creates or recovers its files, loads the overlay, and returns the parts of a store.

A start does not replay the whole journal, however large it is: it reads only the changes that are not folded yet. The
lock file records whether the last shutdown was clean. After an unclean one, the WALs are scanned before SQLite opens
them, because SQLite would silently drop a damaged part (see offline/recovery.py).
"""

from contextlib import ExitStack
from pathlib import Path
from typing import NamedTuple

from sqlite_utils.utils import sqlite3

from kvd.commands.model import KEY, REVISION, Milliseconds, entries_delta
from kvd.errors import Corrupt, Refused, StartError, StorageFailed
from kvd.limits import WAL_PARTS
from kvd.storage.files.directory_lock import DirectoryLock
from kvd.storage.files.journal import FILE as JOURNAL_FILE
from kvd.storage.files.journal import Journal, JournalState
from kvd.storage.files.once_tokens import OnceTokens
from kvd.storage.files.permissions import check_permissions
from kvd.storage.files.sqlite import PAGE_BYTES, advice, check_library, sync_path
from kvd.storage.files.table import FILE as TABLE_FILE
from kvd.storage.files.table import FoldMark, Table
from kvd.storage.maintenance.disk_space import DiskSpace
from kvd.storage.maintenance.fold_thread import FoldThread
from kvd.storage.maintenance.parts import StoreParts
from kvd.storage.maintenance.retention import Retention
from kvd.storage.memory.overlays import Overlays
from kvd.storage.offline.recovery import Recovery, expect_whole_directory, kept_wals

# always: SQLite syncs the WAL in each commit. interval, never: it syncs only before a checkpoint; with interval the
# loop also calls `Store.sync`.
SYNCHRONOUS = {"always": "FULL", "interval": "NORMAL", "never": "NORMAL"}


class Options(NamedTuple):
    """How a store is opened: when it syncs, and how many changes its journal keeps."""

    fsync: str
    kept_changes: int
    kept_bytes: int


class StoreFiles:
    """The lock and the open files of a data directory, and sentences about their recovery (`notes`)."""

    def __init__(self, directory: Path) -> None:
        """Lock the directory. Raises InUse, StorageFailed."""
        self.directory = directory
        self.notes: list[str] = []
        self.lock = DirectoryLock(directory)
        self._opened: list[Journal | Table] = []

    def open(self, options: Options, free_bytes: int, keeping: ExitStack) -> tuple[Journal, Table]:
        """Open the files; `keeping` keeps the WALs until all is loaded. Raises StartError, Refused, sqlite3.Error."""
        left = self.lock.left_wal_bytes
        expect_whole_directory(self.directory)
        recovery = None if left is None else Recovery(self.directory, left, self.notes)
        if left is not None:
            keeping.enter_context(kept_wals(self.directory))
        wal_bytes = free_bytes // WAL_PARTS // PAGE_BYTES * PAGE_BYTES
        journal = Journal(self.directory, synchronous=SYNCHRONOUS[options.fsync], wal_bytes=wal_bytes)
        self._opened.append(journal)
        table = Table(self.directory)
        self._opened.append(table)
        if left is not None:
            # A killed daemon may have left a commit that was never synced. It is treated as durable from here on.
            sync_path(journal.wal)
        sync_path(self.directory)  # before the lock records that the WALs exist
        self.lock.mark_in_use(journal.wal.stat().st_size)
        if recovery is not None:
            recovery.compare(JOURNAL_FILE, journal.db)
            recovery.compare(TABLE_FILE, table.db)
        return journal, table

    def close(self) -> None:
        """Mark the shutdown as clean, close the files, the table first, and unlock the directory."""
        if self._opened:
            self.lock.mark_clean()
        self._close_files()

    def close_refused(self) -> None:
        """Unlock the directory after a refused start.

        The files and the mark of an unclean shutdown stay as they are, so the next start is refused too.
        """
        if self.lock.left_wal_bytes is None:
            self.close()
        else:
            self._close_files()

    def _close_files(self) -> None:
        while self._opened:
            self._opened.pop().close()
        self.lock.close()


class OpenedStore(NamedTuple):
    """The result of opening: the parts, the number of entries, and the time of the last change."""

    files: StoreFiles
    parts: StoreParts
    entries: int
    time: Milliseconds


def open_store(directory: Path, options: Options) -> OpenedStore:
    """Create or open a data directory, and start its fold thread. Raises StartError."""
    check_library()
    try:
        directory.mkdir(mode=0o700, parents=True, exist_ok=True)
    except OSError as error:
        raise StorageFailed(f"cannot create the data directory {directory}: {error.strerror}") from error
    check_permissions(directory)
    files = StoreFiles(directory)
    with ExitStack() as keeping:
        try:
            disk_space = DiskSpace(directory)
            journal, table = files.open(options, disk_space.free(), keeping)
            state, mark = _read_states(journal, table)
            overlays, entries = _load_overlay(journal, table, mark, state.last)
            tokens = OnceTokens(journal, state.time)
        except (sqlite3.Error, Refused, OSError) as error:
            files.close_refused()
            notes = "".join(f"{note}. " for note in files.notes)
            raise StorageFailed(f"{directory}: {notes}{error}; {advice(directory, error)}") from error
        except StartError:
            files.close_refused()
            raise
    retention = Retention(state.first, state.compacted, options.kept_changes, options.kept_bytes)
    fold_thread = FoldThread(directory, 0, sync_journal=options.fsync != "always")
    fold_thread.start()
    parts = StoreParts(journal, table, overlays, tokens, retention, disk_space, fold_thread)
    return OpenedStore(files, parts, entries, state.time)


def _read_states(journal: Journal, table: Table) -> tuple[JournalState, FoldMark]:
    """Return the state of the journal and the mark of the table. Raises Corrupt when they do not match."""
    state, mark = journal.read_state(), table.mark()
    if not mark.history and not mark.revision:
        table.adopt(state.history)
    elif mark.history != state.history:
        raise Corrupt("journal.db and table.db are of two different stores: restore both from the same backup")
    if mark.target_revision > state.last or (state.last > mark.revision and state.first > mark.revision + 1):
        raise Corrupt(f"the journal ({state.first} to {state.last}) does not continue the table (to {mark.revision})")
    return state, mark


def _load_overlay(journal: Journal, table: Table, mark: FoldMark, last: int) -> tuple[Overlays, int]:
    """Return the overlays with the changes that are not folded, and the number of entries. It takes 1 us a change."""
    overlays, entries = Overlays(mark.revision, table.upper_bound()), mark.entries
    revision = mark.revision
    for rows in journal.chunks_after(revision):
        if rows[0][REVISION] != revision + 1 or rows[-1][REVISION] != revision + len(rows):
            break
        revision = rows[-1][REVISION]
        overlays.update(rows)
        entries += sum([entries_delta(row) for row in rows if not mark.covers(row[REVISION], row[KEY])])
    if revision != last:
        raise Corrupt(f"the journal has a hole after revision {revision}")
    return overlays, entries
