"""The slow log: the last commands and shared steps of a batch that took longer than a threshold. It keeps no values.

On the hot path it costs one comparison per command (0.01 us): the executor reads the clock between commands anyway.
"""

import sys
from collections import deque
from typing import Any, NamedTuple

from kvd.commands import Command
from kvd.commands.key_specs import keys_of, walk_commands
from kvd.commands.model import Milliseconds
from kvd.limits import SLOW_KEPT, SLOW_KEY_BYTES, SLOW_US

# Steps that all commands of a batch share; no command has these names.
COMMIT, READ_AHEAD = "(commit)", "(read ahead)"


class Slow(NamedTuple):
    """A slow command: `time` (Unix ms) is that of its batch, `key` the first key or prefix it names.

    `keys` is the number of keys it names; for a commit the number of changes, for a read-ahead the number of keys read.
    """

    number: int
    time: Milliseconds
    us: int
    command: str
    key: bytes | None
    keys: int
    who: str | None


class SlowLog:
    """The last slow commands. A negative threshold disables the log."""

    def __init__(self, slow_us: int = SLOW_US, kept: int = SLOW_KEPT) -> None:
        self.set_threshold(slow_us)
        self.kept: deque[Slow] = deque(maxlen=kept)
        self.number = 0

    def set_threshold(self, slow_us: int) -> None:
        """Log commands that take at least `slow_us` from now on."""
        self.slow_us = slow_us
        self.slow_ns = sys.maxsize if slow_us < 0 else slow_us * 1_000

    def facts(self) -> dict[str, Any]:
        """Return the part of INFO's section `latency`."""
        return {"slow": self.number, "slow_us": self.slow_us}

    def note(self, command: Command, who: str | None, took_ns: int, now: Milliseconds) -> None:
        """Store a slow command. `who` is the name of its client, None if clients have no keys."""
        names = [name for each in walk_commands(command) for name in keys_of(each) if name]
        key = names[0][:SLOW_KEY_BYTES] if names else None
        self._append(command.command_name(), key, len(names), who, took_ns, now)

    def note_shared(self, what: str, count: int, took_ns: int, now: Milliseconds) -> None:
        """Store a shared step of a batch if it was slow."""
        if took_ns >= self.slow_ns:
            self._append(what, None, count, None, took_ns, now)

    def _append(  # the fields of a row
        self, command: str, key: bytes | None, keys: int, who: str | None, took_ns: int, now: Milliseconds
    ) -> None:
        """Store a row; evict the oldest."""
        self.number += 1
        self.kept.append(Slow(self.number, now, took_ns // 1_000, command, key, keys, who))

    def rows(self, count: int, *, forget: bool) -> list[dict[str, Any]]:
        """Return the last rows, newest first; with `forget`, delete all afterwards."""
        listed = [slow._asdict() for slow in reversed(self.kept)][:count]
        if forget:
            self.kept.clear()
        return listed
