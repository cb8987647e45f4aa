"""Times and durations of maps: read by a person at a terminal, numbers everywhere else."""

import datetime as dt
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kvsh.render.figures import date_of, duration_text, figure_text, time_text

EPOCH = dt.date(1970, 1, 1)


@given(st.dates(EPOCH))
def test_a_date_is_the_calendars(date):
    assert date_of((date - EPOCH).days) == (date.year, date.month, date.day)


@given(st.datetimes(dt.datetime(1973, 4, 1), dt.datetime(9999, 1, 1)))  # noqa: DTZ001  # UTC is added
def test_a_time_is_the_clocks(moment):
    moment = moment.replace(microsecond=moment.microsecond // 1000 * 1000, tzinfo=dt.UTC)
    ms = round(moment.timestamp() * 1000)
    assert time_text(ms) == moment.strftime("%Y-%m-%d %H:%M:%S.%f").zfill(26)[:-3] + " UTC"


@pytest.mark.parametrize(
    ("us", "text"),
    [
        (0, "0 us"),
        (41.47, "41.5 us"),
        (999.6, "1000 us"),
        (8461, "8.46 ms"),
        (586_995, "587 ms"),
        (999_900, "1000 ms"),
        (5_397_000, "5.4 s"),
        (59_999_000, "60 s"),
        (68_000_000, "1 min 8 s"),
        (11_520_000_000, "3 h 12 min"),
        (183_600_000_000, "2 d 3 h"),
    ],
)
def test_durations(us, text):
    assert duration_text(us) == text


@pytest.mark.parametrize(
    ("name", "value", "text"),
    [
        ("time", 1795996477924, "2026-11-29 23:54:37.924 UTC"),
        ("us", 127536, "128 ms"),
        ("uptime_ms", 5397, "5.4 s"),
        ("read_only", None, "false"),
        ("read_only", "the disk is full", None),
        ("below_16_us", 12, None),
        ("expires", None, None),
        ("time", 5, None),
        ("keys", 5, None),
        ("alarms", 5, None),
        ("is_ms", True, None),
    ],
)
def test_what_has_a_unit(name, value, text):
    assert figure_text(name, value) == text


@pytest.mark.parametrize("form", ["--terminal", "--pretty"])
def test_what_a_daemon_tells_of_itself_can_be_read(kvsh, kv, form):
    kv.set("k", "v", ttl=1000)
    form = [form] if form == "--terminal" else ["--format", "pretty"]
    for words, names in [
        (["info"], ["uptime_ms", "started", "cpu_ms"]),
        (["entry", "k"], ["expires"]),
    ]:
        lines = [line.split(None, 1) for line in kvsh(*form, *words)[1].decode().splitlines()]
        shown = {name: rest[0] for name, *rest in lines if rest}
        assert {name for name in names if shown[name].endswith((" UTC", " s", " ms", " us", " min"))} == set(names)
        document = json.loads(kvsh("--json", *words)[1])
        assert all(str(value).isdigit() for name, value in items(document) if name in names)
        raw = kvsh("--raw", *words)[1].decode().splitlines()
        assert all(line.split()[-1].isdigit() for line in raw if line.split()[0].rpartition(".")[2] in names)
    head, row, *_ = kvsh(*form, "clients")[1].decode().splitlines()
    assert "since" in head
    assert row.endswith(" UTC")


def items(document):
    """Yield all names and values of a document."""
    for each in document if isinstance(document, list) else [document]:
        for name, value in each.items() if isinstance(each, dict) else ():
            yield name, value
            if isinstance(value, dict | list):
                yield from items(value)


def test_the_buckets_of_latency_are_in_order(kvsh, kv):
    """The slowest request of a burst may be the first: its bucket is not the first of the list."""
    for _ in range(50):
        kv.get("k")
    buckets = [
        name for name in json.loads(kvsh("--json", "info", "latency")[1])["latency"] if name.startswith("below_")
    ]
    assert buckets == sorted(buckets, key=lambda name: int(name.split("_")[1]))


def test_one_way_to_say_no(kvsh):
    lines = [line.split() for line in kvsh("--terminal", "info", "server")[1].decode().splitlines()]
    assert ["read_only", "false"] in lines
    assert ["keys", "false"] in lines
