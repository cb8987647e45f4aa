"""Completion: the file of cases, and where the word to replace stands."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.kvsh_cases import cases

from kvsh.grammar.completion import Choice, place


def describe(line):
    found = place(line)
    taken = "not " + " ".join(sorted(word.decode() for word in found.taken)) if found.taken else ""
    kind = f"<{found.kind}>" if found.kind else ""
    return " ".join(filter(None, [" ".join(choice.word for choice in found.choices), kind, taken]))


@pytest.mark.parametrize(("line", "expected"), cases("completions.txt"))
def test_what_is_offered_fits_the_place(line, expected):
    assert describe(line) == expected


def test_choices_say_what_they_are():
    assert place(b"set k v ex 5 r").choices == (Choice("revision", "n"),)
    assert place(b"appe").choices == (Choice("append", "Add bytes to the end of a value and return its new length."),)


def test_the_word_to_replace_and_the_words_to_quote_are_told():
    found = place(b'scan "us')
    assert (found.typed.start, found.typed.end, found.typed.value) == (5, 8, b"us")
    assert found.reserved == {b"AFTER", b"LIMIT", b"VALUES", b"FROM", b"TO", b"REVERSE", b"SIZES"}


@given(st.binary() | st.text("setcanlim kv'\"\\ ex").map(str.encode))
def test_no_line_makes_it_fail(line):
    assert place(line).typed.end <= len(line)
