"""Questions before many keys end, with their count. Only the prompts ask."""

from collections.abc import Sequence
from typing import NamedTuple

from kvd.commands import Command
from kvd.commands.key_specs import walk_commands
from kvd.commands.keys import ClearPrefix
from kvd.commands.values import Clear
from kvsh.words import quote

CLEARED_UNASKED_MAX = 9


class Deletions(NamedTuple):
    """The keys that a command ends: those of prefixes, which the daemon counts, and those that it names."""

    prefixes: Sequence[ClearPrefix]
    named: int

    def question(self, counts: Sequence[int | None]) -> str | None:
        """Return the question with the count of each prefix (None: not known); None when there is nothing to ask."""
        there = [(each, count) for each, count in zip(self.prefixes, counts, strict=True) if count != 0]
        parts = [part(each, count) for each, count in there]
        if self.named > CLEARED_UNASKED_MAX:
            parts.append(f"{self.named:,} keys")
        return f"end {' and '.join(parts)}?" if parts else None


def deletions_of(command: Command, *, confirm: bool) -> Deletions:
    """Return what a command ends, itself or within. Without `confirm` only the end of all keys counts."""
    every = list(walk_commands(command))
    prefixes = [each for each in every if isinstance(each, ClearPrefix) and (confirm or _deletes_all(each))]
    named = sum([len(each.keys) for each in every if isinstance(each, Clear)]) if confirm else 0
    return Deletions(prefixes, named)


def _deletes_all(command: ClearPrefix) -> bool:
    """Return whether it ends all keys that there are."""
    return command.prefix == b"" and command.limit is None


def part(command: ClearPrefix, count: int | None) -> str:
    """Return what a question says of one prefix."""
    ended = count if count is None or command.limit is None else min(count, command.limit)
    number = "all keys" if ended is None else f"{ended:,} {'key' if ended == 1 else 'keys'}"
    if _deletes_all(command):
        return "ALL keys" if ended is None else f"ALL keys ({number})"
    return f"{number} with the prefix {quote(command.prefix)}"
