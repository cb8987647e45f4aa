"""The domain model: entries, changes, journal rows, and the views that commands have of them.

No I/O, no clock, no SQL. Times are Unix milliseconds; a `revision` is the number of a change, from 1.
"""

from collections.abc import Generator, Iterable, Iterator, Sequence
from itertools import chain
from typing import Any, Final, NamedTuple, Protocol, TypeVar

from msgspec import Struct

Milliseconds = int

SET, CLEAR, EXPIRED = 1, 2, 3
KINDS = {SET: "SET", CLEAR: "CLEAR", EXPIRED: "EXPIRED"}

# One row of the journal: (revision, kind, key, value, previous, created, expires, time). A plain tuple, because each
# write creates one and SQLite takes it as it is (a NamedTuple costs 0.3 us more).
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
    """An entry without its value. `expires` is None if it does not expire."""

    key: bytes
    revision: int
    created: int
    expires: Milliseconds | None

    def is_live(self, now: Milliseconds) -> bool:
        """Return whether the entry is visible: it disappears in the millisecond in which it expires."""
        return self.expires is None or self.expires > now


class Entry(EntryMeta, frozen=True, gc=False):
    """The current state of one key."""

    value: bytes

    @property
    def size(self) -> int:
        """The length of the value in bytes."""
        return len(self.value)


class Sized(EntryMeta, frozen=True, gc=False):
    """An entry with the size of its value instead of the value, which is not read."""

    size: int


class Change(Struct, array_like=True, frozen=True, gc=False):
    """One change, as published and as returned by CHANGES.

    `kind` is SET, CLEAR or EXPIRED; `value` is None for the last two. `previous` is the earlier revision of the key
    (0: it did not exist). `time` is the time of the change.
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
    """Return the entry after a change, or None if the change deleted the key."""
    revision, kind, key, value, _, created, expires, _ = row
    return Entry(key, revision, created, expires, value or b"") if kind == SET else None


def entries_delta(row: Row) -> int:
    """Return the change in the number of entries: 1, 0 or -1."""
    return -1 if row[KIND] != SET else not row[PREVIOUS]


def prefix_end(prefix: bytes) -> bytes | None:
    """Return the smallest key above all keys with the prefix; None if there is none."""
    stem = prefix.rstrip(b"\xff")
    return stem[:-1] + bytes([stem[-1] + 1]) if stem else None


class Span(NamedTuple):
    """A range of keys: from `start` to before `end` (None: no end), in byte order or in reverse."""

    start: bytes = b""
    end: bytes | None = None
    is_reverse: bool = False

    def __contains__(self, key: object) -> bool:
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
    """Return the span of the keys with a prefix, in [start, stop), and behind `after` in the order of the walk."""
    end = prefix_end(prefix)
    if after is not None and is_reverse:
        stop = after if stop is None else min(stop, after)
    elif after is not None:
        start = max(start or b"", after + b"\0")
    if stop is not None:
        end = stop if end is None else min(stop, end)
    return Span(max(prefix, start or b""), end, is_reverse)


class Overlay(Protocol):
    """Entries that hide those of a lower layer, by key. None is a deleted key."""

    def __contains__(self, key: bytes, /) -> bool:
        """Return whether the overlay has the key, deleted or not."""

    def __getitem__(self, key: bytes, /) -> Any:
        """Return the entry of the key, None if it is deleted."""


def merge_overlay(
    below: Iterator[Found], above: Overlay, keys: Iterable[bytes], *, is_reverse: bool = False
) -> Iterator[Found]:
    """Yield the entries of a walk as changed by an overlay, in the order of the walk.

    `keys` are the keys of the overlay within the walk, in its order.
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
    """Yield two walks as one, without the entries of the first that the overlay hides.

    The first walk never runs ahead of the second. With `heapq.merge` it would: during a fold, the first entry of a walk
    would pass everything that the fold has written, because all of it is hidden.
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
    """The record of a command that ran under ONCE. `result` is its encoded result."""

    token: bytes
    digest: bytes
    revision: int
    result: bytes
    time: Milliseconds


class StagedChanges(NamedTuple):
    """The changes of one batch, to be committed."""

    rows: list[Row]
    once: list[OnceRecord]
    compacted: int | None
    payload: int  # bytes of keys and values


class Reader(Protocol):
    """The view of a reading command. Expired entries are invisible."""

    @property
    def revision(self) -> int:
        """The revision of the last visible change."""

    def get(self, key: bytes) -> Entry | None:
        """Return the entry of a key, or None."""

    def value(self, key: bytes) -> bytes | None:
        """Return the value of a key, or None."""

    def values(self, keys: Sequence[bytes]) -> Any:
        """Return an object that encodes as the array of the values, with nil for missing keys.

        Raises TooLarge if they do not fit into a reply.
        """

    def get_many(self, keys: Sequence[bytes]) -> Iterable[Entry | None]:
        """Return the entries of keys, in their order. Entries on disk are read together, except large values."""

    def read_ahead(self, keys: Sequence[bytes]) -> None:
        """Read the entries of keys that only the disk has, except large values, for later reads."""

    def scan(self, span: Span) -> Iterator[Entry]:
        """Yield the entries of a span in its order."""

    def metas(self, span: Span) -> Iterator[EntryMeta]:
        """Yield the entries of a span without their values, which are not read."""

    def sizes(self, span: Span) -> Iterator[Sized | Entry]:
        """Yield the entries of a span with the sizes of their values, which are not read."""

    def first(self, prefix: bytes) -> Entry | None:
        """Return the first entry with the prefix. Deleted keys in front of it do not make this slower."""

    def count(self, prefix: bytes) -> int:
        """Return the number of keys with the prefix."""

    def changes(self, since: int, prefix: bytes, limit: int) -> tuple[int, list[Change]]:
        """Return the matching changes after `since`, and the revision up to which they are complete.

        Raises Compacted if changes after `since` are discarded, BadArgument if `since` is in the future.
        """

    def changes_of(self, key: bytes, before: int | None, limit: int) -> tuple[list[Change], int | None]:
        """Return the kept changes of a key below the revision `before`, newest first, and the next `before` or None."""


class Writer(Reader, Protocol):
    """The view of a writing command."""

    def put(self, key: bytes, value: bytes, *, expires: Milliseconds | None) -> int:
        """Set a key and return the revision. `expires` has no default, so that no expiry is lost by omission."""

    def put_many(self, pairs: Iterable[tuple[bytes, bytes]]) -> None:
        """Set keys that do not expire."""

    def clear(self, key: bytes) -> bool:
        """Delete a key; return whether it existed. Deleting a missing key is not a change."""

    def clear_found(self, found: EntryMeta) -> None:
        """Delete a key that a walk returned."""

    def expire(self, key: bytes) -> bool:
        """Delete a key if it has expired; return whether it had."""

    def compact(self, revision: int) -> int:
        """Discard the changes up to a revision; return the revision up to which they are discarded."""

    def find_once(self, token: bytes) -> OnceRecord | None:
        """Return the record of the command that ran under this token, or None."""

    def store_once(self, token: bytes, digest: bytes, result: Any) -> None:
        """Store the result of the current command under a token."""
