"""The hot path: bodies in, encoded replies out; what they change is staged, and committed together. No sockets."""

import logging
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Sequence
from time import perf_counter_ns
from typing import Any

from kvd import wire
from kvd.commands import COMMANDS, BackgroundCommand, Command, Read, ServerCommand, Write
from kvd.commands.atomic import Once
from kvd.commands.base import NotYet, Ok
from kvd.commands.model import Milliseconds, Row, StagedChanges
from kvd.engine.engine import Engine
from kvd.errors import Busy, Denied, Internal, ReadOnly, Refused
from kvd.limits import BATCH_MS_MAX, PRESSURE_REPLY_BYTES, REPLY_BYTES_MAX
from kvd.server.background import BackgroundCommands
from kvd.server.clock import Clock
from kvd.server.info import Introspection
from kvd.server.slow_log import COMMIT, READ_AHEAD
from kvd.server.sockets.frames import Request
from kvd.server.takers import Takers
from kvd.server.waiters import Waiters
from kvd.storage import Store

log = logging.getLogger("kvd")

MEMORY_PRESSURE = "the daemon holds too much for clients that do not read their replies: ask again later, or for less"
BATCH_NS_MAX = BATCH_MS_MAX * 1_000_000
APPLIED = frozenset(command for command in COMMANDS.values() if issubclass(command, Read | Write))
READS = frozenset(command for command in APPLIED if issubclass(command, Read))
AHEAD_MIN = 4
KEYED = frozenset(command for command in COMMANDS.values() if "key" in command.__struct_fields__)


class Executor:
    """Runs batches of commands against a store."""

    def __init__(self, store: Store, clock: Clock, facts: Introspection, tasks: BackgroundCommands) -> None:
        self.store = store
        self.clock = clock
        self.facts = facts
        self.background = tasks
        self.slow_log = facts.slow_log
        self.engine = Engine(store)
        self.waiters = Waiters()
        self.takers = Takers()
        self.applied = APPLIED
        self.read_only: str | None = None
        self.under_memory_pressure = False  # in memory
        self.answered = 0  # bytes
        self.kinds: Counter[type[Command | Refused]] = Counter()
        self.spent: dict[type[Command | Refused], int] = defaultdict(int)  # ns
        self.commits = self.commit_ns = self.commit_max_ns = 0
        self.errors = 0
        self.denied = 0
        # Raises Denied unless the client with a key may run a command; None where clients have no keys.
        self.check: Callable[[str, Command], None] | None = None

    @property
    def calls(self) -> dict[str, int]:
        """Return how often each command came."""
        return {kind.command_name(): count for kind, count in self.kinds.items() if issubclass(kind, Command)}

    @property
    def timed_calls(self) -> dict[str, dict[str, float]]:
        """Return for each command how often it came, and the microseconds it took: all together, and one on average.

        It is the loop's own time: to run it and encode its reply. What a batch shares - receiving, decoding, reading
        ahead, the commit, sending - is not in it, nor what a task does in its thread.
        """
        spent = {kind.command_name(): took for kind, took in self.spent.items() if issubclass(kind, Command)}
        return {
            name: {"calls": count, "us": spent[name] // 1_000, "mean_us": round(spent[name] / count / 1_000, 2)}
            for name, count in self.calls.items()
        }

    def run_batch(self, batch: Sequence[Request], now: Milliseconds) -> list[bytes | None]:
        """Run commands up to the bounds of a commit; return their replies, None for one that waits."""
        staging = self.engine.staging
        bodies = [request[1] for request in batch]
        commands: Sequence[Command | Refused] | None = wire.decode_commands(bodies)
        if commands is None:
            commands = self._decode_each(bodies)
            batch = batch[: len(commands)]
        if self.check is not None:
            users: Iterable[str] = [request[2] for request in batch]  # type: ignore[misc]  # with a check there are three
            commands = list(map(self._authorize, users, commands))
        self.read_ahead(commands, now)
        replies: list[bytes | None] = []
        size = 0
        # One look at the clock a command (0.04 us): where one ends the next begins. With the sum for its kind 0.08.
        spent, slow, tick = self.spent, self.slow_log.slow_ns, perf_counter_ns()
        until, bytes_max = tick + BATCH_NS_MAX, self.store.batch_bytes()
        for request, command in zip(batch, commands, strict=True):
            reply = self._run_one(request[0], command, now)
            if reply is not None:
                if self.under_memory_pressure and len(reply) > PRESSURE_REPLY_BYTES and isinstance(command, Read):
                    reply = self.refuse(Busy(MEMORY_PRESSURE))
                size += len(reply)
            replies.append(reply)
            began, tick = tick, perf_counter_ns()
            spent[type(command)] += (took := tick - began)
            if took >= slow:
                self._log_slow(request, command, took, now)
            if size > REPLY_BYTES_MAX or staging.bytes > bytes_max or tick > until:
                break
        self.answered += size
        self.kinds.update(map(type, commands[: len(replies)]))
        return replies

    def _decode_each(self, bodies: Sequence[bytes]) -> list[Command | Refused]:
        """Return the commands in bodies, or what is wrong with them: one at least, the others while there is time.

        One whose strings are of the other kind, or about which there is much to say, may take some milliseconds.
        """
        commands: list[Command | Refused] = []
        until = perf_counter_ns() + BATCH_NS_MAX
        for body in bodies:
            commands.append(self.decode(body))
            if perf_counter_ns() > until:
                break
        return commands

    def decode(self, body: bytes) -> Command | Refused:
        """Return the command in a body, or what is wrong with it."""
        try:
            return wire.decode_command(body)
        except Refused as error:
            return error
        except Exception:
            log.exception("event=defect a command could not be decoded")
            return Internal("a defect of kvd: the command could not be read; the log tells more")

    def _authorize(self, user: str, command: Command | Refused) -> Command | Refused:
        """Return a command if its sender may run it, else its refusal: all that is asked for comes by here.

        Before anything is read for it, so that no time it takes tells what is there.
        """
        try:
            if self.check is not None and not isinstance(command, Refused):
                self.check(user, command)
        except Denied as error:
            self.denied += 1
            return error
        except Exception:
            log.exception("event=defect whether a command is permitted could not be told; it was refused")
            return Internal("a defect of kvd: the command was not run; the log tells more")
        return command

    def _log_slow(self, request: Request, command: Command | Refused, took_ns: int, now: Milliseconds) -> None:
        """Take note of a command that took long; one that could not be decoded, or is denied, has nothing to tell."""
        if not isinstance(command, Refused):
            self.slow_log.note(command, request[2] if self.check is not None else None, took_ns, now)  # type: ignore[misc]  # with a check there are three

    def read_ahead(self, commands: Sequence[Command | Refused], now: Milliseconds) -> None:
        """Let the keys of commands be looked up together, and what the table alone can tell be read together.

        A key that is cold in the processor's caches costs 0.1 us less then, one that is on disk 2.7 us instead of 10.
        """
        if len(commands) >= AHEAD_MIN:
            keys = [command.key for command in commands if type(command) in KEYED]  # type: ignore[union-attr]
            began = perf_counter_ns()
            count = self.store.read_ahead(keys)
            self.slow_log.note_shared(READ_AHEAD, count, perf_counter_ns() - began, now)

    def _run_one(self, envelope: list[bytes], command: Command | Refused, now: Milliseconds) -> bytes | None:
        """Run one command against staging; return the encoded reply, None when it waits."""
        try:
            # By type, not by isinstance, which takes 0.05 us and not 0.01: it is all on the hot path.
            reply: Ok | NotYet | None
            if type(command) in self.applied:
                reply = self.engine.apply(command, now)  # type: ignore[arg-type]
            else:
                reply = self._run_server_command(command, now)
            if reply is None:
                self.background.begin(envelope, command, self.facts, now)  # type: ignore[arg-type]
                return None
            if type(reply) is NotYet:
                waiting: Waiters | Takers = self.takers if isinstance(command, Write) else self.waiters
                waiting.stage(envelope, command, reply, now)  # type: ignore[arg-type]
                return None
            return wire.encode(reply)
        except Refused as error:
            return self.refuse(error)
        except Exception:
            log.exception("event=defect a command raised; it changed nothing")
            return self.refuse(Internal("a defect of kvd: the command changed nothing; the log tells more"))

    def outcome(self, command: Write, now: Milliseconds) -> Ok | NotYet | Refused:
        """Run a write of a client that waits."""
        try:
            return self.engine.apply(command, now)
        except Refused as error:
            return error
        except Exception:
            log.exception("event=defect a command raised; it changed nothing")
            return Internal("a defect of kvd: the command changed nothing; the log tells more")

    def _run_server_command(self, command: Command | Refused, now: Milliseconds) -> Ok | None:
        """Run a command about the daemon, None for a task; raise what was wrong with one that could not be decoded."""
        if isinstance(command, Refused):
            raise command
        if isinstance(command, Write):
            raise self.write_refusal(command)
        if isinstance(command, BackgroundCommand):
            return None
        assert isinstance(command, ServerCommand)
        return Ok(self.engine.staging.revision, command.run(self.facts, now))

    def end_writes(self, reason: str) -> None:
        """From now on every write is refused, and says why."""
        self.read_only = reason
        self.applied = READS

    def write_refusal(self, command: Write) -> Refused:
        """Return the error of a write that is not taken. What was sent before under ONCE may have run."""
        if isinstance(command, Once):
            return Internal(f"whether this has run cannot be told, for the daemon is read-only: {self.read_only}")
        return ReadOnly(f"the daemon takes no writes: {self.read_only}")

    def outcome_of(self, result: dict[str, Any] | Refused) -> bytes:
        """Return the reply that tells what became of a task."""
        if isinstance(result, Refused):
            return self.refuse(result)
        return wire.encode(Ok(self.store.revision, result))

    def refuse(self, error: Refused) -> bytes:
        """Count an error and encode its reply."""
        self.errors += 1
        return wire.encode(wire.error_reply(error))

    def commit(self) -> list[Row]:
        """Make what is staged durable; return the changes. When it fails, all that is staged is dropped."""
        staging = self.engine.staging
        try:
            if not staging.is_empty:
                self._commit_timed(staging.take())
            self.waiters.commit()
            self.takers.commit()
            return staging.rows
        finally:
            self.waiters.drop()
            self.takers.drop()
            staging.drop()

    def _commit_timed(self, staged: StagedChanges) -> None:
        """Commit, and take note of how long it took, also of one that fails."""
        began = perf_counter_ns()
        try:
            self.store.commit(staged)
        finally:
            took = perf_counter_ns() - began
            self.commits += 1
            self.commit_ns += took
            self.commit_max_ns = max(self.commit_max_ns, took)
            self.slow_log.note_shared(COMMIT, len(staged.rows), took, self.clock.last)
