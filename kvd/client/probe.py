"""All changes of several prefixes since a revision, with one CHANGES for each. Pure.

One CHANGES of the common prefix would return them all, but the client may not be allowed to read it. Together the
replies are complete up to the least revision among them; later changes are left to the next probe.
"""

from collections.abc import Sequence

from kvd.commands.changes import Changes
from kvd.commands.model import Change
from kvd.limits import CHANGES_LIMIT_DEFAULT


class Probe:
    """One probe: its commands, and the replies so far."""

    def __init__(self, prefixes: Sequence[bytes], since: int) -> None:
        self.commands = [Changes(since, prefix, CHANGES_LIMIT_DEFAULT) for prefix in prefixes]
        self.missing = len(self.commands)
        self.upto: int | None = None
        self.changes: list[Change] = []

    def on_result(self, upto: int, changes: list[Change]) -> tuple[int, list[Change]] | None:
        """Process a reply; after the last, return up to which revision the changes are complete, and the changes."""
        self.missing -= 1
        self.upto = upto if self.upto is None else min(self.upto, upto)
        self.changes += changes
        if self.missing:
            return None
        by_revision = {change.revision: change for change in self.changes if change.revision <= self.upto}
        return self.upto, [by_revision[revision] for revision in sorted(by_revision)]


def disjoint_prefixes(prefixes: Sequence[bytes]) -> list[bytes]:
    """Return the prefixes in order, without those that begin with another of them."""
    kept: list[bytes] = []
    for prefix in sorted(set(prefixes)):
        if not kept or not prefix.startswith(kept[-1]):
            kept.append(prefix)
    return kept
