"""Clients that do at random what a key-value store is for, and write down the result and time of each call (R9)."""

import random
import threading
import time
from collections import defaultdict
from collections.abc import Callable, Iterable
from math import inf

from kvd.client import Client
from kvd.client.views import once
from kvd.commands import Command, Write
from kvd.commands.values import Clear, Get, Incr, Set, Take
from kvd.errors import Conflict, KvdError
from support.linearizability import CONFLICT, OK, UNKNOWN, Operation, check

KEYS = [b"key:%d" % number for number in range(50)]
WEIGHTS = [1 / (1 + number) for number in range(len(KEYS))]  # some keys are fought for
NAMES = ["GET"] * 6 + ["SET"] * 4 + ["SET IF"] * 3 + ["INCR"] * 3 + ["TAKE", "CLEAR"]


class Recorder:
    """One client with its own connection, and what it saw: (key, operation), and the revisions of the replies."""

    def __init__(self, number: int, endpoint: str, seed: int, clients: int) -> None:
        self.number, self.endpoint, self.clients = number, endpoint, clients
        self.chance = random.Random(seed)
        self.count = 0
        self.known: dict[bytes, int] = {}  # the revision last heard of
        self.history: list[tuple[bytes, Operation]] = []
        self.revisions: list[tuple[int, int, int]] = []  # called, returned, the store's revision
        self.not_executed = 0
        self.stop = False

    def run(self) -> None:
        """Run until `stop` is set."""
        with Client(self.endpoint, timeout=60) as kv:
            while not self.stop:
                key = self.chance.choices(KEYS, WEIGHTS)[0]
                self.call(kv, key, self.chance.choice(NAMES))

    def unique(self) -> int:
        """Return an integer that nobody else sets, with room for INCRs."""
        self.count += 1
        return (self.count * self.clients + self.number) * 1_000_000

    def command(self, key: bytes, name: str) -> tuple[Command, int | None, int | None]:
        """Return a command, its argument and its condition."""
        if name == "GET":
            return Get(key), None, None
        if name == "SET":
            value = self.unique()
            return Set(key, b"%d" % value), value, None
        if name == "SET IF":
            value, condition = self.unique(), self.known.get(key, 0)
            is_new = condition == 0 and self.chance.random() < 0.5
            condition_given = {"nx": True} if is_new else {"revision": condition}
            return Set(key, b"%d" % value, **condition_given), value, condition
        if name == "INCR":
            return Incr(key), 1, None
        return (Take(key), None, None) if name == "TAKE" else (Clear([key]), None, None)

    def call(self, kv: Client, key: bytes, name: str) -> None:
        """Run a command and write down what came of it."""
        command, argument, condition = self.command(key, name)
        if isinstance(command, Write) and self.chance.random() < 0.3:
            command = once(command, None)
        operation = Operation(name.partition(" ")[0], time.monotonic_ns(), inf, argument, condition)
        try:
            reply = kv.answer(command)
        except Conflict as error:
            self.known[key] = error.details["revision"]
            self.keep(key, operation, outcome=CONFLICT, revision=error.details["revision"])
        except KvdError as error:
            self.on_error(key, operation, error)
        else:
            result = int(reply.result) if isinstance(reply.result, bytes) else reply.result
            if operation.name in ("SET", "INCR"):
                self.known[key] = reply.revision
            self.keep(key, operation, outcome=OK, result=result, revision=reply.revision)
            self.revisions.append((operation.called, time.monotonic_ns(), reply.revision))

    def on_error(self, key: bytes, operation: Operation, error: KvdError) -> None:
        """Keep a call that may have been executed; check that any other error says "not executed"."""
        if error.outcome == "unknown":
            self.history.append((key, operation._replace(outcome=UNKNOWN)))
        else:
            assert error.outcome == "not executed" or operation.name == "GET", error
            self.not_executed += 1

    def keep(self, key: bytes, operation: Operation, **fields: object) -> None:
        """Keep an operation that returned."""
        self.history.append((key, operation._replace(returned=time.monotonic_ns(), **fields)))


def record(endpoint: str, clients: int, seed: int, disturb: Callable[[], None]) -> list[Recorder]:
    """Let clients run while `disturb` does; return them."""
    recorders = [Recorder(number, endpoint, seed + number, clients) for number in range(clients)]
    threads = [threading.Thread(target=recorder.run) for recorder in recorders]
    for thread in threads:
        thread.start()
    try:
        disturb()
    finally:
        for recorder in recorders:
            recorder.stop = True
        for thread in threads:
            thread.join()
    return recorders


def histories(recorders: Iterable[Recorder]) -> dict[bytes, list[Operation]]:
    """Return what all saw, by key."""
    by_key: dict[bytes, list[Operation]] = defaultdict(list)
    for recorder in recorders:
        for key, operation in recorder.history:
            by_key[key].append(operation)
    return by_key


def check_all(recorders: Iterable[Recorder]) -> dict[str, int]:
    """Assert that all recorded calls are linearizable; return how many there are of each outcome."""
    by_key = histories(recorders)
    for operations in by_key.values():
        check(operations)
    check_revisions([each for recorder in recorders for each in recorder.revisions])
    counts = [operation.outcome for operations in by_key.values() for operation in operations]
    return {outcome: counts.count(outcome) for outcome in (OK, CONFLICT, UNKNOWN)}


def check_revisions(calls: list[tuple[int, int, int]]) -> None:
    """Assert that no reply is of an older store than one that had come before it was asked for, of whatever key."""
    moments = sorted([(called, 0, revision) for called, _, revision in calls], reverse=True)
    newest = 0
    for _, returned, revision in sorted(calls, key=lambda each: each[1]):
        while moments and moments[-1][0] <= returned:
            assert moments.pop()[2] >= newest
        newest = max(newest, revision)
    while moments:
        assert moments.pop()[2] >= newest
