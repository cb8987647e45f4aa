"""`kvsh --latency`: round-trip times of PING over one connection, as this client sees them.

`-i` is the interval in seconds (default 0.01; 0: the next PING follows the reply), `-r` the number of round trips.
Without `-r` there are 500, at a terminal as many as come until Ctrl-C.
"""

import os
import time
from math import inf
from typing import Any

from kvd.client import Stream
from kvd.client.stream import ok
from kvd.commands.server import Ping
from kvd.limits import IN_FLIGHT_MAX
from kvsh.modes.latency_stats import US_PER_MS, Bucket, Times, buckets, figures
from kvsh.modes.progress import progress_of
from kvsh.modes.report import bar, row_text
from kvsh.render.data import document
from kvsh.ui.outcome import INTERRUPTED, OK
from kvsh.ui.output import Output
from kvsh.ui.progress import Progress, columns
from kvsh.ui.settings import Settings

INTERVAL_S = 0.01
COUNT_DEFAULT = 500


def run(settings: Settings, output: Output, argument: Any) -> int:  # noqa: ARG001  # every mode gets one
    """Measure, then write the figures and the distribution; return the exit code. Raises KvdError."""
    times: Times = Times()
    progress = progress_of(settings)
    code = OK
    try:
        with Stream(**settings.stream, window=IN_FLIGHT_MAX) as stream:
            _measure(stream, times, settings, progress)
    except KeyboardInterrupt:
        code = INTERRUPTED
    finally:
        progress.clear()
        if not settings.quiet and (
            times or code == INTERRUPTED
        ):  # also if the daemon disappeared during the measurement
            output.data(TEXTS.get(settings.form, _machine_text)(times, settings))
            output.flush()
    return code


def _measure(stream: Stream, times: Times, settings: Settings, progress: Progress) -> None:
    """Count round trips in microseconds. Raises KvdError.

    A PING is sent when its time has come, even if earlier ones are unanswered. If it waited for them, it would see one
    slow reply where a client with this rate sees a hundred (Tene, "How not to measure latency": coordinated omission).
    """
    count_max = settings.repeat or (inf if os.isatty(1) else COUNT_DEFAULT)
    interval = INTERVAL_S if settings.interval is None else settings.interval
    window = stream.window if interval else 1
    sent, due = 0, time.perf_counter()
    while sent < count_max or stream.in_flight:
        now = time.perf_counter()
        if sent < count_max and stream.in_flight < window and now >= due:
            stream.send(Ping(), now)
            sent, due = sent + 1, max(due + interval, now)
        is_full = sent >= count_max or stream.in_flight >= window
        wait = None if is_full else max(0.0, due - time.perf_counter())
        if not stream.in_flight:
            time.sleep(wait or 0)
        for sent_at, outcome in stream.receive(wait):
            ok(outcome)
            times[round((time.perf_counter() - sent_at) * 1e6)] += 1
        if times and progress.is_due():
            progress.draw(figures_text(times))


def figures_text(times: Times) -> str:
    """Return the figures on a line."""
    statistics = figures(times)
    if not statistics["count"]:
        return "no round trips"
    parts = [f"{name.removesuffix('_ms')} {value:.3f}" for name, value in statistics.items() if name != "count"]
    return f"{'  '.join(parts)} ms  ({statistics['count']:,} round trip{'s' * (statistics['count'] > 1)})"


def terminal_text(times: Times, settings: Settings) -> bytes:
    """Return the figures, and a histogram as wide as the terminal."""
    histogram = buckets(times)
    labels = [_bucket_label(bucket) for bucket in histogram]
    most = max([bucket.times for bucket in histogram], default=0)
    width = columns(1) - 1 - max(map(len, labels), default=0) - len(f"  {most:,} ")
    lines = [
        f"{label}  {bucket.times:>{len(f'{most:,}')},} {bar(bucket.times, most, max(width, 1))}".rstrip()
        for label, bucket in zip(labels, histogram, strict=True)
    ]
    return "\n".join([f"PING to {settings.url}", figures_text(times), *lines, ""]).encode(errors="backslashreplace")


def _bucket_label(bucket: Bucket) -> str:
    """Return the bounds of a bucket in milliseconds."""
    return f"{bucket.low / US_PER_MS:>8.3f} - {bucket.high / US_PER_MS:>8.3f} ms"


def _json_text(times: Times, settings: Settings) -> bytes:  # noqa: ARG001  # every format gets both
    """Return one document with the figures and the buckets."""
    histogram = [
        {"from_ms": bucket.low / US_PER_MS, "to_ms": bucket.high / US_PER_MS, "count": bucket.times}
        for bucket in buckets(times)
    ]
    return document({**figures(times), "buckets": histogram})


def _machine_text(times: Times, settings: Settings) -> bytes:
    """Return a row for each figure, `name value`, and for each bucket, `bucket from_ms to_ms count`."""
    rows: list[list[Any]] = [[name, value] for name, value in figures(times).items()]
    rows += [["bucket", low / US_PER_MS, high / US_PER_MS, count] for low, high, count in buckets(times)]
    return b"".join([row_text(settings.form, fields) for fields in rows])


TEXTS = {"terminal": terminal_text, "json": _json_text}
