"""The client processes of `--bench`, as its own process sees them. They are new processes, never forks."""

import signal
import subprocess
import sys
from collections import Counter
from collections.abc import Iterable
from types import TracebackType
from typing import Self

import msgspec

from kvd.errors import KvdError, NoReply, Unreachable, refusal
from kvsh.modes.bench_messages import Outcome, Phase, Task

# -P: a file in the working directory must not be imported as a module.
COMMAND = (sys.executable, "-P", "-m", "kvsh.modes.bench_worker")
STOP_S = 2.0


class LoadFailed(KvdError):
    """A client process exited by itself."""


def _early_exit(child: "subprocess.Popen[bytes]") -> LoadFailed:
    """Return the error with the status of an exited process."""
    return LoadFailed(f"a client process exited by itself, with {child.wait()}")


class WorkerPool:
    """Client processes, each with a share of the connections. A context manager: all have exited at its end."""

    def __init__(self, task: Task, processes: int) -> None:
        """Take the task of all processes together."""
        self.children: list[subprocess.Popen[bytes]] = []
        self.task = task
        self.processes = processes

    def __enter__(self) -> Self:
        """Start the processes, and wait until they are connected. Raises KvdError."""
        try:
            for _ in range(self.processes):
                # A new session: the terminal's Ctrl-C does not reach it, and this process stops it in order.
                self.children.append(
                    subprocess.Popen(COMMAND, stdin=subprocess.PIPE, stdout=subprocess.PIPE, start_new_session=True)  # noqa: S603  # our own module
                )
            tasks = [
                msgspec.structs.replace(self.task, connections=share, seed=seed)
                for seed, share in enumerate(shares(self.task.connections, self.processes))
            ]
            self._run_phase(tasks)
        except BaseException:
            self.close()
            raise
        return self

    def run(self, phase: Phase) -> Outcome:
        """Run a phase on all processes at once; return the combined outcome. Raises KvdError."""
        phases = [
            msgspec.structs.replace(phase, connections=share) for share in shares(phase.connections, self.processes)
        ]
        return combine(self._run_phase(phases))

    def _run_phase(self, messages: Iterable[Task | Phase]) -> list[Outcome]:
        """Send each process its message, then wait for all outcomes. Raises KvdError."""
        for child, message in zip(self.children, messages, strict=True):
            assert child.stdin
            try:
                child.stdin.write(msgspec.json.encode(message) + b"\n")
                child.stdin.flush()
            except BrokenPipeError:
                raise _early_exit(child) from None
        outcomes = [self._outcome_of(child) for child in self.children]
        for outcome in outcomes:
            if outcome.code is not None:
                raise error_of(outcome)
        return outcomes

    def _outcome_of(self, child: "subprocess.Popen[bytes]") -> Outcome:
        """Wait for the outcome of a process. Raises LoadFailed."""
        assert child.stdout
        line = child.stdout.readline()
        if not line:
            raise _early_exit(child)
        return msgspec.json.decode(line, type=Outcome)

    def close(self) -> None:
        """Stop the processes. Each first waits for its commands in flight, if the daemon answers."""
        for child in self.children:
            child.send_signal(signal.SIGTERM)
        for child in self.children:
            try:
                child.communicate(timeout=STOP_S)  # closes its input, and reads its last output
            except subprocess.TimeoutExpired:
                child.kill()
                child.communicate()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def shares(count: int, parts: int) -> list[int]:
    """Return a count split as evenly as possible."""
    return [count // parts + (number < count % parts) for number in range(parts)]


def combine(outcomes: Iterable[Outcome]) -> Outcome:
    """Return the combined outcome of simultaneous processes: the sum of the counts, and the longest duration."""
    times: Counter[int] = Counter()
    seconds = 0.0
    for outcome in outcomes:
        times.update(outcome.times)
        seconds = max(seconds, outcome.seconds)
    return Outcome(dict(times), seconds)


def error_of(outcome: Outcome) -> KvdError:
    """Return the exception for an outcome."""
    assert outcome.code
    lost: dict[str, type[KvdError]] = {"Unreachable": Unreachable, "NoReply": NoReply}
    if outcome.code in lost:
        return lost[outcome.code](outcome.message)
    return refusal(outcome.code, outcome.message, {})
