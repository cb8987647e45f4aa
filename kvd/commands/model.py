"""Entries, changes and journal rows, and what a command may do with them: the nouns of the house.

No I/O, no clock, no SQL. Times are Unix milliseconds; a `revision` is the number of a change, from 1.
"""

from collections.abc import Generator, Iterable, Iterator, Sequence
from itertools import chain
from typing import Any, Final, NamedTuple, Protocol, TypeVar

from msgspec import Struct

Milliseconds = int

SET, CLEAR, EXPIRED = 1, 2, 3
KINDS = {SET: "SET", CLEAR: "CLEAR", EXPIRED: "EXPIRED"}

# One row of the journal: (revision, kind, key, value, previous, created, expires, time). A plain tuple,
# because one is made per write on the hot path and handed to SQLite as it is (a NamedTuple costs 0.3 us more).
Row = tuple[int, int, bytes, bytes | None, int, int, int | None, int]
REVISION: Final = 0
KIND: Final = 1
KEY: Final = 2
VALUE: Final = 3
PREVIOUS: Final = 4
CREATED: Final = 5
EXPIRES: Final = 6
TIME: Final = 7


class EntryMeta(Struct, frozen=True, gc=False):
    """An entry without its value, as a walk over keys finds it. `expires` is None for one that stays."""

    key: bytes
    revision: int
    created: int
    expires: Milliseconds | None

    def is_live(self, now: Milliseconds) -> bool:
        """Return whether readers see the entry at this time: it is gone at the millisecond it expires."""
        return self.expires is None or self.expires > now


class Entry(EntryMeta, frozen=True, gc=False):
    """The current state of one key."""

    value: bytes

    @property
    def size(self) -> int:
        """Return the value's length in bytes."""
        return len(self.value)


class Sized(EntryMeta, frozen=True, gc=False):
    """An entry with the size of its value in place of the value, which is not read."""

    size: int


class Change(Struct, array_like=True, frozen=True, gc=False):
    """One change as it is published and as CHANGES returns it.

    `kind` is SET, CLEAR or EXPIRED; `value` is None for the last two; `previous` is the revision this key
    had before (0: it did not exist); `time` is when the change was made.
    """

    kind: str
    revision: int
    key: bytes
    value: bytes | None
    previous: int
    expires: Milliseconds | None
    time: Milliseconds


Found = TypeVar("Found", bound=EntryMeta)


def change_of(row: Row) -> Change:
    """Return the published form of a journal row."""
    revision, kind, key, value, previous, _, expires, time = row
    return Change(KINDS[kind], revision, key, value, previous, expires, time)


def entry_of(row: Row) -> Entry | None:
    """Return the entry that a journal row leaves behind, or None when it ends the key."""
    revision, kind, key, value, _, created, expires, _ = row
    return Entry(key, revision, created, expires, value or b"") if kind == SET else None


def entries_delta(row: Row) -> int:
    """Return how many more entries there are after a change: 1, 0 or -1."""
    return -1 if row[KIND] != SET else not row[PREVIOUS]


def prefix_end(prefix: bytes) -> bytes | None:
    """Return the smallest key after all that begin with the prefix; None when there is no end."""
    stem = prefix.rstrip(b"\xff")
    return stem[:-1] + bytes([stem[-1] + 1]) if stem else None


class Span(NamedTuple):
    """The keys of a walk: from `start` up to, but without, `end` (None: no end), in byte order or in reverse."""

    start: bytes = b""
    end: bytes | None = None
    is_reverse: bool = False

    def __contains__(self, key: object) -> bool:
        """Return whether a walk may meet a key."""
        assert isinstance(key, bytes)
        return self.start <= key and (self.end is None or key < self.end)


ALL = Span()


def make_span(
    prefix: bytes,
    after: bytes | None = None,
    start: bytes | None = None,
    stop: bytes | None = None,
    *,
    is_reverse: bool = False,
) -> Span:
    """Return the span of the keys that begin with a prefix and are in [start, stop), behind `after` in the walk."""
    end = prefix_end(prefix)
    if after is not None and is_reverse:
        stop = after if stop is None else min(stop, after)
    elif after is not None:
        start = max(start or b"", after + b"\0")
    if stop is not None:
        end = stop if end is None else min(stop, end)
    return Span(max(prefix, start or b""), end, is_reverse)


class Overlay(Protocol):
    """What is in front of a walk: entries by key, None where the key has ended."""

    def __contains__(self, key: bytes, /) -> bool:
        """Return whether there is anything of a key."""

    def __getitem__(self, key: bytes, /) -> Any:
        """Return what there is."""


def merge_overlay(
    below: Iterator[Found], above: Overlay, keys: Iterable[bytes], *, is_reverse: bool = False
) -> Iterator[Found]:
    """Yield the entries of a walk with others in front of it, in its order.

    `keys` are those of the others that the walk would meet, in its order.
    """
    keys = iter(keys)
    first = next(keys, None)
    if first is None:
        return below
    covering = (entry for key in chain((first,), keys) if (entry := above[key]) is not None)
    return merge(below, above, covering, is_reverse=is_reverse)


def merge(
    below: Iterator[Found], above: Overlay, covering: Iterator[Found], *, is_reverse: bool
) -> Generator[Found, None, None]:
    """Yield two walks as one, without what is covered of the first.

    It looks no further into the first than the second has come. `heapq.merge` of what is not covered would: while a
    fold is under way all that it has written is covered, and the first entry of a walk would pass it all.
    """
    lower, upper = next(below, None), next(covering, None)
    while upper is not None:
        if lower is not None and (lower.key > upper.key if is_reverse else lower.key < upper.key):
            if lower.key not in above:
                yield lower
            lower = next(below, None)
        else:
            yield upper
            upper = next(covering, None)
    if lower is not None:
        yield from (entry for entry in chain((lower,), below) if entry.key not in above)


class OnceRecord(NamedTuple):
    """What is kept of a command that ran under ONCE. `result` is its encoded result."""

    token: bytes
    digest: bytes
    revision: int
    result: bytes
    time: Milliseconds


class StagedChanges(NamedTuple):
    """What one batch wants to become durable."""

    rows: list[Row]
    once: list[OnceRecord]
    compacted: int | None
    payload: int  # bytes of keys and values


class Reader(Protocol):
    """What a command that reads may do. Expired entries are not seen."""

    @property
    def revision(self) -> int:
        """Return the revision of the last change seen."""

    def get(self, key: bytes) -> Entry | None:
        """Return the entry of a key."""

    def value(self, key: bytes) -> bytes | None:
        """Return the value of a key."""

    def values(self, keys: Sequence[bytes]) -> Any:
        """Return the values of keys, None where there is none, in a form that is an array on the wire.

        Raises TooLarge when they do not fit into a reply.
        """

    def get_many(self, keys: Sequence[bytes]) -> Iterable[Entry | None]:
        """Return the entries of keys, in their order. What is on disk is read together, but for large values."""

    def read_ahead(self, keys: Sequence[bytes]) -> None:
        """Read together what the disk alone can tell of keys that will be asked for, but for large values."""

    def scan(self, span: Span) -> Iterator[Entry]:
        """Yield the entries of a span, in its order."""

    def metas(self, span: Span) -> Iterator[EntryMeta]:
        """Yield what `scan` does, without values: large ones are not read."""

    def sizes(self, span: Span) -> Iterator[Sized | Entry]:
        """Yield what `heads` does, each with the size of its value."""

    def first(self, prefix: bytes) -> Entry | None:
        """Return the first entry whose key begins with the prefix. Keys that ended before it do not make it slower."""

    def count(self, prefix: bytes) -> int:
        """Return how many keys begin with the prefix."""

    def changes(self, since: int, prefix: bytes, limit: int) -> tuple[int, list[Change]]:
        """Return the matching changes after `since`, and the revision up to which they are all there.

        Raises Compacted when changes after `since` are gone, BadArgument when `since` is still to come.
        """

    def changes_of(self, key: bytes, before: int | None, limit: int) -> tuple[list[Change], int | None]:
        """Return the kept changes of a key, newest first, and the `before` that continues them (None: the end).

        `before` is a revision: only changes with a lower one are returned.
        """


class Writer(Reader, Protocol):
    """What a command that writes may do besides."""

    def put(self, key: bytes, value: bytes, *, expires: Milliseconds | None) -> int:
        """Set a key and return the revision. There is no default for `expires`: forgetting it loses one."""

    def put_many(self, pairs: Iterable[tuple[bytes, bytes]]) -> None:
        """Set keys, which do not expire."""

    def clear(self, key: bytes) -> bool:
        """End a key; return whether there was one. Clearing a missing key is no change."""

    def clear_found(self, found: EntryMeta) -> None:
        """End a key that a walk has found."""

    def expire(self, key: bytes) -> bool:
        """End a key whose time has come; return whether it had."""

    def compact(self, revision: int) -> int:
        """Forget the changes up to a revision; return up to where they are gone now."""

    def find_once(self, token: bytes) -> OnceRecord | None:
        """Return what is kept of the command that ran under this token."""

    def store_once(self, token: bytes, digest: bytes, result: Any) -> None:
        """Keep the result of the command that runs now."""
