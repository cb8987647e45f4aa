"""Retries after BUSY: which commands, in which order, and for how long."""

from kvd.client.refusals import RETRY_S, Refusals
from kvd.commands.base import Error, Ok
from kvd.errors import OutcomeUnknown

BUSY = Error("BUSY", "far behind", {"outcome": "not executed"})
OK = Ok(1, None)


def test_a_refused_command_and_all_behind_it_wait_in_their_order():
    refusals = Refusals(10)
    assert not refusals.keeps("a", OK, 0)
    assert [refusals.keeps(each, outcome, 0) for each, outcome in (("b", BUSY), ("c", OK), ("d", BUSY))] == [True] * 3
    assert (list(refusals.waiting), refusals.pause_s) == (["b", "c", "d"], RETRY_S)
    assert refusals.keeps("b", BUSY, 5)
    assert not refusals.keeps("b", OK, 6)
    assert (list(refusals.waiting), refusals.pause_s) == (["c", "d"], 0)


def test_patience_begins_again_when_a_command_is_taken():
    refusals = Refusals(10)
    assert refusals.keeps("a", BUSY, 0)
    assert refusals.keeps("a", BUSY, 9)
    assert not refusals.keeps("a", OK, 9.5)
    assert refusals.keeps("b", BUSY, 11)
    assert refusals.keeps("b", BUSY, 20)
    assert not refusals.keeps("b", BUSY, 21)
    assert not refusals.waiting
    assert not refusals.keeps("c", BUSY, 22)  # until one is taken, nobody waits again


def test_after_another_error_nothing_is_sent_again():
    for error in (Error("DENIED", "no", {}), OutcomeUnknown("?")):
        refusals = Refusals(10)
        assert refusals.keeps("a", BUSY, 0)
        assert refusals.keeps("b", OK, 0)
        assert not refusals.keeps("a", error, 1)
        assert not refusals.waiting
