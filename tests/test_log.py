"""The log: each call has an event that docs/events.md lists, and no value breaks a line or pretends to be a field."""

import ast
import io
import json
import logging
import os
import re
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kvd import log as kvd_log
from kvd.log import Json, Logfmt, event_of, is_journald, set_up, template_of

ROOT = Path(__file__).resolve().parent.parent
LEVELS = {"debug": "debug", "info": "info", "warning": "warning", "warn": "warning", "error": "error",
          "exception": "error", "critical": "critical"}  # fmt: skip
RESERVED = {"time", "level", "event", "message", "traceback"}
THE_SPARING_ONE = ("authenticator.py", "message")  # hands on what it was given


def calls():
    """Yield file, line, method and the text of each call that logs; None where the call does not show the text."""
    for path in sorted((ROOT / "kvd").rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text())):
            if not (isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.func.attr in LEVELS):
                continue
            owner = ast.unparse(node.func.value)
            if owner not in ("log", "logging", "self.refusal_log"):
                continue
            text = node.args[1 if owner == "self.refusal_log" else 0]
            if (path.name, ast.unparse(text)) != THE_SPARING_ONE:
                is_told = isinstance(text, ast.Constant)
                yield path.name, node.lineno, node.func.attr, text.value if is_told else None


def read_documented_events():
    rows = re.findall(r"^\| `([a-z_]+)` \| ([a-z]+) \|", (ROOT / "docs/events.md").read_text(), re.MULTILINE)
    assert len(rows) == len(dict(rows))
    return dict(rows)


def test_the_walk_finds_the_calls():
    assert len(list(calls())) >= 20


def test_each_call_has_an_event_and_its_fields_have_names_of_their_own():
    for file, line, _, text in calls():
        assert text is not None, f"{file}:{line}: what is logged has to be a text with %s, not put together before"
        template = template_of(text)
        assert template is not None, f"{file}:{line}: the log says event=name field=%s ... sentence"
        _, fields, sentence = template
        names = [name for name, _ in fields]
        assert not RESERVED & set(names), f"{file}:{line}"
        assert len(names) == len(set(names)), f"{file}:{line}"
        assert not re.match(r"\w+=", sentence), f"{file}:{line}: a field that is not read as one: {sentence}"


def test_the_docs_list_each_event_with_its_level_and_no_other():
    found = {}
    for _, _, method, text in calls():
        found.setdefault(template_of(text)[0], set()).add(LEVELS[method])
    assert {event: {level} for event, level in read_documented_events().items()} == {**found, kvd_log.OTHER: {"any"}}


def record(text, *values, level=logging.INFO, exc_info=None):
    made = logging.LogRecord("kvd", level, "x.py", 1, text, values, exc_info)
    made.created = 1_700_000_000.1234
    return made


BACKUP = "event=backup path=%s revision=%d seconds=%.1f"


def test_logfmt():
    assert Logfmt().format(record(BACKUP, Path("/b/monday.kvd"), 7, 1.23)) == (
        "time=2023-11-14T22:13:20.123Z level=info event=backup path=/b/monday.kvd revision=7 seconds=1.2"
    )
    assert Logfmt().format(record("event=x key=%r %s; look 100%% at it", b"a b", "why", level=logging.ERROR)) == (
        'time=2023-11-14T22:13:20.123Z level=error event=x key="b\'a b\'" message="why; look 100% at it"'
    )


def test_json():
    assert json.loads(Json().format(record(BACKUP + " done by %s", "/b", 7, 1.23, "ada"))) == {
        "time": "2023-11-14T22:13:20.123Z", "level": "info", "event": "backup",
        "path": "/b", "revision": 7, "seconds": 1.2, "message": "done by ada",
    }  # fmt: skip


@pytest.mark.parametrize(
    ("level", "head"),
    [(10, "<7>"), (20, "<6>"), (30, "<4>"), (40, "<3>"), (50, "<2>"), (35, "<6>")],
)
def test_journald_gets_priorities_and_no_time(level, head):
    assert Logfmt(with_priority=True).format(record("event=x", level=level)).startswith(f"{head}level=")


@pytest.mark.parametrize(
    ("text", "values", "event", "fields", "sentence"),
    [
        ("event=x", (), "x", {}, ""),
        ("event=x 100% sure", (), "x", {}, "100% sure"),
        ("event=x n=%d", (True,), "x", {"n": "1"}, ""),
        ("event=x n=%s", (None,), "x", {"n": "None"}, ""),
        ("event=x a=%s b=%s is a=%s", (1, "event=y", 3), "x", {"a": 1, "b": "event=y"}, "is a=3"),
        ("event=x n=%d: told", (1,), "x", {}, "n=1: told"),
        ("hello %s", ("you",), "other", {}, "hello you"),
        ("%(a)s", ({"a": 1},), "other", {}, "1"),
    ],
)
def test_what_a_record_tells(text, values, event, fields, sentence):
    assert event_of(record(text, *values)) == (event, fields, sentence)


@given(st.text(), st.text())
def test_no_value_breaks_a_line_or_makes_a_field(value, other):
    made = record("event=x field=%s %s", value, other)
    line = Logfmt().format(made)
    assert line.isprintable()
    names = re.findall(r'(?:^| )([a-z]+)=(?:"(?:[^"\\]|\\.)*"|[^\s"=\\]+)(?=$| )', line)
    assert names == ["time", "level", "event", "field", "message"][: 5 if other else 4]
    assert len(re.sub(r'"(?:[^"\\]|\\.)*"', "Q", line).split(" ")) == len(names)
    document = Json().format(made)
    assert document.isprintable()
    assert json.loads(document)["field"] == value
    assert json.loads(document).get("message", "") == other


def test_a_traceback_is_in_the_line():
    error = ZeroDivisionError("a\nb")
    made = record("event=defect it broke", exc_info=(type(error), error, None))
    assert "\n" not in Logfmt().format(made)
    assert "ZeroDivisionError: a\\nb" in Logfmt().format(made)
    assert "ZeroDivisionError: a\nb" in json.loads(Json().format(made))["traceback"]


def test_journald_is_told_by_the_stream_and_not_by_the_variable_alone(tmp_path, monkeypatch):
    with (tmp_path / "ours").open("w") as ours, (tmp_path / "other").open("w") as other:
        place = os.fstat(ours.fileno())
        monkeypatch.setenv("JOURNAL_STREAM", f"{place.st_dev}:{place.st_ino}")
        assert is_journald(ours)
        assert not is_journald(other)
        monkeypatch.delenv("JOURNAL_STREAM")
        assert not is_journald(ours)
    assert not is_journald(io.StringIO())


@pytest.fixture
def root_logger():
    root = logging.getLogger()
    before = root.handlers[:], root.level
    yield root
    root.handlers[:], level = before
    root.setLevel(level)


@pytest.mark.parametrize(
    ("form", "is_journal", "head"),
    [("auto", False, "time="), ("auto", True, "<4>level=warning event=x n=1\n"), ("logfmt", True, "time="),
     ("json", True, '{"time": ')],
)  # fmt: skip
def test_set_up(tmp_path, monkeypatch, root_logger, form, is_journal, head):
    with (tmp_path / "log").open("w") as file:
        monkeypatch.setattr("sys.stderr", file)
        place = os.fstat(file.fileno())
        monkeypatch.setenv("JOURNAL_STREAM", f"{place.st_dev}:{place.st_ino}" if is_journal else "")
        set_up("warning", form)
        logging.getLogger("kvd").info("event=x n=%d", 0)
        logging.getLogger("kvd").warning("event=x n=%d", 1)
    [line] = (tmp_path / "log").read_text().splitlines(keepends=True)
    assert line.startswith(head)
