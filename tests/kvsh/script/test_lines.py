"""Lines from chunks: wherever the chunks are cut the lines are the same."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kvsh.script import lines as module
from kvsh.script.lines import Lines, LineTooLong


def lines_of(chunks):
    splitter = Lines()
    return [line for chunk in chunks for line in splitter.feed(chunk)] + splitter.finish()


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (b"", []),
        (b"a", [b"a"]),
        (b"a\n", [b"a"]),
        (b"a\r\n\r\nb\r", [b"a", b"", b"b"]),
        (b"\xef\xbb\xbfa\n\xef\xbb\xbfb", [b"a", b"\xef\xbb\xbfb"]),
        (b"a\rb\x00\n", [b"a\rb\x00"]),
    ],
)
def test_lines_are_cut_at_newlines(text, expected):
    assert lines_of([text]) == expected


@given(st.text("a\r\n\ufeff").map(str.encode), st.integers(min_value=1, max_value=5))
def test_it_does_not_matter_where_the_chunks_are_cut(text, size):
    assert lines_of([text[at : at + size] for at in range(0, len(text), size)]) == lines_of([text])


def test_a_line_that_no_command_can_be_is_refused(monkeypatch):
    monkeypatch.setattr(module, "LINE_BYTES_MAX", 3)
    splitter = Lines()
    assert splitter.feed(b"abc\nabc") == [b"abc"]
    with pytest.raises(LineTooLong, match="longer than 3 bytes"):
        splitter.feed(b"d")
