"""All changes of several prefixes since a revision, by one CHANGES for each. Pure.

One CHANGES of what the prefixes have in common would bring them all, but a client may be denied that. Together the
answers are complete up to the least revision of them; what is above that is left to the next time.
"""

from collections.abc import Sequence

from kvd.commands.changes import Changes
from kvd.commands.model import Change
from kvd.limits import CHANGES_LIMIT_DEFAULT


class Probe:
    """The questions of one probe, and the answers that came."""

    def __init__(self, prefixes: Sequence[bytes], since: int) -> None:
        self.commands = [Changes(since, prefix, CHANGES_LIMIT_DEFAULT) for prefix in prefixes]
        self.missing = len(self.commands)
        self.upto: int | None = None
        self.changes: list[Change] = []

    def on_result(self, upto: int, changes: list[Change]) -> tuple[int, list[Change]] | None:
        """An answer came: return the answer to all when it was the last, up to where it is complete and in order."""
        self.missing -= 1
        self.upto = upto if self.upto is None else min(self.upto, upto)
        self.changes += changes
        if self.missing:
            return None
        found = {change.revision: change for change in self.changes if change.revision <= self.upto}
        return self.upto, [found[revision] for revision in sorted(found)]


def disjoint_prefixes(prefixes: Sequence[bytes]) -> list[bytes]:
    """Return the prefixes in order, without those that begin with another of them."""
    kept: list[bytes] = []
    for prefix in sorted(set(prefixes)):
        if not kept or not prefix.startswith(kept[-1]):
            kept.append(prefix)
    return kept
