"""`kvsh --bench`: how many commands a second this daemon runs for clients on this machine, and how long each takes.

Several client processes, each connection with one command at a time; so a latency includes the wait for the other
connections, and a rate what the clients themselves take of the processors. `-i` is how long each measure takes.
Keys are written under a prefix of its own and cleared at the end, also after Ctrl-C, SIGTERM, SIGHUP or when the
reader of the output is gone; only SIGKILL leaves them.
"""

import os
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Any, NamedTuple

from kvd.client import Client
from kvd.errors import KvdError
from kvsh.modes.bench_messages import KEYS, MULTIGET_KEYS, VALUE, Outcome, Phase, Task, all_keys
from kvsh.modes.bench_workers import WorkerPool
from kvsh.modes.latency_stats import figures
from kvsh.modes.progress import progress_of
from kvsh.modes.report import head_text, rate_text, table_text
from kvsh.render.data import document
from kvsh.ui.connect import require_daemon
from kvsh.ui.outcome import INTERRUPTED, OK
from kvsh.ui.output import Output
from kvsh.ui.settings import Settings

SECONDS = 2.0
CONNECTIONS = 50
# With more processes than processors they only take turns: on two, 4 processes measured 50 k GET/s, 2 of them 57 k.
PROCESSES_MAX = 4
FILL_KEYS = 1_000
CLEARED_KEYS = 1_000  # at once, so that others need not wait
SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
NAMES = ("command", "keys", "connections", "ops", "ops_per_s", "p50_ms", "p99_ms", "max_ms")
TITLES = f"{'command':<17}{'connections':>12}{'ops/s':>12}{'p50 ms':>10}{'p99 ms':>10}{'max ms':>10}\n"


class Measure(NamedTuple):
    """What is measured: a command of `task.WORKS`, of how many keys, over how many connections."""

    work: str
    keys: int
    connections: int


MEASURES = (
    Measure("SET", 1, CONNECTIONS),
    Measure("GET", 1, CONNECTIONS),
    Measure("MULTIGET", MULTIGET_KEYS, CONNECTIONS),
    Measure("INCR", 1, CONNECTIONS),
    Measure("SET", 1, 1),
    Measure("GET", 1, 1),
)


class Stopped(Exception):  # it is no error
    """A signal came; `number` is which."""

    def __init__(self, number: int) -> None:
        super().__init__(number)
        self.number = number


def run(settings: Settings, output: Output, argument: Any) -> int:  # noqa: ARG001  # every mode is given one
    """Measure, write the figures and clear the keys; return the exit code. Raises KvdError."""
    number = 0
    require_daemon(settings)
    with Client(**settings.connection) as client:
        bench = Bench(client, settings, output)
        try:
            with _with_raised_signals():
                bench.run()
        except Stopped as stopped:
            number = stopped.number
        except BrokenPipeError:
            number = signal.SIGPIPE
    if number not in (0, signal.SIGINT):
        signal.signal(number, signal.SIG_DFL)
        os.kill(os.getpid(), number)  # as it would have ended us at once
    bench.end(is_complete=not number)
    return INTERRUPTED if number else OK


@contextmanager
def _with_raised_signals() -> Iterator[None]:
    """Let signals that end a process raise Stopped, and a closed pipe BrokenPipeError; what is ignored stays so."""
    taken = [number for number in SIGNALS if signal.getsignal(number) is not signal.SIG_IGN]
    before = {number: signal.signal(number, stop) for number in taken}
    before[signal.SIGPIPE] = signal.signal(signal.SIGPIPE, signal.SIG_IGN)
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def stop(number: int, _: FrameType | None) -> None:
    """A signal came: one is enough, clearing is not interrupted by the next."""
    _ignore_signals()
    raise Stopped(number)


def _ignore_signals() -> None:
    """Let no signal interrupt what follows."""
    for number in SIGNALS:
        signal.signal(number, signal.SIG_IGN)


class Bench:
    """A run of the mode."""

    def __init__(self, client: Client, settings: Settings, output: Output) -> None:
        self.client = client
        self.settings = settings
        self.output = output
        self.progress = progress_of(settings)
        self.prefix = f"kvsh-bench:{os.getpid()}:"
        self.seconds = SECONDS if settings.interval is None else settings.interval
        self.processes = min(PROCESSES_MAX, len(os.sched_getaffinity(0)))
        self.facts: dict[str, Any] = {}
        self.measures: list[dict[str, Any]] = []

    def run(self) -> None:
        """Measure, and leave nothing behind. Raises KvdError, Stopped, BrokenPipeError."""
        self._check_stopped()
        try:
            self._print_conditions()
            self.fill()
            self._measure()
        finally:
            _ignore_signals()
            self.clear()
            self.progress.clear()

    def _check_stopped(self) -> None:
        """Ask what is measured. Raises KvdError."""
        info = self.client.info()
        self.facts = {
            "version": info["server"]["version"],
            "fsync": info["server"]["fsync"],
            "other_keys": info["store"]["keys"],
            "processes": self.processes,
            "connections": CONNECTIONS,
            "keys": KEYS,
            "value_bytes": len(VALUE),
            "seconds": self.seconds,
            "same_machine": is_same_machine(self.settings.url),
        }

    def _print_conditions(self) -> None:
        """Write what the figures are of: above a table for reading, else as a message."""
        is_read = self.settings.form == "terminal"
        told = conditions(self.facts)
        for sentence in [*([] if is_read else told), *cautions(self.facts, self.prefix)]:
            self.output.message(f"kvsh: {sentence}")
        if not self.settings.quiet:
            head = "\n".join([*told, "", TITLES]).encode()
            self.output.data(head if is_read else head_text(self.settings.form, NAMES))
            self.output.flush()

    def fill(self) -> None:
        """Set the keys, so that a GET finds one. Raises KvdError."""
        self.progress.draw("setting keys")
        keys = all_keys(self.prefix.encode())
        for at in range(0, KEYS, FILL_KEYS):
            self.client.multiset(dict.fromkeys(keys[at : at + FILL_KEYS], VALUE))

    def _measure(self) -> None:
        """Measure one after the other. Raises KvdError."""
        keys = self.settings.keys
        task = Task(
            endpoint=self.settings.url,
            curve=None if keys is None else [key.decode() for key in keys],
            timeout=self.settings.timeout,
            connect_timeout=self.settings.connection["connect_timeout"],
            connections=CONNECTIONS,
            prefix=self.prefix,
            seed=0,
        )
        with WorkerPool(task, self.processes) as crew:
            for number, measure in enumerate(MEASURES, 1):
                self.progress.draw(f"{number} of {len(MEASURES)}: {measure.work}, {measure.connections} at a time")
                outcome = crew.run(Phase(measure.work, measure.connections, self.seconds))
                self.progress.clear()
                self._on_outcome(measure, outcome)

    def _on_outcome(self, measure: Measure, outcome: Outcome) -> None:
        """Keep what was measured, and write its line."""
        found = figures(outcome.times)
        rate = round(found["count"] / outcome.seconds, 1)
        spread = [found[name] for name in NAMES[-3:]]
        values = dict(
            zip(NAMES, (measure.work, measure.keys, measure.connections, found["count"], rate, *spread), strict=True)
        )
        self.measures.append(values)
        if not self.settings.quiet and self.settings.form != "json":
            is_read = self.settings.form == "terminal"
            self.output.data(line_text(values) if is_read else table_text(self.settings.form, values))
            self.output.flush()

    def clear(self) -> None:
        """Clear the keys, also those whose writes were never answered. Raises KvdError."""
        try:
            while self.client.clear_prefix(self.prefix, limit=CLEARED_KEYS):
                pass
        except KvdError:
            self.progress.clear()
            self.output.message(f"kvsh: keys may be left; to clear them: kvsh clearprefix {self.prefix}")
            raise

    def end(self, *, is_complete: bool) -> None:
        """Write what is written at the end."""
        if not is_complete:
            self.output.message("kvsh: interrupted; the keys are cleared")
        if self.settings.form == "json" and not self.settings.quiet and self.facts:
            self.output.data(document({**self.facts, "complete": is_complete, "measures": self.measures}))
        self.output.flush()


def is_same_machine(url: str) -> bool:
    """Return whether an endpoint can only be on this machine."""
    host = url.removeprefix("tcp://").rpartition(":")[0].strip("[]")
    return url.startswith("ipc://") or host in ("localhost", "::1") or host.startswith("127.")


def cautions(facts: dict[str, Any], prefix: str) -> list[str]:
    """Return what has to be known of the figures, and of what measuring does."""
    cores = len(os.sched_getaffinity(0))
    where = "the network and the client processes are part of the figures"
    if facts["same_machine"]:
        where = f"client and daemon share this machine's {cores} cores: the figures are of both"
    return [where, f"keys below {prefix} come and go: watchers see that"]


def conditions(facts: dict[str, Any]) -> list[str]:
    """Return what is measured."""
    return [
        f"kvd {facts['version']}, fsync {facts['fsync']}, keys besides ours: {facts['other_keys']:,}",
        f"{facts['processes']} client processes, one command at a time on each connection, {facts['seconds']:g} s each",
        f"{facts['keys']:,} keys in random order, values of {facts['value_bytes']} bytes",
    ]


def line_text(values: dict[str, Any]) -> bytes:
    """Return a line for reading."""
    name = values["command"] + (f" of {values['keys']}" if values["keys"] > 1 else "")
    spread = "".join([f"{values[name]:>10.3f}" for name in NAMES[-3:]])
    return f"{name:<17}{values['connections']:>12}{rate_text(values['ops_per_s']):>12}{spread}\n".encode()
