"""Exports INFO as Prometheus metrics; a table maps fields to metrics. It needs the extra kvd-server[metrics]."""

import re
from collections.abc import Iterable, Iterator
from typing import Any, Literal, NamedTuple

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily, Metric
from prometheus_client.exposition import choose_encoder
from prometheus_client.registry import Collector

Info = dict[str, dict[str, Any]]

MS, US = 1_000, 1_000_000
BELOW = re.compile(r"below_(\d+)_us")


class InfoMetric(NamedTuple):
    """A field of INFO as a metric. A name that ends in _total is a counter. The value is divided by `per`."""

    section: str
    field: str
    name: str
    help: str
    per: int = 1
    labels: tuple[tuple[str, str], ...] = ()

    @property
    def kind(self) -> Literal["counter", "gauge"]:
        """Return the metric's type."""
        return "counter" if self.name.endswith("_total") else "gauge"


JOURNAL, TABLE = (("file", "journal"),), (("file", "table"),)
WAL_HELP = "Length of a file's write-ahead log; the journal's is created with its full length."
METRICS = (
    InfoMetric("server", "read_only", "kvd_read_only", "1 if the storage has failed and writes are refused, else 0."),
    InfoMetric("store", "revision", "kvd_revision", "Revision of the last change."),
    InfoMetric("store", "compacted", "kvd_compacted_revision", "Revision up to which changes are no longer kept."),
    InfoMetric("store", "folded", "kvd_folded_revision", "Revision up to which the journal is folded into the table."),
    InfoMetric("store", "keys", "kvd_keys", "Entries, including expired ones that are not swept yet."),
    InfoMetric("store", "overlay_changes", "kvd_overlay_changes", "Changes that are not yet folded."),
    InfoMetric("store", "overlay_bytes", "kvd_overlay_bytes", "Memory of the entries that are not yet folded."),
    InfoMetric("store", "cache_bytes", "kvd_cache_bytes", "Memory of the cache of the table."),
    InfoMetric("store", "cache_hits", "kvd_cache_hits_total", "Keys found in memory."),
    InfoMetric("store", "cache_misses", "kvd_cache_misses_total", "Keys looked up in the table."),
    InfoMetric("store", "folds", "kvd_folds_total", "Folds of the journal into the table."),
    InfoMetric("store", "fold_last_ms", "kvd_last_fold_duration_seconds", "How long the last fold took.", MS),
    InfoMetric("store", "fold_waits", "kvd_fold_waits_total", "Commits that waited for a fold."),
    InfoMetric("store", "tokens", "kvd_once_tokens", "Tokens of ONCE that are stored."),
    InfoMetric("store", "disk_free", "kvd_disk_free_bytes", "Free space on the disk of the data directory."),
    InfoMetric(
        "store",
        "disk_is_short",
        "kvd_disk_is_short",
        "1 if disk space is short and writes that need space are refused (FULL).",
    ),
    InfoMetric("store", "wal_bytes", "kvd_wal_bytes", WAL_HELP, labels=JOURNAL),
    InfoMetric("store", "table_wal_bytes", "kvd_wal_bytes", WAL_HELP, labels=TABLE),
    InfoMetric(
        "store",
        "wal_used_bytes",
        "kvd_journal_wal_used_bytes",
        "Bytes of the journal's WAL that are not yet checkpointed.",
    ),
    InfoMetric("traffic", "errors", "kvd_errors_total", "Commands that failed."),
    InfoMetric("traffic", "denied", "kvd_denied_total", "Commands that the access file did not allow."),
    InfoMetric("traffic", "refused_clients", "kvd_refused_clients_total", "Handshakes refused because of their key."),
    InfoMetric("traffic", "batches", "kvd_batches_total", "Batches of commands."),
    InfoMetric("traffic", "malformed", "kvd_malformed_messages_total", "Messages that were not valid requests."),
    InfoMetric(
        "traffic",
        "replies_dropped",
        "kvd_replies_dropped_total",
        "Replies dropped because the client was gone or its queue full.",
    ),
    InfoMetric("traffic", "published", "kvd_published_changes_total", "Changes published."),
    InfoMetric("traffic", "clients", "kvd_clients", "Connections for commands."),
    InfoMetric("traffic", "watchers", "kvd_watchers", "Connections for changes."),
    InfoMetric(
        "traffic",
        "watchers_cut",
        "kvd_watchers_cut_total",
        "Watchers disconnected, to resume: for memory, or after a change of rights.",
    ),
    InfoMetric(
        "traffic", "connections_refused", "kvd_connections_refused_total", "Connections refused beyond the limit."
    ),
    InfoMetric("traffic", "topics", "kvd_topics", "Distinct topics with subscribers."),
    InfoMetric("traffic", "waiting", "kvd_waiting_requests", "CHANGES requests that wait for a change."),
    InfoMetric("latency", "max_us", "kvd_request_duration_max_seconds", "The longest request so far.", US),
    InfoMetric("latency", "commits", "kvd_commits_total", "Commits of batches."),
    InfoMetric(
        "latency",
        "commit_us",
        "kvd_commit_seconds_total",
        "Time spent in commits, including the wait for the disk.",
        US,
    ),
    InfoMetric("latency", "commit_max_us", "kvd_commit_duration_max_seconds", "The longest commit so far.", US),
    InfoMetric("latency", "slow", "kvd_slow_commands_total", "Commands and commits recorded in the slow log."),
    InfoMetric("process", "started", "kvd_start_time_seconds", "When the daemon started to serve, in Unix time.", MS),
    InfoMetric("process", "cpu_ms", "kvd_cpu_seconds_total", "Processor time of all threads.", MS),
    InfoMetric("process", "memory_bytes", "kvd_resident_memory_bytes", "Resident memory of the process."),
    InfoMetric(
        "process", "memory_bytes_max", "kvd_memory_limit_bytes", "Memory above which large replies are refused (BUSY)."
    ),
    InfoMetric("process", "memory_is_tight", "kvd_memory_is_tight", "1 if memory is above the limit."),
    InfoMetric("process", "connections_max", "kvd_connections_limit", "The maximum number of connections."),
)
BUILD = (
    ("process", ("version", "python", "libzmq")),
    ("server", ("protocol", "sqlite", "fsync", "frames", "core", "history")),
)
UP = ("kvd_up", "1 if the daemon answered, else 0.")
BUILD_INFO = ("kvd_build_info", "Versions and build options of the daemon, as labels of a constant 1.")
CALLS = ("kvd_commands_total", "Commands executed.")
SPENT = ("kvd_command_seconds_total", "Time of the daemon's loop spent in commands, without decoding and commits.")
DURATION = ("kvd_request_duration_seconds", "Time from the receipt of a request's batch until its replies were sent.")


class InfoCollector(Collector):
    """Collects metrics from a daemon's INFO; None if the daemon did not answer."""

    def __init__(self, info: Info | None) -> None:
        self.info = info

    def collect(self) -> Iterator[Metric]:
        """Yield the metrics. A field that an older daemon does not report is left out."""
        yield GaugeMetricFamily(*UP, value=float(self.info is not None))
        if self.info is None:
            return
        yield from _metric_families(self.info)
        yield _build_of(self.info)
        yield from _commands_of(self.info.get("commands", {}))
        if "latency" in self.info:
            yield _durations_of(self.info["latency"])


def _metric_families(info: Info) -> Iterable[Metric]:
    families: dict[str, Metric] = {}
    for metric in METRICS:
        value = info.get(metric.section, {}).get(metric.field, families)
        if value is families:
            continue
        labels = dict(metric.labels)
        if metric.name not in families:
            kind = CounterMetricFamily if metric.kind == "counter" else GaugeMetricFamily
            families[metric.name] = kind(metric.name, metric.help, labels=list(labels))
        families[metric.name].add_metric(list(labels.values()), number_of(value) / metric.per)  # type: ignore[attr-defined]  # of both
    return families.values()


def exposition(info: Info | None, accept: str) -> tuple[str, bytes]:
    """Return the content type and the metrics in an accepted format; without INFO only kvd_up, which is 0."""
    try:
        encode, kind = choose_encoder(accept)
    except (TypeError, ValueError):  # it names an unknown version
        encode, kind = choose_encoder("")
    return kind, encode(InfoCollector(info))


def number_of(value: Any) -> float:
    """Return a value as a number: text and True are 1, nil is 0."""
    return float(value) if isinstance(value, int | float) else float(value is not None)


def _build_of(info: Info) -> Metric:
    """Return the metric with the constant texts of INFO as labels."""
    labels = {field: str(info.get(section, {}).get(field, "")) for section, fields in BUILD for field in fields}
    family = GaugeMetricFamily(*BUILD_INFO, labels=list(labels))
    family.add_metric(list(labels.values()), 1)
    return family


def _commands_of(commands: dict[str, dict[str, float]]) -> Iterator[Metric]:
    """Yield the number of calls and the time of each command."""
    calls = CounterMetricFamily(*CALLS, labels=["command"])
    spent = CounterMetricFamily(*SPENT, labels=["command"])
    for name, facts in commands.items():
        calls.add_metric([name], facts["calls"])
        spent.add_metric([name], facts["us"] / US)
    yield calls
    yield spent


def _durations_of(latency: dict[str, int]) -> Metric:
    bounds = [(found[1], count) for field, count in latency.items() if (found := BELOW.fullmatch(field))]
    buckets = [(str(int(bound) / US), float(count)) for bound, count in bounds]
    buckets.append(("+Inf", float(latency["requests"])))
    return HistogramMetricFamily(*DURATION, buckets=buckets, sum_value=latency["us"] / US)
