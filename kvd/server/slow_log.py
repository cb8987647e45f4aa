"""The slow log: the last commands that took longer than a threshold, and what batches shared that did. No values.

On the hot path it is one comparison a command (0.01 us): the executor looks at the clock between commands anyway.
"""

import sys
from collections import deque
from collections.abc import Callable
from typing import Any, NamedTuple

from kvd.commands import Command
from kvd.commands.key_specs import keys_of, walk_commands
from kvd.commands.model import Milliseconds
from kvd.limits import SLOW_KEPT, SLOW_KEY_BYTES, SLOW_US

# What a batch's commands share has a name that no command has.
COMMIT, READ_AHEAD = "(commit)", "(read ahead)"


class Slow(NamedTuple):
    """One that took long: `time` (Unix ms) is its batch's, `key` the first of the keys or prefixes it names.

    `keys` is how many it names; for a commit the number of changes, for reading ahead that of keys read.
    """

    number: int
    time: Milliseconds
    us: int
    command: str
    key: bytes | None
    keys: int
    who: str | None


class SlowLog:
    """A bounded number of slow commands. `slow_us` may be set anew at any time; below zero: none is slow."""

    def __init__(self, slow_us: int = SLOW_US, kept: int = SLOW_KEPT) -> None:
        self.slow_us = slow_us
        self.kept: deque[Slow] = deque(maxlen=kept)
        self.number = 0
        # Returns the name of the client with a key; None where clients have none.
        self.name_of: Callable[[str], str] | None = None

    @property
    def slow_us(self) -> int:
        """Return the threshold."""
        return self.threshold_us

    @slow_us.setter
    def slow_us(self, slow_us: int) -> None:
        self.threshold_us = slow_us
        self.slow_ns = sys.maxsize if slow_us < 0 else slow_us * 1_000

    def note(self, command: Command, user: str | None, took_ns: int, now: Milliseconds) -> None:
        """Keep a command that took long."""
        names = [name for each in walk_commands(command) for name in keys_of(each) if name]
        key = names[0][:SLOW_KEY_BYTES] if names else None
        who = None if self.name_of is None or user is None else self.name_of(user)
        self.append(command.command_name(), key, len(names), who, took_ns, now)

    def note_shared(self, what: str, count: int, took_ns: int, now: Milliseconds) -> None:
        """Keep what a batch shared, if it took long."""
        if took_ns >= self.slow_ns:
            self.append(what, None, count, None, took_ns, now)

    def append(  # the fields of a row
        self, command: str, key: bytes | None, keys: int, who: str | None, took_ns: int, now: Milliseconds
    ) -> None:
        """Keep a row; the oldest goes."""
        self.number += 1
        self.kept.append(Slow(self.number, now, took_ns // 1_000, command, key, keys, who))

    def formatted(self, count: int, *, forget: bool) -> list[dict[str, Any]]:
        """Return the last ones, newest first; with `forget` none is kept any longer."""
        rows = [slow._asdict() for slow in reversed(self.kept)][:count]
        if forget:
            self.kept.clear()
        return rows
