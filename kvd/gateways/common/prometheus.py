"""INFO as Prometheus metrics: one table says which field is which metric. It needs the extra kvd-server[metrics]."""

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
    """A field of INFO as a metric: a counter's name ends in _total. The value is divided by `per`, to seconds."""

    section: str
    field: str
    name: str
    help: str
    per: int = 1
    labels: tuple[tuple[str, str], ...] = ()

    @property
    def kind(self) -> Literal["counter", "gauge"]:
        """Return what it is: what only grows while the daemon runs is a counter."""
        return "counter" if self.name.endswith("_total") else "gauge"


JOURNAL, TABLE = (("file", "journal"),), (("file", "table"),)
WAL_HELP = "Length of the write-ahead log of a file; the journal's is made with its full length."
MEASURES = (
    InfoMetric("server", "read_only", "kvd_read_only", "1 when the storage has failed and no write is taken, else 0."),
    InfoMetric("store", "revision", "kvd_revision", "Revision of the last change."),
    InfoMetric("store", "compacted", "kvd_compacted_revision", "Revision up to which changes are no longer kept."),
    InfoMetric("store", "folded", "kvd_folded_revision", "Revision up to which the journal is folded into the table."),
    InfoMetric("store", "keys", "kvd_keys", "Entries, those that have expired and are not swept yet included."),
    InfoMetric("store", "overlay_changes", "kvd_overlay_changes", "Changes that are not folded yet."),
    InfoMetric("store", "overlay_bytes", "kvd_overlay_bytes", "Memory of the entries that are not folded yet."),
    InfoMetric("store", "cache_bytes", "kvd_cache_bytes", "Memory of the cache of the table."),
    InfoMetric("store", "cache_hits", "kvd_cache_hits_total", "Keys found in memory."),
    InfoMetric("store", "cache_misses", "kvd_cache_misses_total", "Keys for which the table was asked."),
    InfoMetric("store", "folds", "kvd_folds_total", "Folds of the journal into the table."),
    InfoMetric("store", "fold_last_ms", "kvd_last_fold_duration_seconds", "How long the last fold took.", MS),
    InfoMetric("store", "fold_waits", "kvd_fold_waits_total", "Commits that waited for a fold: it could not keep up."),
    InfoMetric("store", "tokens", "kvd_once_tokens", "Tokens of ONCE that are remembered."),
    InfoMetric("store", "disk_free", "kvd_disk_free_bytes", "Room on the disk of the data directory."),
    InfoMetric(
        "store", "disk_is_short", "kvd_disk_is_short", "1 when the disk is short and writes that grow are FULL."
    ),
    InfoMetric("store", "wal_bytes", "kvd_wal_bytes", WAL_HELP, labels=JOURNAL),
    InfoMetric("store", "table_wal_bytes", "kvd_wal_bytes", WAL_HELP, labels=TABLE),
    InfoMetric("store", "wal_used_bytes", "kvd_journal_wal_used_bytes", "What of the journal's WAL is not copied yet."),
    InfoMetric("traffic", "errors", "kvd_errors_total", "Commands that were answered by an error."),
    InfoMetric("traffic", "denied", "kvd_denied_total", "Commands that their sender may not run."),
    InfoMetric("traffic", "refused_clients", "kvd_refused_clients_total", "Handshakes with a key that is not let in."),
    InfoMetric("traffic", "batches", "kvd_batches_total", "Batches of commands."),
    InfoMetric("traffic", "malformed", "kvd_malformed_messages_total", "Messages that were no request."),
    InfoMetric("traffic", "replies_dropped", "kvd_replies_dropped_total", "Replies to clients that were gone or full."),
    InfoMetric("traffic", "published", "kvd_published_changes_total", "Changes that were published."),
    InfoMetric("traffic", "clients", "kvd_clients", "Connections for commands."),
    InfoMetric("traffic", "watchers", "kvd_watchers", "Connections for changes."),
    InfoMetric("traffic", "watchers_cut", "kvd_watchers_cut_total", "Watchers cut off, to resume: memory, or rights."),
    InfoMetric("traffic", "connections_refused", "kvd_connections_refused_total", "Connections beyond the bound."),
    InfoMetric("traffic", "topics", "kvd_topics", "Different topics that are subscribed to."),
    InfoMetric("traffic", "waiting", "kvd_waiting_requests", "CHANGES that wait for a change."),
    InfoMetric("latency", "max_us", "kvd_request_duration_max_seconds", "The longest of all requests so far.", US),
    InfoMetric("latency", "commits", "kvd_commits_total", "Commits of batches."),
    InfoMetric(
        "latency", "commit_us", "kvd_commit_seconds_total", "Time in commits, the wait for the disk included.", US
    ),
    InfoMetric("latency", "commit_max_us", "kvd_commit_duration_max_seconds", "The longest of all commits so far.", US),
    InfoMetric("latency", "slow", "kvd_slow_commands_total", "Commands and commits that went into the slow log."),
    InfoMetric("process", "started", "kvd_start_time_seconds", "When the daemon began to serve, Unix time.", MS),
    InfoMetric("process", "cpu_ms", "kvd_cpu_seconds_total", "Processor time of all threads.", MS),
    InfoMetric("process", "memory_bytes", "kvd_resident_memory_bytes", "Resident memory of the process."),
    InfoMetric("process", "memory_bytes_max", "kvd_memory_limit_bytes", "Beyond it large replies are BUSY."),
    InfoMetric("process", "memory_is_tight", "kvd_memory_is_tight", "1 when memory is beyond the limit."),
    InfoMetric("process", "connections_max", "kvd_connections_limit", "How many connections there may be."),
)
BUILD = (
    ("process", ("version", "python", "libzmq")),
    ("server", ("protocol", "sqlite", "fsync", "frames", "core", "history")),
)
UP = ("kvd_up", "1 when the daemon answered, else 0.")
BUILD_INFO = ("kvd_build_info", "What the daemon is made of, as labels of a constant 1.")
CALLS = ("kvd_commands_total", "Commands that ran.")
SPENT = ("kvd_command_seconds_total", "Time of the daemon's loop in commands, without decoding and commits.")
DURATION = ("kvd_request_duration_seconds", "From when a request's batch was received until its replies were sent.")


class InfoCollector(Collector):
    """A daemon's INFO, as a collector; None: it did not answer."""

    def __init__(self, info: Info | None) -> None:
        self.info = info

    def collect(self) -> Iterator[Metric]:
        """Yield the metrics. A field that the daemon, an older one, does not tell is left out."""
        yield GaugeMetricFamily(*UP, value=float(self.info is not None))
        if self.info is None:
            return
        yield from _metric_families(self.info)
        yield _build_of(self.info)
        yield from _commands_of(self.info.get("commands", {}))
        if "latency" in self.info:
            yield _durations_of(self.info["latency"])


def _metric_families(info: Info) -> Iterable[Metric]:
    """Return what the table says."""
    families: dict[str, Metric] = {}
    for measure in MEASURES:
        value = info.get(measure.section, {}).get(measure.field, families)
        if value is families:
            continue
        labels = dict(measure.labels)
        if measure.name not in families:
            kind = CounterMetricFamily if measure.kind == "counter" else GaugeMetricFamily
            families[measure.name] = kind(measure.name, measure.help, labels=list(labels))
        families[measure.name].add_metric(list(labels.values()), number_of(value) / measure.per)  # type: ignore[attr-defined]  # of both
    return families.values()


def exposition(info: Info | None, accept: str) -> tuple[str, bytes]:
    """Return the content type and the metrics for who accepts what; without INFO, that the daemon is not up."""
    try:
        encode, kind = choose_encoder(accept)
    except (TypeError, ValueError):  # it asks for a version that is none
        encode, kind = choose_encoder("")
    return kind, encode(InfoCollector(info))


def number_of(value: Any) -> float:
    """Return a value as a number; a sentence, or a yes, is 1, nil is 0."""
    return float(value) if isinstance(value, int | float) else float(value is not None)


def _build_of(info: Info) -> Metric:
    """Return what is a text and does not change."""
    labels = {field: str(info.get(section, {}).get(field, "")) for section, fields in BUILD for field in fields}
    family = GaugeMetricFamily(*BUILD_INFO, labels=list(labels))
    family.add_metric(list(labels.values()), 1)
    return family


def _commands_of(commands: dict[str, dict[str, float]]) -> Iterator[Metric]:
    """Yield how often each command ran, and how long."""
    calls = CounterMetricFamily(*CALLS, labels=["command"])
    spent = CounterMetricFamily(*SPENT, labels=["command"])
    for name, facts in commands.items():
        calls.add_metric([name], facts["calls"])
        spent.add_metric([name], facts["us"] / US)
    yield calls
    yield spent


def _durations_of(latency: dict[str, int]) -> Metric:
    """Return the histogram of requests."""
    bounds = [(found[1], count) for field, count in latency.items() if (found := BELOW.fullmatch(field))]
    buckets = [(str(int(bound) / US), float(count)) for bound, count in bounds]
    buckets.append(("+Inf", float(latency["requests"])))
    return HistogramMetricFamily(*DURATION, buckets=buckets, sum_value=latency["us"] / US)
