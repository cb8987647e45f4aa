"""The store: journal, table, overlay and cache as one thing that commits and is read.

What is here is committed. The engine stages on top of it and gives the staged batch to `commit`.
Time comes in as an argument, in Unix milliseconds.
"""

import os
from collections.abc import Callable, Container, Iterator, Sequence
from contextlib import suppress
from functools import partial
from itertools import islice
from pathlib import Path
from typing import Any, TypeVar

from sqlite_utils.utils import sqlite3

from kvd.commands.entry import (
    SET,
    Change,
    Entry,
    Head,
    Milliseconds,
    Remembered,
    Row,
    Staged,
    entry_of,
)
from kvd.errors import Busy, Corrupt, Full, Refused, StartError, StorageFailed
from kvd.limits import (
    FOLD_AGE_MS,
    FOLD_BYTES,
    FOLD_CHANGES,
    JOURNAL_KEPT_BYTES,
    JOURNAL_KEPT_CHANGES,
    ONCE_KEPT_MS,
    OVERLAY_BYTES_MAX,
    OVERLAY_CHANGES_MAX,
    TRIM_INTERVAL_MS,
    TRIMMED_PER_IDLE_COMMIT_MAX,
    WAL_CHECKPOINT_BYTES,
    WAL_PRESIZED_BYTES,
)
from kvd.storage.database import PAGE_BYTES, check_library, refusal_of, refusals
from kvd.storage.fold import CheckpointJob, Done, Folder, FoldJob
from kvd.storage.journal import Journal
from kvd.storage.lock import DirectoryLock
from kvd.storage.memory import MISSING, Memory
from kvd.storage.retention import Retention
from kvd.storage.table import Table

# always: SQLite syncs the WAL in each commit. interval, never: it does so only before a checkpoint;
# with interval the loop calls `sync` besides.
SYNCHRONOUS = {"always": "FULL", "interval": "NORMAL", "never": "NORMAL"}
T = TypeVar("T")


class Store:
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
        self.lock = DirectoryLock(directory)
        self.kept, self.fsync = (kept_changes, kept_bytes), fsync
        try:
            self.journal = Journal(directory, synchronous=SYNCHRONOUS[fsync])
            self.table = Table(directory)
            self.load()
        except (sqlite3.Error, Corrupt, OSError) as error:
            self.lock.close()
            raise StorageFailed(f"{directory}: {error}; is it a kvd data directory, whole and readable?") from error
        except StartError:
            self.lock.close()
            raise
        self.folder = Folder(directory, 0, sync_journal=fsync != "always")
        self.folder.start()
        self.wal_fd = os.open(self.journal.wal, os.O_RDONLY | os.O_CLOEXEC)

    def load(self) -> None:
        """Read the heads, and the overlay from the journal: no replay of the history, whatever the size."""
        head = self.journal.head()
        fold = self.table.fold()
        if not fold.history and not fold.revision:
            self.table.adopt(head.history)
        elif fold.history != head.history:
            raise Corrupt("journal.db and table.db are of two different stores: restore both from the same backup")
        if fold.revision > head.last or (head.last > fold.revision and head.first > fold.revision + 1):
            raise Corrupt(
                f"the journal ({head.first} to {head.last}) does not go on where the table ends ({fold.revision})"
            )
        self.history = head.history
        self.revision, self.time = head.last, head.time
        self.folded, self.durable = fold.revision, 0
        self.retention = Retention(head.first, head.compacted, *self.kept)
        self.entries = fold.entries
        self.sqlite_version = sqlite3.sqlite_version
        self.memory = Memory()
        self.hits = self.misses = 0
        self.apply(rows := self.journal.rows_after(fold.revision), {row[2]: entry_of(row) for row in rows})
        if [row[0] for row in rows] != list(range(fold.revision + 1, head.last + 1)):
            raise Corrupt(f"the journal has a hole after revision {fold.revision}")
        self.tokens = self.journal.tokens_after(head.time - ONCE_KEPT_MS)
        self.next_token = self.journal.next_token()
        self.wal_bytes = WAL_CHECKPOINT_BYTES  # unknown after a crash: the first fold asks for a checkpoint
        self.unsynced = False
        self.fold_asked_at: Milliseconds = 0
        self.trimmed_at: Milliseconds = 0
        self.seen = self.revision  # at the last look whether somebody writes
        self.checkpoint_asked = False
        self.fold_waits = 0
        self.fold_error: Exception | None = None

    # Reading

    @property
    def compacted(self) -> int:
        """Return the revision up to which changes are not told any more."""
        return self.retention.compacted

    def get(self, key: bytes) -> Entry | None:
        """Return the entry of a key, expired or not; raises Corrupt."""
        entry: Entry | None = self.memory.entries.get(key, MISSING)
        if entry is MISSING:
            return self.read(key)
        self.hits += 1
        return entry

    def read(self, key: bytes) -> Entry | None:
        """Return what the table says of a key, and keep it in the cache."""
        self.misses += 1
        with refusals():
            entry = self.table.get(key)
        self.memory.keep({key: entry})
        return entry

    def read_ahead(self, keys: Sequence[bytes]) -> None:
        """Read together what the table alone can tell of keys. What goes wrong is told to whoever asks for the key."""
        with suppress(Refused):
            self.get_many(keys)
            self.hits -= len(keys)  # each is a hit when it is asked for

    def get_many(self, keys: Sequence[bytes]) -> tuple[list[Any], bool]:
        """Return the entries of keys, expired or not, MISSING where one is large and on disk, and whether any is.

        Raises Corrupt.
        """
        found, missing = self.memory.get_many(keys)
        self.hits += len(keys) - len(missing)
        if not missing:
            return found, False
        self.misses += len(missing)
        wanted = [keys[at] for at in missing]
        with refusals():
            read = self.table.get_many(wanted)
        self.memory.keep(read)
        for at, key in zip(missing, wanted, strict=True):
            found[at] = read.get(key, MISSING)
        return found, len(read) < len(set(wanted))

    def scan(self, prefix: bytes, after: bytes | None) -> Iterator[Entry]:
        """Yield entries in byte order, expired ones too."""
        with refusals():
            yield from self.memory.scan(self.table.scan(prefix, after), prefix, after)

    def heads(self, prefix: bytes, after: bytes | None) -> Iterator[Head]:
        """Yield entries in byte order without their values, expired ones too."""
        with refusals():
            yield from self.memory.scan(self.table.heads(prefix, after), prefix, after)

    def count(self, prefix: bytes, now: Milliseconds) -> int:
        """Return how many entries live at this time have keys that begin with the prefix."""
        if prefix:
            with refusals():
                count, folded = self.table.count(prefix)
                count += self.journal.net_count(folded, prefix)
        else:
            count = self.entries
        return count - sum([key.startswith(prefix) for key in self.all_due(now)])

    def changes(self, since: int, prefix: bytes, limit: int) -> tuple[int, list[Change]]:
        """Return the matching changes after `since`, all up to the revision returned; bounded, see limits."""
        with refusals():
            return self.journal.changes(since, self.revision, prefix, limit)

    def due(self, now: Milliseconds, limit: int, skip: Container[bytes] = ()) -> list[bytes]:
        """Return keys whose time has come, at most `limit`, those due the longest first within memory and disk."""
        return list(islice((key for key in self.all_due(now) if key not in skip), limit))

    def all_due(self, now: Milliseconds) -> Iterator[bytes]:
        """Yield all keys whose time has come."""
        yield from self.memory.due(now)
        with refusals():
            yield from (key for key in self.table.due(now) if not self.memory.covers(key))

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
        self.wait_for_room()
        size = sum([len(row[2]) + len(row[3] or b"") for row in batch.rows])
        # Twice what it brings, or the journal would grow as long as large commits come.
        trim = self.trim_target(most=self.retention.bounded(2 * len(batch.rows), 2 * size))
        tokens = list(enumerate(batch.remembered, self.next_token))
        with refusals():
            self.journal.append(batch.rows, tokens, batch.compacted, trim)
        self.apply(batch.rows, batch.entries)
        if batch.rows:
            self.revision, self.time = batch.rows[-1][0], batch.rows[-1][7]
        if batch.compacted is not None:
            self.retention.compacted = batch.compacted
        if trim is not None:
            self.retention.trimmed(trim)
        self.tokens.update({kept.token: (number, kept.time) for number, kept in tokens})
        self.next_token += len(tokens)
        self.unsynced = True
        self.plan(size + 64 * len(batch.rows))

    def apply(self, rows: list[Row], entries: dict[bytes, Entry | None]) -> None:
        """Bring what is in memory up to the journal."""
        self.memory.update(entries, len(rows))
        self.entries += sum([-1 if row[1] != SET else not row[4] for row in rows])

    def plan(self, written: int) -> None:
        """Ask for a fold or a checkpoint when enough has come together, after a commit of so many bytes."""
        # Pages a commit writes to the WAL, estimated from above: the end of the journal and its parents.
        self.wal_bytes += (3 + written * 21 // 20 // PAGE_BYTES) * PAGE_BYTES
        if self.wal_bytes > WAL_CHECKPOINT_BYTES and not self.checkpoint_asked:
            self.checkpoint_asked = True
            self.folder.ask(CheckpointJob())
        fresh = self.memory.fresh
        if fresh.changes >= FOLD_CHANGES or fresh.size >= FOLD_BYTES:
            self.begin_fold()

    def begin_fold(self) -> None:
        """Hand the fresh overlay to the fold, if it is not at work; an empty one to make the last fold durable.

        Not while a long WAL is to be checkpointed: a fold reads the journal, and with one after the other
        `finish_checkpoint` would never find it unread, and the WAL grow while there is load (1.5 GiB in ten minutes).
        """
        is_held = self.checkpoint_asked and self.wal_bytes > WAL_PRESIZED_BYTES
        is_due = (self.memory.fresh.changes or self.durable < self.folded) and not is_held
        if is_due and self.memory.folding is None and self.fold_error is None:
            self.memory.begin_fold()
            self.folder.ask(FoldJob(self.revision))

    def wait_for_room(self) -> None:
        """When the overlay is at its bound, wait for the fold; raise Full when it cannot go on."""
        while self.is_full():
            self.begin_fold()
            if self.fold_error is not None:
                raise Full(f"the table cannot take more: {self.fold_error}")
            self.fold_waits += 1
            self.finish(self.folder.done.get())

    def is_full(self) -> bool:
        """Return whether the overlay is at its bound."""
        memory = self.memory
        changes = sum([overlay.changes for overlay in memory.overlays()])
        return changes >= OVERLAY_CHANGES_MAX or memory.overlay_size() >= OVERLAY_BYTES_MAX

    # What happens beside commits

    def tick(self, now: Milliseconds) -> None:
        """Take note of what the fold did, and start what is due. Raises Refused when the storage has failed."""
        while not self.folder.done.empty():
            self.finish(self.folder.done.get())
        if now - self.fold_asked_at > FOLD_AGE_MS:
            self.fold_asked_at = now
            self.fold_error = None
            self.begin_fold()
            self.forget_tokens()
            self.journal.check_place()
        if now - self.trimmed_at >= TRIM_INTERVAL_MS:
            is_idle, self.trimmed_at, self.seen = self.seen == self.revision, now, self.revision
            if is_idle:
                self.trim_idle()

    def finish(self, done: Done) -> None:
        """Take note of a job that is over."""
        self.durable = done.durable
        if isinstance(done.job, CheckpointJob):
            self.finish_checkpoint(done)
        elif done.error is None:
            self.folded = done.job.upto
            self.memory.end_fold()
            self.plan_trim()
        else:
            self.memory.undo_fold()
            self.fold_error = done.error
            raise_lasting(done.error)

    def finish_checkpoint(self, done: Done) -> None:
        """Copy what came into the WAL meanwhile, so that it is used from its start again."""
        self.checkpoint_asked = False
        if done.error is not None:
            raise_lasting(done.error)
        elif self.put_off(self.journal.finish_checkpoint):
            self.wal_bytes = 0

    def put_off(self, work: Callable[[], T]) -> T | None:
        """Do what can wait while the disk is full or the journal busy; None when it has to."""
        try:
            with refusals():
                return work()
        except (Full, Busy):
            return None

    def plan_trim(self) -> None:
        """Decide up to where old changes may go."""
        with refusals():
            self.retention.plan(self.revision, self.journal.live_bytes())

    def trim_target(self, least: int | None = None, most: int | None = None) -> int | None:
        """Return up to where a commit deletes rows, if it is to. The last row stays: the head revision is its own."""
        return self.retention.target(min(self.durable, self.revision - 1), least, most)

    def trim_idle(self) -> None:
        """Delete some of the forgotten changes also when nobody writes."""
        trim = self.trim_target(least=1, most=self.retention.bounded(TRIMMED_PER_IDLE_COMMIT_MAX, 0))
        if trim is not None and self.put_off(partial(self.journal.trim, trim)):
            self.retention.trimmed(trim)

    def forget_tokens(self) -> None:
        """Delete the tokens that no longer count."""
        oldest = next(iter(self.tokens.values()))[0] if self.tokens else self.next_token
        self.put_off(partial(self.journal.forget_tokens, oldest))

    def sync(self) -> None:
        """Make durable what is committed (fsync = interval). After an OSError nothing is to be trusted."""
        if self.unsynced:
            self.unsynced = False
            os.fdatasync(self.wal_fd)

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
            "cache_hits": self.hits,
            "cache_misses": self.misses,
            "fold_waits": self.fold_waits,
            "tokens": len(self.tokens),
            "wal_bytes": os.fstat(self.wal_fd).st_size,
        }

    def close(self) -> None:
        """Finish the fold at hand, close the files, let the directory go."""
        self.folder.stop()
        self.table.close()
        self.journal.close()
        os.close(self.wal_fd)
        self.lock.close()


def raise_lasting(error: Exception) -> None:
    """Raise what an error means, unless it may pass by itself."""
    refusal = refusal_of(error)
    if not isinstance(refusal, Full | Busy):
        raise refusal from error
