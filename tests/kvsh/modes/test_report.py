"""Rows, sizes, rates and bars as text; the line that is drawn again."""

import os
import pty
import termios

import pytest

import kvsh.ui.progress
from kvsh.modes.progress import progress_of
from kvsh.modes.report import bar, head_text, rate_text, row_text, size_text, table_text
from kvsh.ui.progress import COLUMNS_DEFAULT, columns
from kvsh.ui.settings import Settings


@pytest.mark.parametrize(
    ("size", "text"),
    [
        (0, "0 B"),
        (1023, "1023 B"),
        (1024, "1.0 KiB"),
        (1536, "1.5 KiB"),
        (16 * 1024**2, "16.0 MiB"),
        (3 * 1024**4, "3.0 TiB"),
        (5000 * 1024**4, "5000.0 TiB"),
    ],
)
def test_sizes(size, text):
    assert size_text(size) == text


@pytest.mark.parametrize(("rate", "text"), [(0.0, "0"), (0.5, "0.5"), (9.9, "9.9"), (9.96, "10"), (12_345.6, "12,346")])
def test_rates(rate, text):
    assert rate_text(rate) == text


def test_bars_are_as_wide_as_told_and_any_count_is_seen():
    assert [bar(count, 1000, 10) for count in (0, 1, 500, 1000)] == ["", "#", "#####", "##########"]


def test_rows():
    assert row_text("raw", ["largest", 3, b"a b\xff"]) == b"largest 3 a b\xff\n"
    assert row_text("csv", ["largest", 3, b'a,"b']) == b'largest,3,"a,""b"\r\n'
    assert row_text("raw", ["prefix", None]) == b"prefix -\n"
    assert row_text("csv", ["prefix", None]) == b"prefix,\r\n"


def test_tables_have_their_names_once():
    assert [head_text(form, ["a", "b"]) for form in ("raw", "csv", "json")] == [b"a b\n", b"a,b\r\n", b""]
    values = {"a": 1, "b": 2.5}
    texts = [table_text(form, values) for form in ("raw", "csv", "json")]
    assert texts == [b"1 2.5\n", b"1,2.5\r\n", b'{"a":1,"b":2.5}\n']


@pytest.fixture
def written(monkeypatch):
    found = []
    monkeypatch.setattr(kvsh.ui.progress.os, "write", lambda _, data: found.append(data))
    return found


SETTINGS = Settings(url="", timeout=1, form="raw", progress=True)


def test_a_shorter_line_covers_the_longer_before_it(written):
    progress = progress_of(SETTINGS)
    progress.draw("12345")
    progress.draw("123")
    progress.clear()
    progress.clear()
    assert written == [b"\r12345", b"\r123  ", b"\r       \r"]


def test_a_line_too_long_is_cut(written):
    progress_of(SETTINGS).draw("x" * 200)
    assert written == [b"\r" + b"x" * (columns(2) - 1)]


def test_it_is_drawn_a_few_times_a_second_only(written, monkeypatch):
    now = 100.0
    monkeypatch.setattr(kvsh.ui.progress.time, "monotonic", lambda: now)
    progress = progress_of(SETTINGS)
    assert progress.is_due()
    progress.draw("x")
    assert not progress.is_due()
    now = 100.11
    assert progress.is_due()


@pytest.mark.parametrize(
    ("changed", "is_terminal"),
    [({"progress": False}, True), ({"progress": None, "quiet": True}, True), ({"progress": None}, False)],
)
def test_it_is_not_shown_where_nobody_wants_it(written, monkeypatch, changed, is_terminal):
    monkeypatch.setattr(kvsh.ui.progress.os, "isatty", lambda _: is_terminal)
    progress = progress_of(SETTINGS._replace(**changed))
    progress.draw("x")
    progress.clear()
    assert (written, progress.is_due()) == ([], False)


def test_how_wide_a_terminal_is():
    ours, theirs = pty.openpty()
    try:
        assert columns(theirs) == COLUMNS_DEFAULT  # a new one says 0
        termios.tcsetwinsize(theirs, (24, 132))
        assert columns(theirs) == 132
    finally:
        os.close(ours)
        os.close(theirs)
    assert columns(theirs) == COLUMNS_DEFAULT
