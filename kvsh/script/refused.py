"""Which commands of a script are sent again after BUSY. Pure.

Many commands are in flight, so some behind a refused one may have been executed. A plain SET or a read is repeated
behind it: the result is the same. Any other write is not repeated, and a refused command before it is sent again only
if the two name different keys. If they name the same key, sending it again would change the order of the script, so the
refusal is reported.
"""

from collections.abc import Iterator, Sequence
from typing import NamedTuple

from kvd.client.outcomes import Outcome
from kvd.client.refusals import is_busy
from kvd.commands import Command
from kvd.commands.base import Error, Read, Write
from kvd.commands.key_specs import keys_of, walk_commands
from kvd.commands.values import MultiSet, Set
from kvd.errors import UNKNOWN
from kvsh.script.bulk import ANY_PLAIN_SET, Sent, pair_of


class Name(NamedTuple):
    """A key, or a prefix of keys."""

    text: bytes
    is_prefix: bool

    def covers(self, other: "Name") -> bool:
        """Return whether another name equals this one, or begins with this prefix."""
        return self.text == other.text or (self.is_prefix and other.text.startswith(self.text))


def is_refused(sent: Sent, outcome: Outcome) -> bool:
    """Return whether a write got BUSY. For CHECK and BACKUP, BUSY means that another one is running, for minutes."""
    return isinstance(sent.command, Write) and is_busy(outcome)


def command_of(sent: Sent) -> Command:
    """Return the command to send for the lines."""
    if sent.command is not ANY_PLAIN_SET:
        return sent.command
    pairs = [pair_of(where) for where in sent.each()]
    return MultiSet(pairs) if len(pairs) > 1 else Set(*pairs[0])


def select_retries(outcomes: Sequence[tuple[Sent, Outcome]]) -> set[int]:
    """Return the positions of the commands to send again. The first outcome is a refusal."""
    again: dict[int, Sent] = {}
    for place, (sent, outcome) in enumerate(outcomes):
        if _is_lasting(sent, outcome):
            names = list(_names_of(sent))
            again = {each: before for each, before in again.items() if not _overlap(_names_of(before), names)}
        else:
            again[place] = sent
    return set(again)


def _is_lasting(sent: Sent, outcome: Outcome) -> bool:
    """Return whether a command may have had an effect that a second run would change."""
    is_unexecuted = isinstance(outcome, Error) and outcome.details.get("outcome", UNKNOWN) != UNKNOWN
    return not (is_unexecuted or sent.command is ANY_PLAIN_SET or isinstance(sent.command, Read))


def _names_of(sent: Sent) -> Iterator[Name]:
    """Yield the keys and prefixes that a command names."""
    for command in walk_commands(command_of(sent)):
        is_prefix = hasattr(command, "prefix")
        yield from (Name(text, is_prefix) for text in keys_of(command))


def _overlap(names: Iterator[Name], others: Sequence[Name]) -> bool:
    """Return whether two commands may name the same key."""
    return any(name.covers(other) or other.covers(name) for name in names for other in others)
