"""Questions before keys are deleted."""

import pytest

from kvd.commands.atomic import Transaction
from kvsh.grammar.parse import parse
from kvsh.repl.confirm import deletions_of


@pytest.mark.parametrize(
    ("line", "counts", "question"),
    [
        ('clearprefix ""', [1234], "delete ALL keys (1,234 keys)?"),
        ('clearprefix ""', [1], "delete ALL keys (1 key)?"),
        ('clearprefix ""', [None], "delete ALL keys?"),
        ('clearprefix ""', [0], None),
        ('clearprefix "" limit 5', [9], 'delete 5 keys with the prefix ""?'),
        ("clearprefix a", [1], 'delete 1 key with the prefix "a"?'),
        ("clearprefix a", [0], None),
        ("clearprefix a", [None], 'delete all keys with the prefix "a"?'),
        ("clearprefix a limit 5", [2], 'delete 2 keys with the prefix "a"?'),
        ("once token-12 clearprefix a", [2], 'delete 2 keys with the prefix "a"?'),
        ("clear 1 2 3 4 5 6 7 8 9", [], None),
        ("clear 1 2 3 4 5 6 7 8 9 10", [], "delete 10 keys?"),
        ("takefirst ''", [], None),
        ("scan ''", [], None),
        ("set a 1", [], None),
        ("commands clearprefix", [], None),
    ],
)
def test_the_question(line, counts, question):
    assert deletions_of(parse(line.encode()), confirm=True).question(counts) == question


def test_a_transaction_is_asked_about_as_a_whole():
    lines = ("clearprefix a", "clear 1 2 3 4 5", "set x 1", "clearprefix b", "clear 1 2 3 4 5")
    found = deletions_of(Transaction([], [parse(line.encode()) for line in lines]), confirm=True)
    assert [each.prefix for each in found.prefixes] == [b"a", b"b"]
    assert found.question([0, 3]) == 'delete 3 keys with the prefix "b" and 10 keys?'


@pytest.mark.parametrize(
    ("line", "is_asked"),
    [
        ('clearprefix ""', True),
        ('clearprefix "" limit 5', False),
        ("clearprefix a", False),
        ("clear " + "k " * 99, False),
    ],
)
def test_without_confirmation_only_the_end_of_all_keys_is_asked_about(line, is_asked):
    found = deletions_of(parse(line.encode()), confirm=False)
    assert (found.question([7] * len(found.prefixes)) is not None) is is_asked
