"""Hints: the file of cases, and that they shrink."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.kvsh_cases import cases

from kvsh.grammar.hints import hint


@pytest.mark.parametrize(("line", "expected"), cases("hints.txt"))
def test_the_hint_is_what_is_still_to_type(line, expected):
    assert hint(line) == expected


@given(st.binary() | st.text("setcanlim kv'\"\\ ex").map(str.encode))
def test_no_line_makes_it_fail(line):
    assert isinstance(hint(line), str)
