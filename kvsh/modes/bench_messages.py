"""The messages between `--bench` and its client processes, one JSON document a line: a task, then phases and outcomes.

Also the commands that a phase sends, on random keys.
"""

from collections.abc import Callable
from random import Random

from msgspec import Struct

from kvd.client.keys import Keys
from kvd.commands import Command
from kvd.commands.values import Get, Incr, MultiGet, Set

KEYS = 10_000  # few, because each is a change to write, to store in the journal and to clear
VALUE = b"x" * 100
MULTIGET_KEYS = 10


class Task(Struct):
    """The parameters of a client process. Times in seconds; `curve` has its keys, in Z85."""

    endpoint: str
    curve: list[str] | None
    timeout: float
    connect_timeout: float
    connections: int
    prefix: str
    seed: int

    def keys(self) -> Keys | None:
        """Return the CURVE keys for sockets."""
        return None if self.curve is None else Keys(*[key.encode() for key in self.curve])


class Phase(Struct):
    """Send one kind of command for some seconds over `connections` connections, one at a time on each."""

    work: str
    connections: int
    seconds: float


class Outcome(Struct):
    """The result of a phase: counts of round trips by microseconds, its duration, and an error if it ended early."""

    times: dict[int, int] = {}
    seconds: float = 0.0
    code: str | None = None
    message: str = ""


def key(prefix: bytes, random: Random) -> bytes:
    """Return a random key."""
    return b"%b%05d" % (prefix, int(random.random() * KEYS))  # randrange costs three times as much


def all_keys(prefix: bytes) -> list[bytes]:
    """Return the keys that GET and MULTIGET read."""
    return [b"%b%05d" % (prefix, number) for number in range(KEYS)]


WORKS: dict[str, Callable[[bytes, Random], Command]] = {
    "SET": lambda prefix, random: Set(key(prefix, random), VALUE),
    "GET": lambda prefix, random: Get(key(prefix, random)),
    "MULTIGET": lambda prefix, random: MultiGet([key(prefix, random) for _ in range(MULTIGET_KEYS)]),
    "INCR": lambda prefix, random: Incr(key(prefix + b"n", random)),
}
