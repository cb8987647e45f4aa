"""What a watch delivers, and where it is: prefixes, keys, kinds, values or none. Pure."""

from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple

from msgspec.structs import replace

from kvd import wire
from kvd.client.results import decode_change
from kvd.client.values import RAW, Codec, Text, flat_keys, key_bytes
from kvd.commands.model import KINDS, Change


class Selection(NamedTuple):
    """Which changes a watch delivers, and what of them: keys and prefixes, kinds, with values or without."""

    prefixes: Sequence[bytes] = (b"",)
    keys: frozenset[bytes] = frozenset()
    kinds: frozenset[str] | None = None
    has_values: bool = True
    has_mark: bool = False
    codec: Codec[Any, Any] = RAW

    @property
    def topics(self) -> list[bytes]:
        """Return the prefixes that bring all that is selected."""
        return [*self.prefixes, *sorted(self.keys)]

    def apply(self, changes: list[Change]) -> list[Change]:
        """Return the changes that are selected, as they are delivered."""
        if self.keys:
            prefixes = tuple(self.prefixes)
            changes = [change for change in changes if change.key in self.keys or change.key.startswith(prefixes)]
        kinds = wire.CHANGE_KINDS if self.kinds is None else self.kinds  # what later releases add is ignored
        changes = [change for change in changes if change.kind in kinds or change.kind == SNAPSHOT_END]
        if not self.has_values:
            changes = [replace(change, value=None) for change in changes]
        if self.codec is not RAW:
            changes = [decode_change(self.codec, change) for change in changes]
        return changes


def select(  # the options of a watch are its arguments
    prefixes: Sequence[Text],
    keys: Text | Iterable[Text],
    kinds: Iterable[str] | None,
    codec: Codec[Any, Any],
    *,
    values: bool,
    mark: bool,
) -> Selection:
    """Return the selection that the arguments of `Client.watch` ask for. Raises ValueError."""
    named = frozenset(flat_keys([keys]))
    chosen = None if kinds is None else frozenset([kinds] if isinstance(kinds, str) else kinds)
    if unknown := (chosen or frozenset()) - set(KINDS.values()):
        raise ValueError(f"kinds are of {', '.join(KINDS.values())}, not {', '.join(sorted(unknown))}")
    found = [key_bytes(prefix) for prefix in prefixes]
    return Selection(found if found or named else [b""], named, chosen, values, mark, codec)


# The kind of the change that marks the end of the snapshot, for a watch that asks for it.
SNAPSHOT_END = "SNAPSHOT_END"


class Position(NamedTuple):
    """Where a watch is: give it to `watch(since=...)` to go on there. A revision means nothing in another history."""

    revision: int
    history: str | None


def start_of(since: int | Position | None, history: str | None, seen: str | None) -> tuple[int | None, str | None]:
    """Return the revision and the history that a watch begins at. Raises ValueError.

    `seen` is the history that the client saw last: a revision that the caller names without a history is of that one.
    """
    if isinstance(since, Position):
        return since
    if since is not None and (isinstance(since, bool) or not isinstance(since, int) or since < 0):
        raise ValueError(f"since has to be a revision or the position of a watch, not {since!r}")
    return since, history or (seen if since else None)
