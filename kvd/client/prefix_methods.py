"""The methods about the keys with a prefix. methods.py explains how methods are written."""

from functools import partial
from typing import Generic

from kvd.client.method import Call, method
from kvd.client.results import Page, SizesPage, sizes_page
from kvd.client.values import Codec, K, Text, V, key_bytes, same
from kvd.commands.keys import ClearPrefix, Count, Scan
from kvd.limits import WALK_KEYS


def scan_command(
    prefix: Text,
    start: Text | None,
    stop: Text | None,
    *,
    after: Text | None = None,
    limit: int | None = WALK_KEYS,
    reverse: bool = False,
    values: bool = False,
    sizes: bool = False,
) -> Scan:
    """Return the command for one page of a walk."""
    after_key, start_key, stop_key = [None if key is None else key_bytes(key) for key in (after, start, stop)]
    options = (values or None, start_key, stop_key, reverse or None, sizes or None)
    return Scan(key_bytes(prefix), after_key, limit, *options)


class PrefixMethods(Generic[K, V]):
    """The methods of every client about the keys with a prefix."""

    @method
    @staticmethod
    def scan_page(  # the options of SCAN are its arguments
        codec: Codec[K, V],
        prefix: Text = b"",
        *,
        after: Text | None = None,
        limit: int | None = None,
        start: Text | None = None,
        stop: Text | None = None,
        reverse: bool = False,
    ) -> Call[Page[K]]:
        """Return a page of keys in byte order, and the `after` of the next page (see also `scan`).

        The keys begin at `start` and end before `stop`. With `reverse` the last key comes first.

        >>> kv.scan_page("ci", limit=1)
        Page(keys=[b'city'], next=None)
        >>> kv.scan_page(start="c", stop="d", reverse=True, limit=1)
        Page(keys=[b'country'], next=b'country')
        """
        command = scan_command(prefix, start, stop, after=after, limit=limit, reverse=reverse)
        return Call(command, lambda result: Page(codec.keys(result[0]), result[1]))

    @method
    @staticmethod
    def sizes_page(  # the options of SCAN are its arguments
        codec: Codec[K, V],
        prefix: Text = b"",
        *,
        after: Text | None = None,
        limit: int | None = None,
        start: Text | None = None,
        stop: Text | None = None,
        reverse: bool = False,
    ) -> Call[SizesPage[K]]:
        """Return a page as `scan_page` does: of each key the size of its value in bytes, its revision and its expiry.

        The values are not read.

        >>> [(item.key, item.size) for item in kv.sizes_page("ci").items]
        [(b'city', 9)]
        """
        command = scan_command(prefix, start, stop, after=after, limit=limit, reverse=reverse, sizes=True)
        return Call(command, partial(sizes_page, codec))

    @method
    @staticmethod
    def count(_codec: Codec[K, V], prefix: Text = b"") -> Call[int]:
        """Return how many keys begin with a prefix.

        >>> kv.count("c")
        2
        """
        return Call(Count(key_bytes(prefix)), same)

    @method
    @staticmethod
    def clear_prefix(_codec: Codec[K, V], prefix: Text, *, limit: int | None = None) -> Call[int]:
        """Delete all keys that begin with a prefix, or the first `limit` of them; return how many.

        >>> kv.clear_prefix("coun")
        1
        """
        return Call(ClearPrefix(key_bytes(prefix), limit), same)
