"""The dashboard and the alerts: each metric they name is one that `kvd metrics` serves, each alert says what to do."""

import json
import re
from pathlib import Path

import pytest
import yaml

from kvd.gateways.common.prometheus import BUILD, BUILD_INFO, CALLS, DURATION, METRICS, SPENT, UP

CONF = Path(__file__).resolve().parent.parent / "conf"
DASHBOARD = json.loads((CONF / "grafana-dashboard.json").read_text())
ALERTS = [rule for group in yaml.safe_load((CONF / "alerts.yaml").read_text())["groups"] for rule in group["rules"]]
SERVED = {measure.name for measure in METRICS} | {UP[0], BUILD_INFO[0], CALLS[0], SPENT[0]}
SERVED |= {DURATION[0] + end for end in ("_bucket", "_sum", "_count")}
COUNTERS = {name for name in SERVED if name.endswith(("_total", "_bucket", "_sum", "_count"))}
LABELS = {"instance", "le", "command", *(label for measure in METRICS for label, _ in measure.labels)}
LABELS |= {field for _, fields in BUILD for field in fields}
FUNCTIONS = {"absent", "changes", "predict_linear", "histogram_quantile", "rate", "increase", "sum", "by", "on"}


def targets():
    return [(panel["title"], target) for panel in DASHBOARD["panels"] for target in panel["targets"]]


EXPRESSIONS = [(rule["alert"], rule["expr"]) for rule in ALERTS]
EXPRESSIONS += [(title, target["expr"]) for title, target in targets()]


@pytest.mark.parametrize(("where", "expression"), EXPRESSIONS)
def test_an_expression_names_what_is_served_and_takes_rates_of_counters_alone(where, expression):
    assert expression.count("(") == expression.count(")")
    plain = re.sub(r"\{[^}]*\}|\[[^]]*\]|\b[0-9.]+\b", "", expression)
    words = set(re.findall(r"[a-z_]+", plain))
    assert words - SERVED - FUNCTIONS - LABELS == set(), where
    assert words & SERVED, where
    rated = set(re.findall(r"\b(?:rate|increase)\((kvd_\w+)", expression))
    assert rated <= COUNTERS
    assert words & COUNTERS <= rated, f"{where}: a counter says something by its rate"


@pytest.mark.parametrize("rule", ALERTS, ids=lambda rule: rule["alert"])
def test_an_alert_says_what_to_do(rule):
    summary = rule["annotations"]["summary"]
    assert re.search(r"[:,;.] \S", summary)
    assert summary.endswith(".")
    assert rule["labels"]["severity"] in ("page", "ticket")
    assert rule["expr"].startswith("absent") or "{{ $labels.instance }}" in summary
    for label in re.findall(r"\$labels\.(\w+)", summary):
        assert label in LABELS


def test_alerts_have_names_of_their_own_and_the_important_ones_are_there():
    names = [rule["alert"] for rule in ALERTS]
    assert len(names) == len(set(names))
    told = {name for _, expression in EXPRESSIONS[: len(ALERTS)] for name in re.findall(r"kvd_\w+", expression)}
    assert {"kvd_up", "kvd_read_only", "kvd_disk_is_short", "kvd_fold_waits_total", "kvd_watchers_cut_total",
            "kvd_request_duration_seconds_bucket", "kvd_wal_bytes", "kvd_resident_memory_bytes",
            "kvd_start_time_seconds"} <= told  # fmt: skip


def test_every_event_that_an_alert_sends_to_is_in_the_docs():
    events = set(re.findall(r"event=(\w+)", (CONF / "alerts.yaml").read_text()))
    documented = (CONF.parent / "docs/events.md").read_text()
    assert events
    assert [event for event in events if f"| `{event}` |" not in documented] == []


def test_panels_do_not_overlap_and_fit():
    places = set()
    for panel in DASHBOARD["panels"]:
        at = panel["gridPos"]
        own = {(x, y) for x in range(at["x"], at["x"] + at["w"]) for y in range(at["y"], at["y"] + at["h"])}
        assert max(x for x, _ in own) < 24
        assert not own & places
        places |= own
    assert len({panel["id"] for panel in DASHBOARD["panels"]}) == len(DASHBOARD["panels"])


def test_the_legends_name_labels_that_there_are():
    for title, target in targets():
        assert set(re.findall(r"\{\{(\w+)\}\}", target["legendFormat"])) <= LABELS, title
        by = re.search(r"by \(([^)]*)\)", target["expr"])
        if by is not None:
            left = {word.strip() for word in by[1].split(",")}
            assert set(re.findall(r"\{\{(\w+)\}\}", target["legendFormat"])) <= left, title
