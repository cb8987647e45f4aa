"""The family `keys`: which keys there are."""

from collections.abc import Iterator
from itertools import islice
from typing import Annotated, Any

from msgspec import Meta

from kvd.commands.base import Read, Write
from kvd.commands.fields import Integer, Key, Keys, Option, Prefix
from kvd.commands.model import Entry, Milliseconds, Reader, Writer, make_span
from kvd.commands.values import part_of
from kvd.errors import TooLarge
from kvd.limits import CLEARED_KEYS_MAX, REPLY_BYTES_MAX, SCAN_LIMIT_DEFAULT, SCAN_LIMIT_MAX

ScanLimit = Annotated[int, Meta(ge=1, le=SCAN_LIMIT_MAX)]
ClearLimit = Annotated[int, Meta(ge=1, le=CLEARED_KEYS_MAX)]


class Exists(Read, tag="EXISTS"):
    """Return how many of the keys exist."""

    examples = ("EXISTS city country",)
    keys: Keys

    def run(self, entries: Reader, now: Milliseconds) -> int:  # noqa: ARG002
        """Return how many exist."""
        return sum([entry is not None for entry in entries.get_many(self.keys)])


class EntryOf(Read, tag="ENTRY"):
    """Return a key's revision, created revision, expiry and size.

    nil if there is no such key. `created` is the revision at which it came to be, `expires` Unix milliseconds (nil: it
    stays), `size` the length of the value in bytes. With VALUE the `value` is among them, and with START or END only
    the bytes of it from START to END, counted as GETRANGE counts them.
    """

    examples = ("ENTRY city", "ENTRY city VALUE", "ENTRY log START 0 END 99")
    added = 2
    key: Key
    value: Annotated[bool | None, Option("VALUE")] = None
    start: Annotated[Integer | None, Option("START", "n")] = None
    end: Annotated[Integer | None, Option("END", "n")] = None

    def run(self, entries: Reader, now: Milliseconds) -> dict[str, int | bytes | None] | None:  # noqa: ARG002
        """Return a map of revision, created, expires, size and, if asked, value."""
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

    Give the second part of the result as AFTER to go on; nil: that was the last page. With VALUES each item
    is an array of key, value, revision and expiry; with SIZES the value's length in bytes stands in place of the value,
    which is not read. FROM is the first key that may come, TO the first that may not.
    With REVERSE the last key comes first, and AFTER goes on to those before it. A key that is there throughout a walk
    over all pages comes exactly once.
    """

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
    after: Annotated[Key | None, Option("AFTER", "key")] = None
    limit: Annotated[ScanLimit | None, Option("LIMIT", "n")] = None
    values: Annotated[bool | None, Option("VALUES")] = None
    start: Annotated[Key | None, Option("FROM", "key")] = None
    stop: Annotated[Key | None, Option("TO", "key")] = None
    reverse: Annotated[bool | None, Option("REVERSE")] = None
    sizes: Annotated[bool | None, Option("SIZES")] = None

    def column_names(self) -> tuple[str, ...]:
        """Return what the parts of an item are called; a key alone has none."""
        if self.values or self.sizes:
            return ("key", "value" if self.values else "size", "revision", "expires")
        return ()

    def run(self, entries: Reader, now: Milliseconds) -> list[Any]:  # noqa: ARG002
        """Return [items, next]."""
        self.check_exclusive()
        span = make_span(self.prefix or b"", self.after, self.start, self.stop, is_reverse=bool(self.reverse))
        limit = self.limit or SCAN_LIMIT_DEFAULT
        if self.values:
            return page_with_values(entries.scan(span), limit)
        if self.sizes:
            found = [
                (each.key, each.size, each.revision, each.expires) for each in islice(entries.sizes(span), limit + 1)
            ]
            return page_of(found, [item[0] for item in found], limit)
        keys = [head.key for head in islice(entries.metas(span), limit + 1)]
        return page_of(keys, keys, limit)


def page_of(items: list[Any], keys: list[bytes], limit: int) -> list[Any]:
    """Return a page of items whose keys fit into a reply, and where the next page begins."""
    count = min(limit, len(items))
    while sum(map(len, keys[:count])) > REPLY_BYTES_MAX:
        count //= 2
    return [items[:count], None if count == len(items) else keys[count - 1]]


def page_with_values(walk: Iterator[Entry], limit: int) -> list[Any]:
    """Return a page of entries that fit into a reply, one at least, and where the next page begins."""
    page: list[tuple[bytes, bytes, int, int | None]] = []
    size = 0
    for entry in walk:
        size += len(entry.key) + len(entry.value)
        if len(page) == limit or (page and size > REPLY_BYTES_MAX):
            return [page, page[-1][0]]
        page.append((entry.key, entry.value, entry.revision, entry.expires))
    return [page, None]


class Count(Read, tag="COUNT"):
    """Return how many keys there are, or how many begin with a prefix.

    With a prefix it reads them all.
    """

    examples = ("COUNT", "COUNT user:")
    prefix: Prefix | None = None

    def run(self, entries: Reader, now: Milliseconds) -> int:  # noqa: ARG002
        """Return the count."""
        return entries.count(self.prefix or b"")


class ClearPrefix(Write, tag="CLEARPREFIX"):
    """End all keys that begin with a prefix, at once; return how many.

    With LIMIT, the first n in byte order.
    """

    examples = ("CLEARPREFIX user:", "CLEARPREFIX user: LIMIT 1000")
    prefix: Prefix
    limit: Annotated[ClearLimit | None, Option("LIMIT", "n")] = None

    def run(self, entries: Writer, now: Milliseconds) -> int:  # noqa: ARG002
        """Clear them; return how many."""
        most = CLEARED_KEYS_MAX + 1 if self.limit is None else self.limit
        found = list(islice(entries.metas(make_span(self.prefix)), most))
        if len(found) > CLEARED_KEYS_MAX:
            raise TooLarge(
                f"more than {CLEARED_KEYS_MAX} keys begin with this: clear them in parts, with LIMIT {CLEARED_KEYS_MAX}"
            )
        for head in found:
            entries.clear_found(head)
        return len(found)
