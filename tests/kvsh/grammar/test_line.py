"""The parts of a prompt line around the command: a count, a redirection."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kvsh.grammar.line import Sink, split_prompt_line, without_count
from kvsh.grammar.vocabulary import Mistake


@pytest.mark.parametrize(
    ("line", "times", "words", "sink"),
    [
        (b"get k", 1, [b"get", b"k"], None),
        (b" 5 incr x", 5, [b"incr", b"x"], None),
        (b"5", 1, [b"5"], None),
        (b"get k | jq '.a | .b' > x", 1, [b"get", b"k"], Sink("|", b"jq '.a | .b' > x")),
        (b"get k | it's", 1, [b"get", b"k"], Sink("|", b"it's")),
        (b'set k "a | b"', 1, [b"set", b"k", b"a | b"], None),
        (b'set k "a | b" | cat', 1, [b"set", b"k", b"a | b"], Sink("|", b"cat")),
        (b"get k > 'a b'", 1, [b"get", b"k"], Sink(">", b"a b")),
        (b"2 get k >> f", 2, [b"get", b"k"], Sink(">>", b"f")),
        (b'get ">"', 1, [b"get", b">"], None),
        (b"get '| |' x|x y| | z | y", 1, [b"get", b"| |", b"x|x", b"y|"], Sink("|", b"z | y")),
        (b"get a>b", 1, [b"get", b"a>b"], None),
        (b"get k >file", 1, [b"get", b"k"], Sink(">", b"file")),
        (b"get k >>file", 1, [b"get", b"k"], Sink(">>", b"file")),
        (b"get k >'a b'", 1, [b"get", b"k"], Sink(">", b"a b")),
        (b"get k '>file'", 1, [b"get", b"k", b">file"], None),
        (b"get k |wc -c", 1, [b"get", b"k"], Sink("|", b"wc -c")),
        (b"get k || wc", 1, [b"get", b"k", b"||", b"wc"], None),
        (b"get a|b", 1, [b"get", b"a|b"], None),
        (b"999999 incr x", 999_999, [b"incr", b"x"], None),
    ],
)
def test_a_line_is_taken_apart(line, times, words, sink):
    found = split_prompt_line(line)
    assert (found.times, [word.value for word in found.words], found.sink) == (times, words, sink)


@pytest.mark.parametrize(
    ("line", "message"),
    [
        (b"get k >", '> sends the result into one file; in quotes, ">", it is the character'),
        (b"get k > a b", "> sends the result into one file"),
        (b"get k >>a b", ">> sends the result into one file"),
        (b'get k >""', "> sends the result into one file"),
        (b"get 'k", "this quote is not closed"),
        (b"get 'k | cat", "this quote is not closed"),
        (b"1000000 INCR x", 'a command runs 1 to 999999 times, not "1000000"'),
        (b"9" * 5000 + b" INCR x", "a command runs 1 to 999999 times"),
        (b"0 INCR x", 'a command runs 1 to 999999 times, not "0"'),
    ],
)
def test_mistakes(line, message):
    with pytest.raises(Mistake) as raised:
        split_prompt_line(line)
    assert message in raised.value.message


def test_a_value_with_many_pipes_is_read_once():
    table = b"| a | b |\n" * 200_000
    assert split_prompt_line(b"set k '" + table + b"' | cat").words[2].value == table


@given(st.binary() | st.text("5 |>'\"k").map(str.encode))
def test_words_stay_where_they_are_without_the_count(line):
    assert len(without_count(line)) == len(line)
