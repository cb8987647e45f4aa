"""The results of client methods, made from the wire's results. Pure."""

import math
from typing import Any, Generic, NamedTuple

from msgspec.structs import replace

from kvd import wire
from kvd.client.values import RAW, Codec, K, V
from kvd.commands.model import Change


class EntryFacts(NamedTuple, Generic[V]):
    """The result of ENTRY: revisions, expiry in Unix ms (None: it stays), size in bytes, value if asked for."""

    revision: int
    created: int
    expires: int | None
    size: int
    value: V | None = None


class Item(NamedTuple, Generic[K, V]):
    """An entry in a walk; `expires` in Unix ms (None: it stays)."""

    key: K
    value: V
    revision: int
    expires: int | None


class Page(NamedTuple, Generic[K]):
    """One page of SCAN, and the `after` of the next one (None: this is the last)."""

    keys: list[K]
    next: bytes | None


class SizedItem(NamedTuple, Generic[K]):
    """An entry with the size of its value in bytes; `expires` in Unix ms (None: it stays)."""

    key: K
    size: int
    revision: int
    expires: int | None


class SizesPage(NamedTuple, Generic[K]):
    """One page of SCAN with sizes, and the `after` of the next one (None: this is the last)."""

    items: list[SizedItem[K]]
    next: bytes | None


class HistoryPage(NamedTuple):
    """One page of HISTORY, and the `before` of the next one (None: this is the last)."""

    changes: list[Change]
    next: int | None


def sizes_page(codec: Codec[K, Any], result: Any) -> SizesPage[K]:
    """Convert the result of SCAN with sizes."""
    items, following, *_ = result
    return SizesPage([SizedItem(codec.key(key), *facts[:3]) for key, *facts in items], following)


def entry_facts(codec: Codec[Any, V], facts: dict[str, Any] | None) -> EntryFacts[V] | None:
    """Convert the result of ENTRY."""
    if facts is None:
        return None
    value = codec.value_or_none(facts.get("value"))
    return EntryFacts(facts["revision"], facts["created"], facts["expires"], facts["size"], value)


def pair_or_none(codec: Codec[K, V], result: Any) -> tuple[K, V] | None:
    """Convert the result of TAKEFIRST."""
    return None if result is None else (codec.key(result[0]), codec.value(result[1]))


def decode_changes(codec: Codec[Any, Any], result: Any) -> list[Change]:
    """Convert the result of CHANGES, with keys and values as a client returns them. Unknown kinds are left out."""
    changes = [change for change in wire.changes_in(result) if change.kind in wire.CHANGE_KINDS]
    return changes if codec is RAW else [decode_change(codec, change) for change in changes]


def decode_change(codec: Codec[Any, Any], change: Change) -> Change:
    """Return a change with its key and its value as a client returns them."""
    if codec is RAW:
        return change
    return replace(change, key=codec.key(change.key), value=codec.value_or_none(change.value))


def zero(_: Any) -> int:
    """Return the result of a command without keys."""
    return 0


def empty(_: Any) -> list[Any]:
    """Return the result of MULTIGET without keys."""
    return []


def seconds_left(result: int | None) -> float | None:
    """Convert the result of TTL to seconds; -1 becomes infinity."""
    if result is None:
        return None
    return math.inf if result < 0 else result / 1000
