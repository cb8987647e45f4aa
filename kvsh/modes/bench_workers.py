"""The client processes of `--bench`, as its own process has them. They are started anew, never forked."""

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

# -P: a file in the working directory must not be taken for a module.
COMMAND = (sys.executable, "-P", "-m", "kvsh.modes.bench_worker")
STOP_S = 2.0


class LoadFailed(KvdError):
    """A client process ended by itself."""


def _exit_reason(child: "subprocess.Popen[bytes]") -> LoadFailed:
    """Return the error that tells with which status a process has ended."""
    return LoadFailed(f"a client process has ended by itself, with {child.wait()}")


class WorkerPool:
    """Client processes, each with a share of the connections. Used as a context; at its end none of them is left."""

    def __init__(self, task: Task, processes: int) -> None:
        """Start them. `task` is that of all of them together."""
        self.children: list[subprocess.Popen[bytes]] = []
        self.task = task
        self.processes = processes

    def __enter__(self) -> Self:
        """Start them and wait until they are connected. Raises KvdError."""
        try:
            for _ in range(self.processes):
                # A session of its own: the terminal's Ctrl-C is for us, and we stop them in order.
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
        """Run a phase on all of them at once; return what they did together. Raises KvdError."""
        phases = [
            msgspec.structs.replace(phase, connections=share) for share in shares(phase.connections, self.processes)
        ]
        return combine(self._run_phase(phases))

    def _run_phase(self, questions: Iterable[Task | Phase]) -> list[Outcome]:
        """Tell each process its own, then wait for the answers of all. Raises KvdError."""
        for child, question in zip(self.children, questions, strict=True):
            assert child.stdin
            try:
                child.stdin.write(msgspec.json.encode(question) + b"\n")
                child.stdin.flush()
            except BrokenPipeError:
                raise _exit_reason(child) from None
        outcomes = [self._outcome_of(child) for child in self.children]
        for outcome in outcomes:
            if outcome.code is not None:
                raise error_of(outcome)
        return outcomes

    def _outcome_of(self, child: "subprocess.Popen[bytes]") -> Outcome:
        """Wait for what a process has to tell. Raises LoadFailed."""
        assert child.stdout
        line = child.stdout.readline()
        if not line:
            raise _exit_reason(child)
        return msgspec.json.decode(line, type=Outcome)

    def close(self) -> None:
        """End them. What each has under way is answered before it goes, if the daemon answers at all."""
        for child in self.children:
            child.send_signal(signal.SIGTERM)
        for child in self.children:
            try:
                child.communicate(timeout=STOP_S)  # closes its input, and reads what it may still want to tell
            except subprocess.TimeoutExpired:
                child.kill()
                child.communicate()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """End them."""
        self.close()


def shares(count: int, parts: int) -> list[int]:
    """Return so many things as evenly as possible in parts."""
    return [count // parts + (number < count % parts) for number in range(parts)]


def combine(outcomes: Iterable[Outcome]) -> Outcome:
    """Return what several processes did at once: the longest of their times is that of all."""
    times: Counter[int] = Counter()
    seconds = 0.0
    for outcome in outcomes:
        times.update(outcome.times)
        seconds = max(seconds, outcome.seconds)
    return Outcome(dict(times), seconds)


def error_of(outcome: Outcome) -> KvdError:
    """Return the error that an outcome tells."""
    assert outcome.code
    lost: dict[str, type[KvdError]] = {"Unreachable": Unreachable, "NoReply": NoReply}
    if outcome.code in lost:
        return lost[outcome.code](outcome.message)
    return refusal(outcome.code, outcome.message, {})
