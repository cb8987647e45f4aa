"""`kvsh --bench`: the daemon's throughput and latency for clients on this machine.

Several client processes run, each connection with one command at a time. So a latency includes the wait for the other
connections, and a rate includes the processor time of the clients. `-i` is the duration of each measurement. Keys are
written under their own prefix and cleared at the end, also after Ctrl-C, SIGTERM, SIGHUP or a closed output; only
SIGKILL leaves them.
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
# More processes than processors only take turns. On two processors: 4 processes 50 k GET/s, 2 processes 57 k.
PROCESSES_MAX = 4
FILL_KEYS = 1_000
CLEARED_KEYS = 1_000  # in one command, so that other clients do not wait long
SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
NAMES = ("command", "keys", "connections", "ops", "ops_per_s", "p50_ms", "p99_ms", "max_ms")
TITLES = f"{'command':<17}{'connections':>12}{'ops/s':>12}{'p50 ms':>10}{'p99 ms':>10}{'max ms':>10}\n"


class Measure(NamedTuple):
    """A measurement: a command of `bench_messages.WORKS`, its number of keys, and the number of connections."""

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


class Stopped(Exception):  # not an error
    """A signal came; `number` is the signal."""

    def __init__(self, number: int) -> None:
        super().__init__(number)
        self.number = number


def run(settings: Settings, output: Output, argument: Any) -> int:  # noqa: ARG001  # every mode gets one
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
        os.kill(os.getpid(), number)  # exit as if the signal had not been handled
    bench.end(is_complete=not number)
    return INTERRUPTED if number else OK


@contextmanager
def _with_raised_signals() -> Iterator[None]:
    """Let SIGINT, SIGTERM and SIGHUP raise Stopped unless ignored, and a closed pipe BrokenPipeError."""
    handled = [number for number in SIGNALS if signal.getsignal(number) is not signal.SIG_IGN]
    before = {number: signal.signal(number, stop) for number in handled}
    before[signal.SIGPIPE] = signal.signal(signal.SIGPIPE, signal.SIG_IGN)
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def stop(number: int, _: FrameType | None) -> None:
    """Handle a signal: raise Stopped, and ignore further signals so that clearing is not interrupted."""
    _ignore_signals()
    raise Stopped(number)


def _ignore_signals() -> None:
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
        """Measure, and clear the keys. Raises KvdError, Stopped, BrokenPipeError."""
        self._read_conditions()
        try:
            self._print_conditions()
            self._fill()
            self._measure()
        finally:
            _ignore_signals()
            self._clear()
            self.progress.clear()

    def _read_conditions(self) -> None:
        """Read the conditions of the measurement. Raises KvdError."""
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
        """Write the conditions: above a table for reading, else as a message."""
        is_read = self.settings.form == "terminal"
        sentences = conditions(self.facts)
        for sentence in [*([] if is_read else sentences), *cautions(self.facts, self.prefix)]:
            self.output.message(f"kvsh: {sentence}")
        if not self.settings.quiet:
            head = "\n".join([*sentences, "", TITLES]).encode()
            self.output.data(head if is_read else head_text(self.settings.form, NAMES))
            self.output.flush()

    def _fill(self) -> None:
        """Set the keys, so that every GET finds one. Raises KvdError."""
        self.progress.draw("setting keys")
        keys = all_keys(self.prefix.encode())
        for at in range(0, KEYS, FILL_KEYS):
            self.client.multiset(dict.fromkeys(keys[at : at + FILL_KEYS], VALUE))

    def _measure(self) -> None:
        """Run the measurements in order. Raises KvdError."""
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
        with WorkerPool(task, self.processes) as pool:
            for number, measure in enumerate(MEASURES, 1):
                self.progress.draw(f"{number} of {len(MEASURES)}: {measure.work}, {measure.connections} at a time")
                outcome = pool.run(Phase(measure.work, measure.connections, self.seconds))
                self.progress.clear()
                self._on_outcome(measure, outcome)

    def _on_outcome(self, measure: Measure, outcome: Outcome) -> None:
        """Store a measurement, and write its line."""
        statistics = figures(outcome.times)
        rate = round(statistics["count"] / outcome.seconds, 1)
        spread = [statistics[name] for name in NAMES[-3:]]
        values = dict(
            zip(
                NAMES,
                (measure.work, measure.keys, measure.connections, statistics["count"], rate, *spread),
                strict=True,
            )
        )
        self.measures.append(values)
        if not self.settings.quiet and self.settings.form != "json":
            is_read = self.settings.form == "terminal"
            self.output.data(line_text(values) if is_read else table_text(self.settings.form, values))
            self.output.flush()

    def _clear(self) -> None:
        """Clear the keys, including those with unanswered writes. Raises KvdError."""
        try:
            while self.client.clear_prefix(self.prefix, limit=CLEARED_KEYS):
                pass
        except KvdError:
            self.progress.clear()
            self.output.message(f"kvsh: keys may be left; to clear them: kvsh clearprefix {self.prefix}")
            raise

    def end(self, *, is_complete: bool) -> None:
        """Write the end of the report."""
        if not is_complete:
            self.output.message("kvsh: interrupted; the keys are cleared")
        if self.settings.form == "json" and not self.settings.quiet and self.facts:
            self.output.data(document({**self.facts, "complete": is_complete, "measures": self.measures}))
        self.output.flush()


def is_same_machine(url: str) -> bool:
    """Return whether an endpoint is certainly on this machine."""
    host = url.removeprefix("tcp://").rpartition(":")[0].strip("[]")
    return url.startswith("ipc://") or host in ("localhost", "::1") or host.startswith("127.")


def cautions(facts: dict[str, Any], prefix: str) -> list[str]:
    """Return what to know about the figures and about side effects."""
    cores = len(os.sched_getaffinity(0))
    where = "the figures include the network and the client processes"
    if facts["same_machine"]:
        where = f"client and daemon share this machine's {cores} cores: the figures include both"
    return [where, f"keys below {prefix} are set and cleared: watchers see these changes"]


def conditions(facts: dict[str, Any]) -> list[str]:
    """Return the conditions of the measurement as sentences."""
    return [
        f"kvd {facts['version']}, fsync {facts['fsync']}, other keys: {facts['other_keys']:,}",
        f"{facts['processes']} client processes, one command at a time on each connection, {facts['seconds']:g} s each",
        f"{facts['keys']:,} keys in random order, values of {facts['value_bytes']} bytes",
    ]


def line_text(values: dict[str, Any]) -> bytes:
    """Return a line for reading."""
    name = values["command"] + (f" of {values['keys']}" if values["keys"] > 1 else "")
    spread = "".join([f"{values[name]:>10.3f}" for name in NAMES[-3:]])
    return f"{name:<17}{values['connections']:>12}{rate_text(values['ops_per_s']):>12}{spread}\n".encode()
