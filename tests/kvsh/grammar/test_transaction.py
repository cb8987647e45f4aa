"""BEGIN ... COMMIT: what is gathered becomes one TRANSACTION."""

import pytest

from kvd.commands.atomic import Transaction
from kvd.commands.server import Ping
from kvd.commands.values import Get, Set
from kvsh.grammar import transaction
from kvsh.grammar.parse import parse
from kvsh.grammar.transaction import OpenTransaction
from kvsh.grammar.vocabulary import Mistake


def test_commands_are_gathered_with_their_conditions():
    gathering = OpenTransaction(parse(b"begin if a 1 'b c' 0"))
    gathering.add(Set(b"k", b"v"))
    gathering.add(Get(b"k"))
    assert gathering.transaction() == Transaction([(b"a", 1), (b"b c", 0)], [Set(b"k", b"v"), Get(b"k")])


def test_what_no_transaction_can_run_is_told_at_once():
    with pytest.raises(Mistake, match="PING cannot be part of a transaction"):
        OpenTransaction(parse(b"begin")).add(Ping())


def test_an_empty_transaction_is_not_sent():
    with pytest.raises(Mistake, match="no commands since BEGIN"):
        OpenTransaction(parse(b"begin")).transaction()


@pytest.mark.parametrize("line", [b"begin if a x", b"begin if a -1", b"begin if a 9223372036854775808"])
def test_a_revision_is_a_number(line):
    with pytest.raises(Mistake, match="a revision is a number from 0, not"):
        OpenTransaction(parse(line))


def test_it_is_bounded(monkeypatch):
    monkeypatch.setattr(transaction, "TRANSACTION_COMMANDS_MAX", 1)
    gathering = OpenTransaction(parse(b"begin"))
    gathering.add(Get(b"a"))
    with pytest.raises(Mistake, match="at most 1 commands"):
        gathering.add(Get(b"b"))


def test_a_script_does_not_send_what_had_a_wrong_line_in_it():
    gathering = OpenTransaction(parse(b"begin"))
    gathering.add(Get(b"a"))
    gathering.mark_failed()
    with pytest.raises(Mistake, match="a line in it was wrong"):
        gathering.transaction()
