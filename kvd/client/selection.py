"""The selection of a watch (prefixes, keys, kinds, values or none) and its position. Pure."""

from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple

from msgspec.structs import replace

from kvd import wire
from kvd.client.results import decode_change
from kvd.client.values import RAW, Codec, Text, flat_keys, key_bytes
from kvd.commands.model import KINDS, Change


class Selection(NamedTuple):
    """The changes that a watch delivers, and which parts of them."""

    prefixes: Sequence[bytes] = (b"",)
    keys: frozenset[bytes] = frozenset()
    kinds: frozenset[str] | None = None
    has_values: bool = True
    has_mark: bool = False
    codec: Codec[Any, Any] = RAW

    @property
    def topics(self) -> list[bytes]:
        """The prefixes that cover the selection."""
        return [*self.prefixes, *sorted(self.keys)]

    def apply(self, changes: list[Change]) -> list[Change]:
        """Return the selected changes, as they are delivered."""
        if self.keys:
            prefixes = tuple(self.prefixes)
            changes = [change for change in changes if change.key in self.keys or change.key.startswith(prefixes)]
        kinds = wire.CHANGE_KINDS if self.kinds is None else self.kinds  # kinds of later releases are ignored
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
    """Return the selection for the arguments of `Client.watch`. Raises ValueError."""
    named = frozenset(flat_keys([keys]))
    chosen = None if kinds is None else frozenset([kinds] if isinstance(kinds, str) else kinds)
    if unknown := (chosen or frozenset()) - set(KINDS.values()):
        raise ValueError(f"kinds can be {', '.join(KINDS.values())}, not {', '.join(sorted(unknown))}")
    chosen_prefixes = [key_bytes(prefix) for prefix in prefixes]
    return Selection(chosen_prefixes if chosen_prefixes or named else [b""], named, chosen, values, mark, codec)


# The kind of the change that marks the end of a snapshot, for a watch with `mark`.
SNAPSHOT_END = "SNAPSHOT_END"


class Position(NamedTuple):
    """The position of a watch; `watch(since=position)` resumes there. A revision is of one history only."""

    revision: int
    history: str | None


def start_of(since: int | Position | None, history: str | None, seen: str | None) -> tuple[int | None, str | None]:
    """Return the revision and the history that a watch starts from. Raises ValueError.

    `seen` is the history that the client saw last; a revision without a history belongs to it.
    """
    if isinstance(since, Position):
        return since
    if since is not None and (isinstance(since, bool) or not isinstance(since, int) or since < 0):
        raise ValueError(f"since has to be a revision or the position of a watch, not {since!r}")
    return since, history or (seen if since else None)
