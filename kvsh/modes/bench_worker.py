"""A client process of `--bench`: `python -m kvsh.modes.bench_worker`. It reads its task and phases from standard input.

Each connection has one command in flight, like an independent client. One thread polls all of them, because threads
would wait for each other (the GIL). The process exits at the end of its input; on SIGTERM it first waits for the
commands in flight, and writes nothing after that.
"""

import signal
import sys
import time
from random import Random
from types import FrameType
from typing import Any

import msgspec

from kvd import wire
from kvd.client.connection import Connection, ConnectionLost, DeadlineExceeded
from kvd.client.endpoints import parse_endpoints
from kvd.client.outcomes import traits_of
from kvd.client.pool import Pool
from kvd.client.readiness import Interest, wait_until_ready
from kvd.commands.base import Error
from kvd.commands.server import Ping
from kvd.errors import KvdError, NoReply, Refused, Unreachable
from kvsh.modes.bench_messages import WORKS, Outcome, Phase, Task


class Load:
    """The connections of a task."""

    def __init__(self, task: Task) -> None:
        self.task = task
        self.prefix = task.prefix.encode()
        self.random = Random(task.seed)  # noqa: S311  # no secret
        self.connections: list[Connection] = []
        self.begun: dict[int, float] = {}  # by descriptor: the time its command was sent
        self.is_stopped = False

    def stop(self, *_: int | FrameType | None) -> None:
        """Send nothing more."""
        self.is_stopped = True

    def connect(self) -> Outcome:
        """Wait until every connection answers; return an outcome without times, or with the error."""
        try:
            pool = Pool(
                parse_endpoints(self.task.endpoint),
                timeout=self.task.timeout,
                connect_timeout=self.task.connect_timeout,
                keys=self.task.keys(),
            )
            until = time.monotonic() + self.task.connect_timeout
            for _ in range(self.task.connections):
                self.connections.append(pool.acquire(traits_of(Ping), until))
            for connection in self.connections:
                check(connection.exchange(wire.encode_command(Ping()), time.monotonic() + self.task.timeout))
        except DeadlineExceeded:
            return failure_of(NoReply("PING: no reply in time"))
        except ConnectionLost as lost:
            return failure_of(Unreachable(f"PING: the connection is gone: {lost}"))
        except KvdError as error:
            return failure_of(error)
        return Outcome()

    def run(self, phase: Phase) -> Outcome:
        """Keep one command in flight on each connection until the time is over; count the round trips."""
        outcome = Outcome({})
        begun = time.perf_counter()
        try:
            self._exchange(phase, outcome.times, begun + phase.seconds)
        except ConnectionLost as lost:
            outcome = failure_of(Unreachable(f"{phase.work}: the connection is gone: {lost}"))
        except KvdError as error:
            outcome = failure_of(error)
        outcome.seconds = time.perf_counter() - begun
        return outcome

    def _exchange(self, phase: Phase, times: dict[int, int], until: float) -> None:
        """Send and receive until a time of the performance counter, and until all is answered. Raises KvdError."""
        make = WORKS[phase.work]
        connections = {each.fileno(): each for each in self.connections[: phase.connections]}
        interests = [Interest(fd) for fd in connections]
        for connection in connections.values():
            self._send(connection, make)
        while self.begun:
            ready = wait_until_ready(interests, self.task.timeout)
            if not ready:
                raise NoReply(f"{phase.work}: no reply in time")
            for fd in ready:
                self._take_replies(connections[fd], phase, times, until)

    def _take_replies(self, connection: Connection, phase: Phase, times: dict[int, int], until: float) -> None:
        """Count an available reply, and send the next command. Raises KvdError."""
        replies = connection.receive_available()
        if not replies:
            return  # only a ZMTP PING from the daemon
        check(replies[0][-1])
        now = time.perf_counter()
        microseconds = round((now - self.begun.pop(connection.fileno())) * 1e6)
        times[microseconds] = times.get(microseconds, 0) + 1
        if now < until and not self.is_stopped:
            self._send(connection, WORKS[phase.work])

    def _send(self, connection: Connection, make: Any) -> None:
        """Send a command and record the time. Raises ConnectionLost."""
        body = wire.encode_command(make(self.prefix, self.random))
        self.begun[connection.fileno()] = time.perf_counter()
        connection.start(body)

    def close(self) -> None:
        for connection in self.connections:
            connection.close()


def check(body: bytes) -> None:
    """Decode a reply. Raises Refused."""
    reply = wire.decode_reply(body)
    if isinstance(reply, Error):
        wire.raise_error(reply)


def failure_of(error: KvdError) -> Outcome:
    """Return the outcome for an error."""
    if isinstance(error, Refused):
        return Outcome(code=error.code, message=error.message)
    return Outcome(code=type(error).__name__, message=str(error))


def _write_outcome(outcome: Outcome) -> None:
    sys.stdout.buffer.write(msgspec.json.encode(outcome) + b"\n")
    sys.stdout.buffer.flush()


def main() -> None:
    """Read a task, connect, then run phases until the end of the input."""
    load = Load(msgspec.json.decode(sys.stdin.buffer.readline(), type=Task))
    signal.signal(signal.SIGTERM, load.stop)
    try:
        _write_outcome(load.connect())
        while not load.is_stopped and (line := sys.stdin.buffer.readline()):
            _write_outcome(load.run(msgspec.json.decode(line, type=Phase)))
    finally:
        load.close()


if __name__ == "__main__":
    main()
