"""A client process of `--bench`: `python -m kvsh.modes.load`. It takes its task and phases from standard input.

Each connection is a socket of its own with one command under way, as so many independent clients have; one thread
polls them all. Threads would wait for each other (the GIL), and a `Stream` has an I/O thread for each connection.
It ends with its input, and on SIGTERM when what is under way is answered: nothing of it is written after that.
"""

import signal
import sys
import time
from math import ceil
from random import Random
from types import FrameType
from typing import Any

import msgspec
import zmq

from kvd import wire
from kvd.client.sockets import dealer
from kvd.commands import Command
from kvd.commands.base import Error
from kvd.commands.server import Ping
from kvd.errors import KvdError, NoReply, Refused, Unreachable
from kvsh.modes.task import WORKS, Outcome, Phase, Task

NOBLOCK, MORE = int(zmq.NOBLOCK), int(zmq.SNDMORE)
CORRELATION = b"0"  # one command at a time on a connection: its reply is the next
RETRY_S = 0.005


class Load:
    """The connections of a task."""

    def __init__(self, task: Task) -> None:
        self.task = task
        self.prefix = task.prefix.encode()
        self.random = Random(task.seed)  # noqa: S311  # no secret
        self.context: zmq.Context[zmq.Socket[bytes]] = zmq.Context()
        self.sockets = [dealer(self.context, task.endpoint, task.keys()) for _ in range(task.connections)]
        self.begun: dict[Any, float] = {}
        self.is_stopped = False

    def stop(self, *_: int | FrameType | None) -> None:
        """Send nothing more."""
        self.is_stopped = True

    def connect(self) -> Outcome:
        """Wait until every connection answers; return an outcome without times, or why not."""
        try:
            until = time.monotonic() + self.task.connect_timeout
            for sock in self.sockets:
                while not is_sent(sock, Ping()):
                    if time.monotonic() > until:
                        raise Unreachable("PING: no daemon answers")
                    time.sleep(RETRY_S)
            for sock in self.sockets:
                if not sock.poll(ceil(self.task.timeout * 1000)):
                    raise NoReply("PING: no reply in time")
                take_reply(sock)
        except KvdError as error:
            return failed(error)
        return Outcome()

    def run(self, phase: Phase) -> Outcome:
        """Keep one command under way on each connection until the time is over; count the round trips."""
        outcome = Outcome({})
        begun = time.perf_counter()
        try:
            self.exchange(phase, outcome.times, begun + phase.seconds)
        except KvdError as error:
            outcome = failed(error)
        outcome.seconds = time.perf_counter() - begun
        return outcome

    def exchange(self, phase: Phase, times: dict[int, int], until: float) -> None:
        """Send and receive until a time of the performance counter, and until all is answered. Raises KvdError."""
        poller = zmq.Poller()
        make = WORKS[phase.work]
        for sock in self.sockets[: phase.connections]:
            poller.register(sock, zmq.POLLIN)
            self.send(sock, make)
        while self.begun:
            events = poller.poll(ceil(self.task.timeout * 1000))
            if not events:
                raise NoReply(f"{phase.work}: no reply in time")
            for sock, _ in events:
                take_reply(sock)
                now = time.perf_counter()
                microseconds = round((now - self.begun.pop(sock)) * 1e6)
                times[microseconds] = times.get(microseconds, 0) + 1
                if now < until and not self.is_stopped:
                    self.send(sock, make)

    def send(self, sock: Any, make: Any) -> None:
        """Send a command and note when. Raises Unreachable."""
        command = make(self.prefix, self.random)
        self.begun[sock] = time.perf_counter()
        if not is_sent(sock, command):
            raise Unreachable(f"{command.command_name()}: the connection is gone")

    def close(self) -> None:
        """Close the connections."""
        self.context.destroy(linger=0)


def is_sent(sock: Any, command: Command) -> bool:
    """Send a command if there is a connection; return whether there is."""
    try:
        sock.send(CORRELATION, MORE | NOBLOCK)
    except zmq.Again:
        return False
    sock.send(b"", MORE)
    sock.send(wire.encode(command))
    return True


def take_reply(sock: Any) -> None:
    """Receive a reply and decode it, as any client does. Raises Refused."""
    sock.recv()
    sock.recv()
    reply = wire.decode_reply(sock.recv())
    if isinstance(reply, Error):
        wire.raise_error(reply)


def failed(error: KvdError) -> Outcome:
    """Return the outcome that tells an error."""
    if isinstance(error, Refused):
        return Outcome(code=error.code, message=error.message)
    return Outcome(code=type(error).__name__, message=str(error))


def tell(outcome: Outcome) -> None:
    """Write an outcome for the one who waits for it."""
    sys.stdout.buffer.write(msgspec.json.encode(outcome) + b"\n")
    sys.stdout.buffer.flush()


def main() -> None:
    """Take a task, connect, then run phases until there are no more."""
    load = Load(msgspec.json.decode(sys.stdin.buffer.readline(), type=Task))
    signal.signal(signal.SIGTERM, load.stop)
    try:
        tell(load.connect())
        while not load.is_stopped and (line := sys.stdin.buffer.readline()):
            tell(load.run(msgspec.json.decode(line, type=Phase)))
    finally:
        load.close()


if __name__ == "__main__":
    main()
