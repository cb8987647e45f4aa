"""The family `keys`: which keys exist."""

from collections.abc import Iterator
from itertools import islice
from typing import Annotated, Any

from msgspec import Meta

from kvd.commands.base import Read, Write
from kvd.commands.fields import Integer, Key, Keys, Prefix, option
from kvd.commands.model import Entry, Milliseconds, Reader, Writer, make_span
from kvd.commands.values import part_of
from kvd.errors import TooLarge
from kvd.limits import CLEARED_KEYS_MAX, REPLY_BYTES_MAX, SCAN_LIMIT_DEFAULT, SCAN_LIMIT_MAX

ScanLimit = Annotated[int, Meta(ge=1, le=SCAN_LIMIT_MAX)]
ClearLimit = Annotated[int, Meta(ge=1, le=CLEARED_KEYS_MAX)]


class Exists(Read, tag="EXISTS"):
    """Return how many of the keys exist."""

    grpc_number = 9
    examples = ("EXISTS city country",)
    keys: Keys

    def run(self, entries: Reader, now: Milliseconds) -> int:  # noqa: ARG002
        """Return how many of the keys exist."""
        return sum([entry is not None for entry in entries.get_many(self.keys)])


class EntryOf(Read, tag="ENTRY"):
    """Return a key's revision, created revision, expiry and size.

    The result is nil if there is no such key. `created` is the revision at which the key was created, `expires` is in
    Unix milliseconds (nil: it does not expire), and `size` is the length of the value in bytes. VALUE adds the `value`;
    START and END add only the bytes from START to END, counted as in GETRANGE.
    """

    grpc_number = 10
    examples = ("ENTRY city", "ENTRY city VALUE", "ENTRY log START 0 END 99")
    added = 2
    key: Key
    value: Annotated[bool | None, option("VALUE")] = None
    start: Annotated[Integer | None, option("START", "n")] = None
    end: Annotated[Integer | None, option("END", "n")] = None

    def run(self, entries: Reader, now: Milliseconds) -> dict[str, int | bytes | None] | None:  # noqa: ARG002
        """Return a map of revision, created, expires, size and, if requested, value."""
        entry = entries.get(self.key)
        if entry is None:
            return None
        facts: dict[str, int | bytes | None] = {
            "revision": entry.revision,
            "created": entry.created,
            "expires": entry.expires,
            "size": len(entry.value),
        }
        if self.value or self.start is not None or self.end is not None:
            facts["value"] = part_of(entry.value, self.start, self.end)
        return facts


class Scan(Read, tag="SCAN"):
    """Return a page of keys in byte order, and where the next begins.

    The second part of the result is the AFTER of the next page, nil on the last page. With VALUES each item is an array
    of key, value, revision and expiry. With SIZES the length of the value replaces the value, which is not read. The
    range starts at FROM and ends before TO. With REVERSE the last key comes first, and AFTER continues with the keys
    before it. A key that exists during the whole scan is returned exactly once.
    """

    grpc_number = 16
    examples = (
        "SCAN",
        "SCAN user: LIMIT 2",
        "SCAN user: AFTER user:1 VALUES",
        "SCAN user: SIZES",
        "SCAN FROM user:1 TO user:5",
        "SCAN log: REVERSE LIMIT 10",
    )
    exclusive = (("values", "sizes"),)
    added = 4
    prefix: Prefix | None = None
    after: Annotated[Key | None, option("AFTER", "key")] = None
    limit: Annotated[ScanLimit | None, option("LIMIT", "n")] = None
    values: Annotated[bool | None, option("VALUES")] = None
    start: Annotated[Key | None, option("FROM", "key")] = None
    stop: Annotated[Key | None, option("TO", "key")] = None
    reverse: Annotated[bool | None, option("REVERSE")] = None
    sizes: Annotated[bool | None, option("SIZES")] = None

    def column_names(self) -> tuple[str, ...]:
        """Return the names of an item's parts; a plain key has none."""
        if self.values or self.sizes:
            return ("key", "value" if self.values else "size", "revision", "expires")
        return ()

    def run(self, entries: Reader, now: Milliseconds) -> list[Any]:  # noqa: ARG002
        """Return [items, next]."""
        self.check_exclusive()
        span = make_span(self.prefix or b"", self.after, self.start, self.stop, is_reverse=bool(self.reverse))
        limit = self.limit or SCAN_LIMIT_DEFAULT
        if self.values:
            return _make_page_with_values(entries.scan(span), limit)
        if self.sizes:
            rows = [
                (meta.key, meta.size, meta.revision, meta.expires) for meta in islice(entries.sizes(span), limit + 1)
            ]
            return _make_page(rows, [row[0] for row in rows], limit)
        keys = [meta.key for meta in islice(entries.metas(span), limit + 1)]
        return _make_page(keys, keys, limit)


def _make_page(items: list[Any], keys: list[bytes], limit: int) -> list[Any]:
    """Return as many items as the limit and the bytes of a reply allow, and where the next page begins."""
    count = min(limit, len(items))
    while sum(map(len, keys[:count])) > REPLY_BYTES_MAX:
        count //= 2
    return [items[:count], None if count == len(items) else keys[count - 1]]


def _make_page_with_values(walk: Iterator[Entry], limit: int) -> list[Any]:
    """Return at least one entry, as many as fit into a reply, and where the next page begins."""
    page: list[tuple[bytes, bytes, int, int | None]] = []
    size = 0
    for entry in walk:
        size += len(entry.key) + len(entry.value)
        if len(page) == limit or (page and size > REPLY_BYTES_MAX):
            return [page, page[-1][0]]
        page.append((entry.key, entry.value, entry.revision, entry.expires))
    return [page, None]


class Count(Read, tag="COUNT"):
    """Return the number of keys, or of keys with a prefix.

    With a prefix, all of its keys are read.
    """

    grpc_number = 17
    examples = ("COUNT", "COUNT user:")
    prefix: Prefix | None = None

    def run(self, entries: Reader, now: Milliseconds) -> int:  # noqa: ARG002
        """Return the number of keys."""
        return entries.count(self.prefix or b"")


class ClearPrefix(Write, tag="CLEARPREFIX"):
    """Delete all keys with a prefix at once, and return how many.

    With LIMIT, the first n keys in byte order are deleted.
    """

    grpc_number = 14
    examples = ("CLEARPREFIX user:", "CLEARPREFIX user: LIMIT 1000")
    prefix: Prefix
    limit: Annotated[ClearLimit | None, option("LIMIT", "n")] = None

    def run(self, entries: Writer, now: Milliseconds) -> int:  # noqa: ARG002
        """Return how many keys were deleted."""
        count_max = CLEARED_KEYS_MAX + 1 if self.limit is None else self.limit
        metas = list(islice(entries.metas(make_span(self.prefix)), count_max))
        if len(metas) > CLEARED_KEYS_MAX:
            raise TooLarge(
                f"more than {CLEARED_KEYS_MAX} keys have this prefix: "
                f"clear them in parts, with LIMIT {CLEARED_KEYS_MAX}"
            )
        for meta in metas:
            entries.clear_found(meta)
        return len(metas)
