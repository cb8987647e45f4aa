"""The store: journal, table, overlay and cache as one thing that commits and is read.

What is here is committed. The engine stages on top of it and gives the staged batch to `commit`.
Time comes in as an argument, in Unix milliseconds.
"""

import os
from collections.abc import Container, Iterator, Sequence
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import Any

from sqlite_utils.utils import sqlite3

from kvd.commands.model import (
    ALL,
    SET,
    Change,
    Entry,
    EntryMeta,
    Milliseconds,
    OnceRecord,
    Sized,
    Span,
    StagedChanges,
    entries_delta,
)
from kvd.errors import Corrupt, Full, Internal, Refused, StartError, StorageFailed
from kvd.limits import (
    ENTRY_OVERHEAD_BYTES,
    JOURNAL_KEPT_BYTES,
    JOURNAL_KEPT_CHANGES,
    ONCE_KEPT_MS,
    REPLY_BYTES_MAX,
    WAL_PARTS,
)
from kvd.storage.due import BEGIN, Due
from kvd.storage.files.directory_lock import DirectoryLock
from kvd.storage.files.journal import FILE as JOURNAL_FILE
from kvd.storage.files.journal import Journal
from kvd.storage.files.permissions import check_permissions
from kvd.storage.files.sqlite import (
    PAGE_BYTES,
    advice,
    bytes_of,
    check_library,
    sync_path,
    to_refusal,
    with_translated_errors,
)
from kvd.storage.files.table import FILE as TABLE_FILE
from kvd.storage.files.table import FoldMark, Table
from kvd.storage.history import History
from kvd.storage.maintenance.disk_space import DiskSpace
from kvd.storage.maintenance.fold_thread import FoldThread
from kvd.storage.maintenance.maintenance import Maintenance
from kvd.storage.maintenance.retention import Retention
from kvd.storage.memory.key_cache import NOT_CACHED, KeyCache
from kvd.storage.memory.overlays import Overlays
from kvd.storage.offline.recovery import Recovery, expect_whole_directory, kept_wals

# always: SQLite syncs the WAL in each commit. interval, never: it does so only before a checkpoint;
# with interval the loop calls `sync` besides.
SYNCHRONOUS = {"always": "FULL", "interval": "NORMAL", "never": "NORMAL"}


class Store(Maintenance):
    """A data directory, opened. Not thread-safe: one loop owns it."""

    def __init__(
        self,
        directory: Path,
        *,
        fsync: str = "always",
        kept_changes: int = JOURNAL_KEPT_CHANGES,
        kept_bytes: int = JOURNAL_KEPT_BYTES,
    ) -> None:
        """Open or make the directory's files; raises StartError."""
        check_library()
        try:
            directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        except OSError as error:
            raise StorageFailed(f"cannot make the data directory {directory}: {error.strerror}") from error
        self.directory = directory
        check_permissions(directory)
        self.lock = DirectoryLock(directory)
        self.kept, self.fsync = (kept_changes, kept_bytes), fsync
        self.opened: list[Journal | Table] = []
        self.notes: list[str] = []  # what there is to say of how the files were found
        with ExitStack() as keeping:  # what is found, until all of it is open
            try:
                self.disk_space = DiskSpace(directory)
                self.open(directory, keeping)
                self.load()
            except (sqlite3.Error, Refused, OSError) as error:
                self._close_unrecovered()
                notes = "".join(f"{note}. " for note in self.notes)
                raise StorageFailed(f"{directory}: {notes}{error}; {advice(directory, error)}") from error
            except StartError:
                self._close_unrecovered()
                raise
        self.fold_thread = FoldThread(directory, 0, sync_journal=fsync != "always")
        self.fold_thread.start()
        self.begin_maintenance()
        self.wal_fd = os.open(self.journal.wal, os.O_RDONLY | os.O_CLOEXEC)

    def open(self, directory: Path, keeping: ExitStack) -> None:
        """Open the files; raises StartError, Refused, sqlite3.Error or OSError."""
        left = self.lock.left_wal_bytes
        expect_whole_directory(directory)
        recovery = None if left is None else Recovery(directory, left, self.notes)
        if left is not None:
            keeping.enter_context(kept_wals(directory))
        wal_bytes = self.disk_space.free() // WAL_PARTS // PAGE_BYTES * PAGE_BYTES
        self.journal = Journal(directory, synchronous=SYNCHRONOUS[self.fsync], wal_bytes=wal_bytes)
        self.opened.append(self.journal)
        self.table = Table(directory)
        self.opened.append(self.table)
        if left is not None:
            # Who was killed may have written a commit and not synced it; from here on it counts, also for the table.
            sync_path(self.journal.wal)
        sync_path(directory)  # before the lock says that the WALs are there
        self.lock.mark_in_use(self.journal.wal.stat().st_size)
        if recovery is not None:
            recovery.compare(JOURNAL_FILE, self.journal.db)
            recovery.compare(TABLE_FILE, self.table.db)

    def load(self) -> None:
        """Read the heads, and the overlay from the journal: no replay of the history, whatever the size."""
        head = self.journal.read_state()
        mark = self.table.mark()
        if not mark.history and not mark.revision:
            self.table.adopt(head.history)
        elif mark.history != head.history:
            raise Corrupt("journal.db and table.db are of two different stores: restore both from the same backup")
        if mark.target_revision > head.last or (head.last > mark.revision and head.first > mark.revision + 1):
            raise Corrupt(
                f"the journal ({head.first} to {head.last}) does not go on where the table ends ({mark.revision})"
            )
        self.history = head.history
        self.revision, self.time = head.last, head.time
        self.folded, self.durable = mark.revision, 0
        self.retention = Retention(head.first, head.compacted, *self.kept)
        self.entries = mark.entries
        self.sqlite_version = sqlite3.sqlite_version
        self.overlays = Overlays(mark.revision, self.table.upper_bound())
        self.search = Due(self.overlays, self.table)
        self.misses = 0
        self._hits_of_misses = 0  # hits on keys that were read ahead, which count as misses
        self._load_overlay(mark, head.last)
        self.tokens = self.journal.tokens_after(head.time - ONCE_KEPT_MS)
        self.next_token = self.journal.next_token()
        self.unsynced = False

    def _load_overlay(self, mark: FoldMark, last: int) -> None:
        """Take in the changes that are not folded. 1 us each, of OVERLAY_CHANGES_MAX at most."""
        revision = mark.revision
        for rows in self.journal.chunks_after(revision):
            if rows[0][0] != revision + 1 or rows[-1][0] != revision + len(rows):
                break
            revision = rows[-1][0]
            self.overlays.update(rows)
            self.entries += sum([entries_delta(row) for row in rows if not mark.covers(row[0], row[2])])
        if revision != last:
            raise Corrupt(f"the journal has a hole after revision {revision}")

    # Reading

    @property
    def key_cache(self) -> KeyCache:
        """Return what is in memory."""
        return self.overlays.key_cache

    @property
    def hits(self) -> int:
        """Return how many reads of keys needed no read of the table."""
        return self.overlays.key_cache.hits - self._hits_of_misses

    @property
    def compacted(self) -> int:
        """Return the revision up to which changes are not told any more."""
        return self.retention.compacted

    def get(self, key: bytes) -> Entry | None:
        """Return the entry of a key, expired or not; raises Corrupt."""
        entry = self.overlays.key_cache.get(key)
        return self.read(key) if entry is NOT_CACHED else entry

    def read(self, key: bytes) -> Entry | None:
        """Return what the table says of a key, and keep it in the cache."""
        self.misses += 1
        with with_translated_errors():
            entry = self.table.get(key)
        self.overlays.insert({key: entry})
        return entry

    def read_ahead(self, keys: Sequence[bytes]) -> int:
        """Read together what the table alone can tell of keys; return how many there were.

        What goes wrong is told to whoever asks for the key.
        """
        missing = list(dict.fromkeys(self.key_cache.uncached(keys)))
        with suppress(Refused):
            self._read_many(missing)
        self._hits_of_misses += len(missing) - len(self.key_cache.uncached(missing))
        return len(missing)

    def get_many(self, keys: Sequence[bytes]) -> tuple[list[Any], bool]:
        """Return the entries of keys, expired or not, MISSING where one is large and on disk, and whether any is.

        Raises Corrupt.
        """
        found, missing = self.overlays.get_many(keys)
        if not missing:
            return found, False
        wanted = [keys[at] for at in missing]
        self._read_many(list(dict.fromkeys(wanted)))
        for at, entry in zip(missing, self.key_cache.peek_many(wanted), strict=True):
            found[at] = entry
        return found, NOT_CACHED in found

    def _read_many(self, keys: list[bytes]) -> None:
        """Keep in memory what the table says of keys that are not there, but large values. Raises Corrupt."""
        if keys:
            self.misses += len(keys)
            self.overlays.evict(len(keys))  # first, or some of them might go again at once
            with with_translated_errors():
                self.table.read_into(self.key_cache, keys)

    def values(self, keys: Sequence[bytes], now: Milliseconds) -> Any:
        """Return the live values of keys if all are in memory and fit into a reply; else None."""
        return self.overlays.key_cache.values(keys, now, REPLY_BYTES_MAX)

    def scan(self, span: Span = ALL) -> Iterator[Entry]:
        """Yield the entries of a span, in its order, expired ones too."""
        with with_translated_errors():
            yield from self.overlays.scan(self.table.scan(span), span)

    def metas(self, span: Span = ALL) -> Iterator[EntryMeta]:
        """Yield the entries of a span, in its order, without their values, expired ones too."""
        with with_translated_errors():
            yield from self.overlays.scan(self.table.metas(span), span)

    def sizes(self, span: Span = ALL) -> Iterator[Sized | Entry]:
        """Yield what `heads` does, each with the size of its value."""
        with with_translated_errors():
            yield from self.overlays.scan(self.table.sizes(span), span)

    def count(self, prefix: bytes, now: Milliseconds) -> int:
        """Return how many entries live at this time have keys that begin with the prefix."""
        if prefix:
            with with_translated_errors():
                count, mark = self.table.count(prefix)
                count += self.journal.net_count(mark.revision, mark.target_revision, mark.last_key, prefix)
        else:
            count = self.entries
        return count - sum([key.startswith(prefix) for key in self.all_due(now)])

    def meta(self, key: bytes) -> EntryMeta | None:
        """Return the entry of a key, expired or not, without reading or keeping its value; raises Corrupt."""
        entry = self.overlays.key_cache.get(key)
        if entry is not NOT_CACHED:
            return entry
        with with_translated_errors():
            return self.table.meta(key)

    def changes(self, since: int, prefix: bytes, limit: int) -> tuple[int, list[Change]]:
        """Return the matching changes after `since`, all up to the revision returned; bounded, see limits."""
        with with_translated_errors():
            return self.journal.changes(since, self.revision, prefix, limit)

    def changes_of(self, key: bytes, before: int, floor: int, limit: int) -> tuple[list[Change], int | None]:
        """Return the changes of a key below `before` and above `floor`, newest first, and the next `before`."""
        entry = self.get(key)
        newest = self.key_cache.revision(key) if entry is None else entry.revision
        with with_translated_errors():
            return History(self.journal.db, key, floor).page(before, newest, limit)

    def due(self, now: Milliseconds, limit: int, skip: Container[bytes] = ()) -> list[bytes]:
        """Return keys whose time has come, at most `limit`, those due the longest first within memory and disk."""
        with with_translated_errors():
            return self.search.keys(now, limit, skip)

    def all_due(self, now: Milliseconds) -> Iterator[bytes]:
        """Yield all keys whose time has come."""
        yield from self.overlays.all_due(now)
        with with_translated_errors():
            yield from (key for _, key in self.table.due(now, BEGIN) if not self.overlays.covers(key))

    def find_once(self, token: bytes) -> OnceRecord | None:
        """Return what is kept under a token, however old."""
        found = self.tokens.get(token)
        if found is None:
            return None
        with with_translated_errors():
            return self.journal.find_once(found[0])

    def once_count(self, now: Milliseconds) -> int:
        """Return how many tokens younger than ONCE_KEPT_MS are kept; forgets the others."""
        while self.tokens:
            token = next(iter(self.tokens))
            if self.tokens[token][1] > now - ONCE_KEPT_MS:
                break
            del self.tokens[token]
        return len(self.tokens)

    # Writing

    def commit(self, batch: StagedChanges) -> None:
        """Make a batch durable and then visible.

        Raises Full or Busy, and then nothing of it has happened; or another Refused after which the outcome is
        unknown and the store must not be written to any more.
        """
        size = batch.payload
        self.wait_for_overlay_capacity(size + ENTRY_OVERHEAD_BYTES * len(batch.rows))
        # Twice what it brings, or the journal would grow as long as large commits come.
        trim = self.trim_target(most=self.retention.clamp(2 * len(batch.rows), 2 * size))
        tokens = list(enumerate(batch.once, self.next_token))
        if any(row[1] == SET for row in batch.rows):
            self.expect_disk_space(size, len(batch.rows))
        if batch.compacted is not None:
            self.prepare_compact()
        try:
            self.journal.append(batch.rows, tokens, batch.compacted, trim)
        except sqlite3.Error as error:
            refusal = to_refusal(error)
            if isinstance(refusal, Full):
                self.disk_space.release_ballast()
            raise refusal from error
        self.entries += self.overlays.update(batch.rows)
        if batch.rows:
            self.revision, self.time = batch.rows[-1][0], batch.rows[-1][7]
        if batch.compacted is not None:
            self.retention.on_compacted(batch.compacted)
        if trim is not None:
            self.note_trimmed(trim)
        self.tokens.update({kept.token: (number, kept.time) for number, kept in tokens})
        self.next_token += len(tokens)
        self.unsynced = True
        self.plan(size + 64 * len(batch.rows))

    def sync(self) -> None:
        """Make durable what is committed (fsync = interval). Raises Internal: then nothing is to be trusted."""
        if self.unsynced:
            self.unsynced = False
            try:
                os.fdatasync(self.wal_fd)
            except OSError as error:
                raise Internal(f"fsync of the journal failed: {error.strerror}") from error

    def probe_disk(self) -> None:
        """Show that the disk takes writes: raises Refused when it does not, and waits as long as it does."""
        self.if_possible(self.journal.probe_write)
        self.unsynced = True
        self.sync()

    def set_retention(self, kept_changes: int, kept_bytes: int) -> None:
        """Change how many changes the journal keeps, and how many bytes of them."""
        self.retention.set_limits(kept_changes, kept_bytes)

    def facts(self) -> dict[str, Any]:
        """Return what INFO says of the store."""
        memory = self.overlays
        return {
            "revision": self.revision,
            "compacted": self.compacted,
            "folded": self.folded,
            "keys": self.entries,
            "overlay_changes": sum(overlay.changes for overlay in memory.overlays()),
            "overlay_bytes": memory.overlay_size(),
            "cache_bytes": max(0, memory.size - memory.overlay_size()),
            "cache_hits": self.hits,
            "cache_misses": self.misses,
            "folds": self.folds,
            "fold_last_ms": self.fold_ms,
            "fold_waits": self.fold_waits,
            "tokens": len(self.tokens),
            "disk_free": self.disk_space.free(),
            "disk_is_short": self.disk_space.is_short,
            "wal_bytes": os.fstat(self.wal_fd).st_size,
            "wal_used_bytes": self.wal_bytes,
            "table_wal_bytes": bytes_of(self.table.path.with_name(f"{TABLE_FILE}-wal")),
        }

    def close(self) -> None:
        """Finish the fold at hand, close the files, let the directory go."""
        self.fold_thread.stop()
        os.close(self.wal_fd)
        self.release()

    def release(self) -> None:
        """Close the files that are open, the table first, and let the directory go."""
        if self.opened:
            self.lock.mark_clean()
        while self.opened:
            self.opened.pop().close()
        self.lock.close()

    def _close_unrecovered(self) -> None:
        """Let the directory go after a start that was refused.

        What an end that was not clean has left stays as it is, the lock's mark too: the next start is refused as well.
        """
        if self.lock.left_wal_bytes is None:
            self.release()
            return
        while self.opened:
            self.opened.pop().close()
        self.lock.close()
