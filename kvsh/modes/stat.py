"""`kvsh --stat`: a line a second with the daemon's activity. `-i` is the interval in seconds, `-r` the number of lines.

A restart or an absence of the daemon is reported on standard error, and the lines continue when it is back.
"""

import time
from typing import Any, NamedTuple

from kvd.client import Client
from kvd.commands import COMMANDS, Write
from kvd.commands.server import Info
from kvd.errors import ClientError
from kvsh.modes.progress import report_after_interrupt
from kvsh.modes.report import head_text, rate_text, size_text, table_text
from kvsh.ui.connect import require_daemon
from kvsh.ui.outcome import INTERRUPTED, OK
from kvsh.ui.output import Output
from kvsh.ui.settings import Settings

INTERVAL_S = 1.0
AWAY_S = 0.2  # the pause while there is no daemon; a sample then also waits for a connection
HEAD_EVERY = 20  # lines
WRITES = frozenset(name for name, command in COMMANDS.items() if issubclass(command, Write))
# The columns for reading, 80 wide: the figure's name, its title, its width including the blank before it.
COLUMNS = (
    ("time", "time", 8),
    ("keys", "keys", 11),
    ("ops_per_s", "ops/s", 8),
    ("writes_per_s", "writes/s", 9),
    ("changes_per_s", "changes/s", 10),
    ("errors_per_s", "err/s", 7),
    ("memory_bytes", "memory", 10),
    ("clients", "clients", 8),
    ("watchers", "watchers", 9),
)
TITLES = "".join(f"{title:>{width}}" for _, title, width in COLUMNS)


class Sample(NamedTuple):
    """INFO at a moment: `at` in seconds of the monotonic clock, `time` in Unix ms."""

    at: float
    time: int
    info: dict[str, dict[str, Any]]


def run(settings: Settings, output: Output, argument: Any) -> int:  # noqa: ARG001  # every mode gets one
    """Write lines until `-r` or Ctrl-C; return the exit code. Raises KvdError when there is no daemon."""
    require_daemon(settings)
    with Client(**settings.connection) as client:
        stat = Stat(client, settings, output)
        try:
            stat.follow()
        except KeyboardInterrupt:
            stat.summarize()
            return INTERRUPTED
    return OK


class Stat:
    """A run of the mode. `first` and `last` are samples of one daemon that was present all the time between them."""

    def __init__(self, client: Client, settings: Settings, output: Output) -> None:
        self.client = client
        self.settings = settings
        self.output = output
        self.first: Sample | None = None
        self.last: Sample | None = None
        self.samples = 0  # since `first`
        self.lines = 0
        self.away_since: float | None = None

    def follow(self) -> None:
        """Write lines until `-r`. Raises KvdError when there is no daemon at the start."""
        self.first = self.last = _sample(self.client)
        interval = INTERVAL_S if self.settings.interval is None else self.settings.interval
        due = self.last.at
        self._write_head()
        while self.settings.repeat is None or self.lines < self.settings.repeat:
            now = time.monotonic()
            due = max(due + interval, now)  # after a long wait, missed lines are skipped
            time.sleep(due - now if self.away_since is None else min(AWAY_S, interval))
            self._take_sample()

    def _take_sample(self) -> None:
        """Write the activity since the last sample, or report that the daemon is absent or back."""
        try:
            now = _sample(self.client)
        except ClientError as error:
            if self.away_since is None:
                self.away_since = time.monotonic()
                self.output.message(f"kvsh: disconnected: {error}")
            return
        assert self.last is not None
        is_restarted = now.info["server"]["pid"] != self.last.info["server"]["pid"] or _uptime(now) < _uptime(self.last)
        if self.away_since is not None or is_restarted:
            self._on_reconnect(now, is_restarted=is_restarted)
            return
        before = self.last
        self.last = (
            now  # before the write: Ctrl-C may interrupt it, and the summary divides by the time between samples
        )
        self.samples += 1
        self._write(figures(before, now, own_infos=1))

    def _on_reconnect(self, now: Sample, *, is_restarted: bool) -> None:
        """Report that the daemon is back. Its counts during the absence belong to no line."""
        after = "" if self.away_since is None else f" after {now.at - self.away_since:.1f} s"
        self.output.message(f"kvsh: reconnected{after}{': the daemon has been restarted' if is_restarted else ''}")
        self.first = self.last = now
        self.samples = 0
        self.away_since = None

    def _write_head(self) -> None:
        """Write the names of the figures."""
        if not self.settings.quiet:
            names = [name for name, _, _ in COLUMNS]
            is_read = self.settings.form == "terminal"
            self.output.data(TITLES.encode() + b"\n" if is_read else head_text(self.settings.form, names))
            self.output.flush()

    def _write(self, values: dict[str, Any]) -> None:
        """Write a line."""
        self.lines += 1
        if self.settings.quiet:
            return
        is_read = self.settings.form == "terminal"
        if is_read and self.lines > 1 and self.lines % HEAD_EVERY == 1:
            self._write_head()
        self.output.data(line_text(values) if is_read else table_text(self.settings.form, values))
        self.output.flush()

    def summarize(self) -> None:
        """Write the averages since the start, or since the daemon came back."""
        if self.first is None or self.last is None or not self.samples:
            return
        mean = figures(self.first, self.last, self.samples)
        rates = [f"{rate_text(mean[name])} {title}" for name, title, _ in COLUMNS if name.endswith("_per_s")]
        report_after_interrupt(
            self.output, f"kvsh: in {self.last.at - self.first.at:.1f} s on average {', '.join(rates)}"
        )


def _sample(client: Client) -> Sample:
    """Return INFO now. Raises KvdError."""
    info = client.run(Info())
    return Sample(time.monotonic(), time.time_ns() // 1_000_000, info)


def _uptime(sample: Sample) -> int:
    """Return the daemon's uptime in ms."""
    return int(sample.info["server"]["uptime_ms"])


def figures(before: Sample, after: Sample, own_infos: int) -> dict[str, Any]:
    """Return the figures of a line: totals, and rates a second between two samples of the same daemon.

    `own_infos` is the number of our own INFO commands between the samples, which are subtracted. `memory_bytes` is the
    memory of the daemon's process. `clients` and `watchers` are None for an older daemon that does not report them.
    """
    old, new = before.info["traffic"], after.info["traffic"]
    calls = {name: count - old["calls"].get(name, 0) for name, count in new["calls"].items()}
    done = {
        "ops_per_s": sum(calls.values()) - own_infos,
        "writes_per_s": sum([count for name, count in calls.items() if name in WRITES]),
        "changes_per_s": after.info["store"]["revision"] - before.info["store"]["revision"],
        "errors_per_s": new["errors"] - old["errors"],
    }
    seconds = after.at - before.at
    return {
        "time": after.time,
        "keys": after.info["store"]["keys"],
        **{name: round(max(0, count) / seconds, 1) for name, count in done.items()},
        "memory_bytes": after.info["process"]["memory_bytes"],
        "clients": new.get("clients"),  # including ours
        "watchers": new.get("watchers"),
    }


def line_text(values: dict[str, Any]) -> bytes:
    """Return a line for reading."""
    cells = [(cell(name, values[name]), width) for name, _, width in COLUMNS]
    return (cells[0][0] + "".join([f" {text:>{width - 1}}" for text, width in cells[1:]]) + "\n").encode()


def cell(name: str, value: Any) -> str:
    """Return a figure for reading."""
    if value is None:
        return "-"
    if name == "time":
        return time.strftime("%H:%M:%S", time.localtime(value / 1000))
    if name.endswith("_bytes"):
        return size_text(value)
    return rate_text(value) if name.endswith("_per_s") else f"{value:,}"
