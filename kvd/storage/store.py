"""The store: commits batches, and answers reads from the key cache, the overlays and the table.

It knows only committed data. The engine stages changes on top of it and gives each staged batch to `commit`. Times are
arguments, in Unix milliseconds.

Idea: the journal is the only file that a commit writes. Its rows go to the end of one B-tree, so a commit costs one
fsync of a few pages, whatever the keys are. The table is derived from it by folds (see maintenance/fold.py).
Rejected: a commit to the table (a page per key and commit), and an LSM library such as RocksDB (SQLite's file format,
tools and crash safety are worth more here than the last factor of write speed).
"""

from collections.abc import Container, Iterator, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

from sqlite_utils.utils import sqlite3

from kvd.commands.model import ALL, TIME, Change, Entry, EntryMeta, Milliseconds, OnceRecord, Sized, Span, StagedChanges
from kvd.errors import Refused
from kvd.limits import JOURNAL_KEPT_BYTES, JOURNAL_KEPT_CHANGES, REPLY_BYTES_MAX
from kvd.storage.due import BEGIN, Due
from kvd.storage.files.journal_sync import JournalSync
from kvd.storage.files.sqlite import to_refusal, with_translated_errors
from kvd.storage.history import History
from kvd.storage.maintenance.fold_jobs import run_if_possible
from kvd.storage.maintenance.maintenance import Maintenance
from kvd.storage.memory.key_cache import NOT_CACHED, KeyCache
from kvd.storage.opening import Options, open_store


class Store:
    """A data directory, opened. Not thread-safe: one loop owns it.

    It has 31 public methods and properties, because it is the only object that the engine and the loop use, and most of
    them are one line. It has 13 attributes: the read path uses the last five, and another object would cost a call for
    each key.
    """

    sqlite_version = sqlite3.sqlite_version

    def __init__(
        self,
        directory: Path,
        *,
        fsync: str = "always",
        kept_changes: int = JOURNAL_KEPT_CHANGES,
        kept_bytes: int = JOURNAL_KEPT_BYTES,
    ) -> None:
        """Open or create the files. Raises StartError."""
        self._files, parts, self.entries, self.time = open_store(directory, Options(fsync, kept_changes, kept_bytes))
        self.fsync = fsync
        self.tokens = parts.tokens
        self.maintenance = Maintenance(parts)
        self.journal_sync = JournalSync(parts.journal.wal)
        self.search = Due(parts.overlays, parts.table)
        self.journal, self.table, self.overlays = parts.journal, parts.table, parts.overlays
        self.misses = 0  # reads of keys that read the table
        self._hits_of_misses = 0  # hits on keys that were read ahead, which count as misses

    @property
    def directory(self) -> Path:
        return self._files.directory

    @property
    def notes(self) -> list[str]:
        """Return sentences about the recovery of the files."""
        return self._files.notes

    @property
    def history(self) -> str:
        return self.journal.history

    @property
    def revision(self) -> int:
        return self.overlays.revision

    @property
    def compacted(self) -> int:
        """Return the revision up to which changes are no longer returned."""
        return self.maintenance.parts.retention.compacted

    @property
    def key_cache(self) -> KeyCache:
        return self.overlays.key_cache

    @property
    def hits(self) -> int:
        """Return how many reads of keys did not read the table."""
        return self.overlays.key_cache.hits - self._hits_of_misses

    @property
    def unsynced(self) -> bool:
        """Return whether a commit came after the last sync."""
        return self.journal_sync.is_pending

    # Reading

    def get(self, key: bytes) -> Entry | None:
        """Return the entry of a key, expired or not. Raises Corrupt."""
        entry = self.overlays.key_cache.get(key)
        return self._read(key) if entry is NOT_CACHED else entry

    def _read(self, key: bytes) -> Entry | None:
        """Return the entry of a key in the table, and cache it."""
        self.misses += 1
        with with_translated_errors():
            entry = self.table.get(key)
        self.overlays.insert({key: entry})
        return entry

    def read_ahead(self, keys: Sequence[bytes]) -> int:
        """Read the keys that are not cached from the table, in one go; return their number.

        A later read of a damaged key raises its error.
        """
        missing = list(dict.fromkeys(self.key_cache.find_uncached(keys)))
        with suppress(Refused):
            self._read_many(missing)
        self._hits_of_misses += len(missing) - len(self.key_cache.find_uncached(missing))
        return len(missing)

    def get_many(self, keys: Sequence[bytes]) -> tuple[list[Any], bool]:
        """Return (entries, has_large): entries in key order, expired or not. Raises Corrupt.

        NOT_CACHED stands for a large value that is only on disk, and `has_large` says whether there is one.
        """
        entries, places = self.overlays.get_many(keys)
        if not places:
            return entries, False
        missing = [keys[place] for place in places]
        self._read_many(list(dict.fromkeys(missing)))
        for place, entry in zip(places, self.key_cache.peek_many(missing), strict=True):
            entries[place] = entry
        return entries, NOT_CACHED in entries

    def _read_many(self, keys: list[bytes]) -> None:
        """Cache the entries of keys that are not cached, except large values. Raises Corrupt."""
        if keys:
            self.misses += len(keys)
            self.overlays.evict(len(keys))  # first, because evicting afterwards might evict the new ones
            with with_translated_errors():
                self.table.read_into(self.key_cache, keys)

    def values(self, keys: Sequence[bytes], now: Milliseconds) -> Any:
        """Return the live values of keys if all are cached and fit into a reply, else None."""
        return self.overlays.key_cache.values(keys, now, REPLY_BYTES_MAX)

    def scan(self, span: Span = ALL) -> Iterator[Entry]:
        """Yield the entries of a span, in its order, expired ones too."""
        with with_translated_errors():
            yield from self.overlays.scan(self.table.scan(span), span)

    def metas(self, span: Span = ALL) -> Iterator[EntryMeta]:
        """Yield the entries of a span as `scan` does, without their values."""
        with with_translated_errors():
            yield from self.overlays.scan(self.table.metas(span), span)

    def sizes(self, span: Span = ALL) -> Iterator[Sized | Entry]:
        """Yield the entries of a span as `metas` does, with the sizes of their values."""
        with with_translated_errors():
            yield from self.overlays.scan(self.table.sizes(span), span)

    def count(self, prefix: bytes, now: Milliseconds) -> int:
        """Return how many entries with this prefix are live at this time."""
        if prefix:
            with with_translated_errors():
                count, mark = self.table.count(prefix)
                count += self.journal.net_count(mark.revision, mark.target_revision, mark.last_key, prefix)
        else:
            count = self.entries
        return count - sum([key.startswith(prefix) for key in self._all_due(now)])

    def meta(self, key: bytes) -> EntryMeta | None:
        """Return the entry of a key, expired or not, without reading or caching its value. Raises Corrupt."""
        entry = self.overlays.key_cache.get(key)
        if entry is not NOT_CACHED:
            return entry
        with with_translated_errors():
            return self.table.meta(key)

    def changes(self, since: int, prefix: bytes, limit: int) -> tuple[int, list[Change]]:
        """Return the matching changes after `since`, and the revision up to which they are complete."""
        with with_translated_errors():
            return self.journal.changes(since, self.revision, prefix, limit)

    def changes_of(self, key: bytes, before: int, floor: int, limit: int) -> tuple[list[Change], int | None]:
        """Return the changes of a key below `before` and above `floor`, newest first, and the next `before`."""
        entry = self.get(key)
        newest = self.key_cache.revision(key) if entry is None else entry.revision
        with with_translated_errors():
            return History(self.journal.db, key, floor).page(before, newest, limit)

    def due(self, now: Milliseconds, limit: int, skip: Container[bytes] = ()) -> list[bytes]:
        """Return at most `limit` keys that are due, the longest due first within memory and within the table."""
        with with_translated_errors():
            return self.search.keys(now, limit, skip)

    def _all_due(self, now: Milliseconds) -> Iterator[bytes]:
        """Yield all keys that are due."""
        yield from self.overlays.all_due(now)
        with with_translated_errors():
            yield from (key for _, key in self.table.due(now, BEGIN) if not self.overlays.covers(key))

    def find_once(self, token: bytes) -> OnceRecord | None:
        """Return the record of a token of ONCE, however old."""
        return self.tokens.find(token)

    def once_count(self, now: Milliseconds) -> int:
        """Return how many tokens of ONCE have not expired."""
        return self.tokens.count(now)

    # Writing

    def batch_bytes(self) -> int:
        """Return how many bytes the next batch may stage without a long delay."""
        return self.maintenance.batch_bytes()

    def commit(self, batch: StagedChanges) -> None:
        """Make a batch durable and then visible.

        Raises Full or Busy when nothing was committed. After any other Refused the outcome is unknown, and the store
        must not be written to any more.
        """
        trim = self.maintenance.before_commit(batch)
        tokens = self.tokens.number(batch.once)
        try:
            self.journal.append(batch.rows, tokens, batch.compacted, trim)
        except sqlite3.Error as error:
            refusal = to_refusal(error)
            self.maintenance.on_commit_refused(refusal)
            raise refusal from error
        self.entries += self.overlays.update(batch.rows)
        if batch.rows:
            self.time = batch.rows[-1][TIME]
        self.tokens.on_commit(tokens)
        self.journal_sync.on_commit()
        self.maintenance.after_commit(batch, trim)

    def sync(self) -> None:
        """Make the commits durable (fsync = interval). Raises Internal; then the store must not be used any more."""
        self.journal_sync.sync()

    def probe_disk(self) -> None:
        """Write and sync nothing, to find out whether the disk works. Raises Refused."""
        run_if_possible(self.journal.probe_write)
        self.journal_sync.sync(force=True)

    def set_retention(self, kept_changes: int, kept_bytes: int) -> None:
        """Change how many changes the journal keeps, and how many bytes of them."""
        self.maintenance.parts.retention.set_limits(kept_changes, kept_bytes)

    # Maintenance

    def tick(self, now: Milliseconds) -> None:
        """Do the maintenance that is due. Raises Refused when the storage has failed."""
        self.maintenance.tick(now)

    def diagnose(self, error: Refused) -> Refused:
        return self.maintenance.diagnose(error)

    def facts(self) -> dict[str, Any]:
        """Return the fields of INFO about the store."""
        overlays = self.overlays
        overlay_bytes = overlays.overlay_size()
        return {
            "revision": self.revision,
            "compacted": self.compacted,
            "folded": overlays.folded,
            "keys": self.entries,
            "overlay_changes": sum(overlay.changes for overlay in overlays.overlays()),
            "overlay_bytes": overlay_bytes,
            "cache_bytes": max(0, overlays.size - overlay_bytes),
            "cache_hits": self.hits,
            "cache_misses": self.misses,
            **self.maintenance.facts(self.journal_sync.wal_bytes()),
        }

    def close(self) -> None:
        """Stop the fold after its current chunk, close the files, and unlock the directory."""
        self.maintenance.parts.fold_thread.stop()
        self.journal_sync.close()
        self._files.close()
