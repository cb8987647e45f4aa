"""A committed state in memory, and a bench on which commands run: for tests that need no disk."""

from collections.abc import Iterator

from msgspec.structs import astuple

from kvd.commands import Command
from kvd.commands.base import NotYet
from kvd.commands.model import (
    Change,
    Entry,
    EntryMeta,
    OnceRecord,
    Row,
    Sized,
    Span,
    StagedChanges,
    change_of,
    entry_of,
    make_span,
)
from kvd.engine.engine import Engine
from kvd.errors import Refused
from kvd.limits import ONCE_KEPT_MS

NOW = 1_000_000


class DictStore:
    """`kvd.engine.staging.Committed`, in plain dicts and lists."""

    def __init__(self) -> None:
        self.revision = self.compacted = 0
        self.key_cache = None
        self.is_partial = False  # whether it says that some are better read alone
        self.entries: dict[bytes, Entry] = {}
        self.rows: list[Row] = []
        self.tokens: dict[bytes, OnceRecord] = {}

    def get(self, key: bytes) -> Entry | None:
        return self.entries.get(key)

    meta = get

    def get_many(self, keys: list[bytes]) -> tuple[list[Entry | None], bool]:
        return [self.entries.get(key) for key in keys], self.is_partial

    def read_ahead(self, keys: list[bytes]) -> int:
        return 0

    def values(self, keys: list[bytes], now: int) -> list[bytes | None] | None:
        if self.is_partial:
            return None
        return [entry.value if entry and entry.is_live(now) else None for entry in map(self.entries.get, keys)]

    def scan(self, span: Span) -> Iterator[Entry]:
        keys = sorted([key for key in self.entries if key in span], reverse=span.is_reverse)
        return iter([self.entries[key] for key in keys])

    def metas(self, span: Span) -> Iterator[EntryMeta]:
        return (EntryMeta(entry.key, entry.revision, entry.created, entry.expires) for entry in self.scan(span))

    def sizes(self, span: Span) -> Iterator[Sized]:
        return (Sized(*astuple(head), len(self.entries[head.key].value)) for head in self.metas(span))

    def count(self, prefix: bytes, now: int) -> int:
        return sum(entry.is_live(now) for entry in self.scan(make_span(prefix)))

    def changes(self, since: int, prefix: bytes, limit: int) -> tuple[int, list[Change]]:
        found = [change_of(row) for row in self.rows if row[0] > since and row[2].startswith(prefix)]
        return (found[limit - 1].revision, found[:limit]) if len(found) > limit else (self.revision, found)

    def changes_of(self, key: bytes, before: int, floor: int, limit: int) -> tuple[list[Change], int | None]:
        found = [change_of(row) for row in reversed(self.rows) if row[2] == key and floor < row[0] < before]
        return found[:limit], found[limit - 1].revision if len(found) > limit else None

    def find_once(self, token: bytes) -> OnceRecord | None:
        return self.tokens.get(token)

    def once_count(self, now: int) -> int:
        return sum(kept.time > now - ONCE_KEPT_MS for kept in self.tokens.values())

    def commit(self, staged: StagedChanges) -> None:
        self.rows += staged.rows
        for row in staged.rows:
            self.entries.pop(row[2], None)
            if (entry := entry_of(row)) is not None:
                self.entries[row[2]] = entry
        self.tokens.update({kept.token: kept for kept in staged.once})
        self.compacted = self.compacted if staged.compacted is None else staged.compacted
        self.revision = staged.rows[-1][0] if staged.rows else self.revision


class EngineOnDict:
    """An engine on a committed state. `commits` False: all commands stay one batch."""

    def __init__(self, *, commits: bool = True) -> None:
        self.memory = DictStore()
        self.engine = Engine(self.memory)
        self.commits = commits
        self.now = NOW

    def at(self, now: int) -> "EngineOnDict":
        self.now = now
        return self

    def reply(self, command: Command):
        """Run a command; return its reply. A refusal has to leave what is staged as it was."""
        before = self.copy_staging()
        try:
            return self.engine.apply(command, self.now)
        except Refused:
            assert self.copy_staging() == before
            raise
        finally:
            if self.commits:
                self.commit()

    def run(self, command: Command):
        """Return what came of a command: its result, a `Wait`, or an error as (code, message, details)."""
        try:
            reply = self.reply(command)
        except Refused as error:
            return error.code, error.message, error.details
        return reply if isinstance(reply, NotYet) else reply.result

    def execute(self, *commands: Command) -> "EngineOnDict":
        for command in commands:
            self.reply(command)
        return self

    def commit(self) -> None:
        self.memory.commit(self.engine.staging.take())
        self.engine.staging.drop()

    def copy_staging(self):
        staging = self.engine.staging
        return list(staging.rows), dict(staging.last), dict(staging.tokens), staging.compacted, staging.revision

    def changes(self, since: int = 0) -> list[tuple]:
        """Return the changes so far as (kind, revision, key, value, previous, expires, time)."""
        changes = self.engine.staging.changes(since, b"", 10_000)[1]
        return [
            (change.kind, change.revision, change.key, change.value, change.previous, change.expires, change.time)
            for change in changes
        ]
