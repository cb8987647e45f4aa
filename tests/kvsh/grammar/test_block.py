"""A text of several lines: where its statements end, which of them is open, and whether a block could run."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kvd.commands.values import Set
from kvsh.grammar.block import Rehearsal, is_open, last_statement, statements, to_run
from kvsh.grammar.parse import parse
from kvsh.grammar.shell import Begin
from kvsh.grammar.transaction import OpenTransaction
from kvsh.grammar.vocabulary import Mistake
from kvsh.words import Unbalanced, split


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (b"", [(b"", 1, 1, False)]),
        (b"get a\nget b", [(b"get a", 1, 1, False), (b"get b", 2, 2, False)]),
        (b"get a\n", [(b"get a", 1, 1, False), (b"", 2, 2, False)]),
        (b"set a '1\n2'\nget a", [(b"set a '1\n2'", 1, 2, False), (b"get a", 3, 3, False)]),
        (b'set a "1\n\\"2\n', [(b'set a "1\n\\"2\n', 1, 3, True)]),
        (b"set a it's\nget a", [(b"set a it's\nget a", 1, 2, True)]),
        (b"# it's\nget a", [(b"# it's", 1, 1, False), (b"get a", 2, 2, False)]),
        (b"  # \"\nget 'a", [(b'  # "', 1, 1, False), (b"get 'a", 2, 2, True)]),
        (b'set a {\n"b": 1\n}', [(b"set a {", 1, 1, False), (b'"b": 1', 2, 2, False), (b"}", 3, 3, False)]),
        (b"get a | it's\nget b", [(b"get a | it's", 1, 1, False), (b"get b", 2, 2, False)]),
        (b"get 'a | b\nc' x|'y\nz'", [(b"get 'a | b\nc' x|'y\nz'", 1, 3, False)]),
    ],
)
def test_statements(text, expected):
    found = list(statements(text))
    assert [(each.text, each.first, each.last, each.is_open) for each in found] == expected
    assert is_open(text) is expected[-1][-1]
    assert last_statement(text) == expected[-1][0]


@given(st.text("a\n \"'\\|#").map(str.encode))
def test_statements_together_are_the_text(text):
    found = list(statements(text))
    assert b"\n".join(each.text for each in found) == text
    assert [each.start for each in found[1:]] == [each.start + len(each.text) + 1 for each in found[:-1]]
    assert found[-1].last == text.count(b"\n") + 1


@given(st.text("a \"'\\").map(str.encode))
def test_a_line_is_open_where_the_parser_misses_the_end_of_a_quote(line):
    try:
        split(line)
        misses_end = False
    except Unbalanced as error:
        misses_end = "not closed" in str(error)
    assert is_open(line) is misses_end


def test_a_large_value_is_scanned_once():
    text = b"set a '" + b"| a | b |\n" * 200_000 + b"'\nget a"
    assert [each.first for each in to_run(text)] == [1, 200_002]


def rehearse(*lines, gathering=None):
    Rehearsal(gathering, [parse(line) for line in lines])


def test_a_block_keeps_to_the_rules_of_transactions():
    rehearse(b"get a", b"begin", b"set a 1", b"format", b"commit", b"ping", b"begin", b"discard")
    for wrong in (
        [b"commit"],
        [b"begin", b"commit"],
        [b"begin", b"begin"],
        [b"begin", b"ping"],
        [b"discard"],
        [b"begin", b"source x"],
        [b"begin", b"every 1 ping"],
    ):
        with pytest.raises(Mistake):
            rehearse(*wrong)


def test_a_block_goes_on_where_the_prompt_stands_and_leaves_that_as_it_is():
    gathering = OpenTransaction(Begin())
    gathering.add(Set(b"a", b"1"))
    rehearse(b"set b 2", b"commit", b"ping", gathering=gathering)
    assert gathering.commands == [Set(b"a", b"1")]
    with pytest.raises(Mistake):
        rehearse(b"ping", gathering=gathering)
