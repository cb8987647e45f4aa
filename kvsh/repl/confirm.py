"""Questions before many keys are deleted, with their number. Only the prompts ask."""

from collections.abc import Sequence
from typing import NamedTuple

from kvd.commands import Command
from kvd.commands.key_specs import walk_commands
from kvd.commands.keys import ClearPrefix
from kvd.commands.values import Clear
from kvsh.words import quote

CLEARED_UNASKED_MAX = 9


class Deletions(NamedTuple):
    """The keys that a command deletes: those of prefixes, counted by the daemon, and those it names."""

    prefixes: Sequence[ClearPrefix]
    named: int

    def question(self, counts: Sequence[int | None]) -> str | None:
        """Return the question with the count of each prefix (None: unknown); None if nothing is to be asked."""
        nonempty = [(each, count) for each, count in zip(self.prefixes, counts, strict=True) if count != 0]
        parts = [part(each, count) for each, count in nonempty]
        if self.named > CLEARED_UNASKED_MAX:
            parts.append(f"{self.named:,} keys")
        return f"delete {' and '.join(parts)}?" if parts else None


def deletions_of(command: Command, *, confirm: bool) -> Deletions:
    """Return what a command and its nested commands delete. Without `confirm`, only deleting all keys counts."""
    every = list(walk_commands(command))
    prefixes = [each for each in every if isinstance(each, ClearPrefix) and (confirm or _deletes_all(each))]
    named = sum([len(each.keys) for each in every if isinstance(each, Clear)]) if confirm else 0
    return Deletions(prefixes, named)


def _deletes_all(command: ClearPrefix) -> bool:
    return command.prefix == b"" and command.limit is None


def part(command: ClearPrefix, count: int | None) -> str:
    """Return the part of a question about one prefix."""
    deleted = count if count is None or command.limit is None else min(count, command.limit)
    number = "all keys" if deleted is None else f"{deleted:,} {'key' if deleted == 1 else 'keys'}"
    if _deletes_all(command):
        return "ALL keys" if deleted is None else f"ALL keys ({number})"
    return f"{number} with the prefix {quote(command.prefix)}"
