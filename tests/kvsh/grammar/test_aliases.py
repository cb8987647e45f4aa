"""Aliases: where they are read, and where they are not."""

import pytest

from kvsh.grammar.aliases import aliases_of, expand, wrong_alias
from kvsh.grammar.completion import Choice, place

ALIASES = aliases_of({"users": "SCAN user:", "Last": "GET 'last one'"})


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        (b"users", b"SCAN user:"),
        (b" 5 USERS limit 2", b" 5 SCAN user: limit 2"),
        (b"last | jq .", b"GET 'last one' | jq ."),
        (b"user", b"user"),
        (b"'users'", b"'users'"),
        (b"get users", b"get users"),
        (b"", b""),
    ],
)
def test_the_first_word_is_replaced(line, expected):
    assert expand(line, ALIASES) == expected
    assert expand(line, {}) == line


@pytest.mark.parametrize(
    ("name", "text", "is_wrong"),
    [
        ("u", "scan user:", False),
        ("\u00fc-1", "get", False),
        ("1u", "get", True),
        ("a b", "get", True),
        ("get", "scan", True),
        ("transaction", "scan", True),
        ("u", "", True),
        ("u", "u", True),
        ("u", "get 'a", True),
        ("u", "# get", True),
    ],
)
def test_what_may_be_an_alias(name, text, is_wrong):
    assert (wrong_alias(name, text) is not None) is is_wrong


def test_completion_offers_aliases_and_what_follows_them():
    assert place(b"us", ALIASES).choices == (Choice("users", "SCAN user:"),)
    found = place(b"users li", ALIASES)
    assert ([choice.word for choice in found.choices], found.typed.start, found.typed.end) == (["limit"], 6, 8)
    assert place(b"'us", ALIASES).choices == ()
    assert place(b"get us", ALIASES).kind == "key"
