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

from kvd.commands.entry import (
    ALL,
    SET,
    Change,
    Entry,
    Head,
    Milliseconds,
    Remembered,
    Sized,
    Span,
    Staged,
    more_of,
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
from kvd.storage.database import PAGE_BYTES, advice, bytes_of, check_library, refusal_of, refusals, sync_path
from kvd.storage.due import BEGIN, Due
from kvd.storage.folder import Folder
from kvd.storage.history import History
from kvd.storage.journal import FILE as JOURNAL_FILE
from kvd.storage.journal import Journal
from kvd.storage.lock import DirectoryLock
from kvd.storage.memory import Memory
from kvd.storage.permissions import check_permissions
from kvd.storage.records import MISSING, Records
from kvd.storage.recovery import Recovery, expect_whole_directory, kept_wals
from kvd.storage.retention import Retention
from kvd.storage.room import Room
from kvd.storage.table import FILE as TABLE_FILE
from kvd.storage.table import Mark, Table
from kvd.storage.upkeep import Upkeep

# always: SQLite syncs the WAL in each commit. interval, never: it does so only before a checkpoint;
# with interval the loop calls `sync` besides.
SYNCHRONOUS = {"always": "FULL", "interval": "NORMAL", "never": "NORMAL"}


class Store(Upkeep):
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
                self.room = Room(directory)
                self.open(directory, keeping)
                self.load()
            except (sqlite3.Error, Refused, OSError) as error:
                self.let_go_as_found()
                notes = "".join(f"{note}. " for note in self.notes)
                raise StorageFailed(f"{directory}: {notes}{error}; {advice(directory, error)}") from error
            except StartError:
                self.let_go_as_found()
                raise
        self.folder = Folder(directory, 0, sync_journal=fsync != "always")
        self.folder.start()
        self.begin_upkeep()
        self.wal_fd = os.open(self.journal.wal, os.O_RDONLY | os.O_CLOEXEC)

    def open(self, directory: Path, keeping: ExitStack) -> None:
        """Open the files; raises StartError, Refused, sqlite3.Error or OSError."""
        left = self.lock.left_wal_bytes
        expect_whole_directory(directory)
        recovery = None if left is None else Recovery(directory, left, self.notes)
        if left is not None:
            keeping.enter_context(kept_wals(directory))
        wal_bytes = self.room.free() // WAL_PARTS // PAGE_BYTES * PAGE_BYTES
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
        head = self.journal.head()
        mark = self.table.mark()
        if not mark.history and not mark.revision:
            self.table.adopt(head.history)
        elif mark.history != head.history:
            raise Corrupt("journal.db and table.db are of two different stores: restore both from the same backup")
        if mark.upto > head.last or (head.last > mark.revision and head.first > mark.revision + 1):
            raise Corrupt(
                f"the journal ({head.first} to {head.last}) does not go on where the table ends ({mark.revision})"
            )
        self.history = head.history
        self.revision, self.time = head.last, head.time
        self.folded, self.durable = mark.revision, 0
        self.retention = Retention(head.first, head.compacted, *self.kept)
        self.entries = mark.entries
        self.sqlite_version = sqlite3.sqlite_version
        self.memory = Memory(mark.revision)
        self.search = Due(self.memory, self.table)
        self.records.beyond = self.table.end()
        self.misses = 0
        self.load_overlay(mark, head.last)
        self.tokens = self.journal.tokens_after(head.time - ONCE_KEPT_MS)
        self.next_token = self.journal.next_token()
        self.unsynced = False

    def load_overlay(self, mark: Mark, last: int) -> None:
        """Take in the changes that are not folded. 1 us each, of OVERLAY_CHANGES_MAX at most."""
        revision = mark.revision
        for rows in self.journal.portions_after(revision):
            if rows[0][0] != revision + 1 or rows[-1][0] != revision + len(rows):
                break
            revision = rows[-1][0]
            self.memory.update(rows)
            self.entries += sum([more_of(row) for row in rows if not mark.has(row[0], row[2])])
        if revision != last:
            raise Corrupt(f"the journal has a hole after revision {revision}")

    # Reading

    @property
    def records(self) -> Records:
        """Return what is in memory."""
        return self.memory.records

    @property
    def compacted(self) -> int:
        """Return the revision up to which changes are not told any more."""
        return self.retention.compacted

    def get(self, key: bytes) -> Entry | None:
        """Return the entry of a key, expired or not; raises Corrupt."""
        entry = self.memory.records.get(key)
        return self.read(key) if entry is MISSING else entry

    def read(self, key: bytes) -> Entry | None:
        """Return what the table says of a key, and keep it in the cache."""
        self.misses += 1
        with refusals():
            entry = self.table.get(key)
        self.memory.keep({key: entry})
        return entry

    def read_ahead(self, keys: Sequence[bytes]) -> int:
        """Read together what the table alone can tell of keys; return how many there were.

        What goes wrong is told to whoever asks for the key.
        """
        missing = list(dict.fromkeys(self.records.missing(keys)))
        with suppress(Refused):
            self.read_many(missing)
        if missing:
            self.records.hits -= len(missing) - len(self.records.missing(missing))  # each is a hit when it is asked for
        return len(missing)

    def get_many(self, keys: Sequence[bytes]) -> tuple[list[Any], bool]:
        """Return the entries of keys, expired or not, MISSING where one is large and on disk, and whether any is.

        Raises Corrupt.
        """
        found, missing = self.memory.get_many(keys)
        if not missing:
            return found, False
        wanted = [keys[at] for at in missing]
        self.read_many(list(dict.fromkeys(wanted)))
        hits = self.records.hits
        for at, entry in zip(missing, self.records.get_many(wanted), strict=True):
            found[at] = entry
        self.records.hits = hits  # they were misses
        return found, MISSING in found

    def read_many(self, keys: list[bytes]) -> None:
        """Keep in memory what the table says of keys that are not there, but large values. Raises Corrupt."""
        if keys:
            self.misses += len(keys)
            self.memory.evict(len(keys))  # first, or some of them might go again at once
            with refusals():
                self.table.read_into(self.records, keys)

    def values(self, keys: Sequence[bytes], now: Milliseconds) -> Any:
        """Return the live values of keys if all are in memory and fit into a reply; else None."""
        return self.memory.records.values(keys, now, REPLY_BYTES_MAX)

    def scan(self, span: Span = ALL) -> Iterator[Entry]:
        """Yield the entries of a span, in its order, expired ones too."""
        with refusals():
            yield from self.memory.scan(self.table.scan(span), span)

    def heads(self, span: Span = ALL) -> Iterator[Head]:
        """Yield the entries of a span, in its order, without their values, expired ones too."""
        with refusals():
            yield from self.memory.scan(self.table.heads(span), span)

    def sizes(self, span: Span = ALL) -> Iterator[Sized | Entry]:
        """Yield what `heads` does, each with the size of its value."""
        with refusals():
            yield from self.memory.scan(self.table.sizes(span), span)

    def count(self, prefix: bytes, now: Milliseconds) -> int:
        """Return how many entries live at this time have keys that begin with the prefix."""
        if prefix:
            with refusals():
                count, mark = self.table.count(prefix)
                count += self.journal.net_count(mark.revision, mark.upto, mark.through, prefix)
        else:
            count = self.entries
        return count - sum([key.startswith(prefix) for key in self.all_due(now)])

    def head(self, key: bytes) -> Head | None:
        """Return the entry of a key, expired or not, without reading or keeping its value; raises Corrupt."""
        entry = self.memory.records.get(key)
        if entry is not MISSING:
            return entry
        with refusals():
            return self.table.head(key)

    def changes(self, since: int, prefix: bytes, limit: int) -> tuple[int, list[Change]]:
        """Return the matching changes after `since`, all up to the revision returned; bounded, see limits."""
        with refusals():
            return self.journal.changes(since, self.revision, prefix, limit)

    def changes_of(self, key: bytes, before: int, floor: int, limit: int) -> tuple[list[Change], int | None]:
        """Return the changes of a key below `before` and above `floor`, newest first, and the next `before`."""
        entry = self.get(key)
        newest = self.records.revision(key) if entry is None else entry.revision
        with refusals():
            return History(self.journal.db, key, floor).page(before, newest, limit)

    def due(self, now: Milliseconds, limit: int, skip: Container[bytes] = ()) -> list[bytes]:
        """Return keys whose time has come, at most `limit`, those due the longest first within memory and disk."""
        with refusals():
            return self.search.keys(now, limit, skip)

    def all_due(self, now: Milliseconds) -> Iterator[bytes]:
        """Yield all keys whose time has come."""
        yield from self.memory.all_due(now)
        with refusals():
            yield from (key for _, key in self.table.due(now, BEGIN) if not self.memory.covers(key))

    def remembered(self, token: bytes) -> Remembered | None:
        """Return what is kept under a token, however old."""
        found = self.tokens.get(token)
        if found is None:
            return None
        with refusals():
            return self.journal.remembered(found[0])

    def remembered_count(self, now: Milliseconds) -> int:
        """Return how many tokens younger than ONCE_KEPT_MS are kept; forgets the others."""
        while self.tokens:
            token = next(iter(self.tokens))
            if self.tokens[token][1] > now - ONCE_KEPT_MS:
                break
            del self.tokens[token]
        return len(self.tokens)

    # Writing

    def commit(self, batch: Staged) -> None:
        """Make a batch durable and then visible.

        Raises Full or Busy, and then nothing of it has happened; or another Refused after which the outcome is
        unknown and the store must not be written to any more.
        """
        size = batch.payload
        self.wait_for_room(size + ENTRY_OVERHEAD_BYTES * len(batch.rows))
        # Twice what it brings, or the journal would grow as long as large commits come.
        trim = self.trim_target(most=self.retention.bounded(2 * len(batch.rows), 2 * size))
        tokens = list(enumerate(batch.remembered, self.next_token))
        if any(row[1] == SET for row in batch.rows):
            self.check_disk(size, len(batch.rows))
        if batch.compacted is not None:
            self.prepare_compact()
        try:
            self.journal.append(batch.rows, tokens, batch.compacted, trim)
        except sqlite3.Error as error:
            refusal = refusal_of(error)
            if isinstance(refusal, Full):
                self.room.give_up()
            raise refusal from error
        self.entries += self.memory.update(batch.rows)
        if batch.rows:
            self.revision, self.time = batch.rows[-1][0], batch.rows[-1][7]
        if batch.compacted is not None:
            self.retention.compacted = batch.compacted
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

    def prove(self) -> None:
        """Show that the disk takes writes: raises Refused when it does not, and waits as long as it does."""
        self.put_off(self.journal.prove)
        self.unsynced = True
        self.sync()

    def keep(self, changes: int, size: int) -> None:
        """Keep so many changes, of so many bytes at most, from now on."""
        self.retention.kept_changes, self.retention.kept_bytes = changes, size

    def facts(self) -> dict[str, Any]:
        """Return what INFO says of the store."""
        memory = self.memory
        return {
            "revision": self.revision,
            "compacted": self.compacted,
            "folded": self.folded,
            "keys": self.entries,
            "overlay_changes": sum(overlay.changes for overlay in memory.overlays()),
            "overlay_bytes": memory.overlay_size(),
            "cache_bytes": max(0, memory.size - memory.overlay_size()),
            "cache_hits": memory.records.hits,
            "cache_misses": self.misses,
            "folds": self.folds,
            "fold_last_ms": self.fold_ms,
            "fold_waits": self.fold_waits,
            "tokens": len(self.tokens),
            "disk_free": self.room.free(),
            "disk_is_short": self.room.is_short,
            "wal_bytes": os.fstat(self.wal_fd).st_size,
            "wal_used_bytes": self.wal_bytes,
            "table_wal_bytes": bytes_of(self.table.path.with_name(f"{TABLE_FILE}-wal")),
        }

    def close(self) -> None:
        """Finish the fold at hand, close the files, let the directory go."""
        self.folder.stop()
        os.close(self.wal_fd)
        self.let_go()

    def let_go(self) -> None:
        """Close the files that are open, the table first, and let the directory go."""
        if self.opened:
            self.lock.mark_clean()
        while self.opened:
            self.opened.pop().close()
        self.lock.close()

    def let_go_as_found(self) -> None:
        """Let the directory go after a start that was refused.

        What an end that was not clean has left stays as it is, the lock's mark too: the next start is refused as well.
        """
        if self.lock.left_wal_bytes is None:
            self.let_go()
            return
        while self.opened:
            self.opened.pop().close()
        self.lock.close()
