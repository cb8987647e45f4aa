"""TRANSACTION and ONCE."""

from hashlib import blake2b

import pytest
from msgspec import Raw
from support.fakes import NOW, EngineOnDict

from kvd import wire
from kvd.commands import atomic
from kvd.commands.atomic import Once, Transaction, _measure
from kvd.commands.base import NotYet, Ok
from kvd.commands.expiry import Expire, Persist, Ttl
from kvd.commands.keys import ClearPrefix, Count, EntryOf, Exists, Scan
from kvd.commands.values import Append, Clear, Get, Incr, MultiGet, MultiSet, Set, Take, TakeFirst
from kvd.engine import staging
from kvd.limits import ONCE_KEPT_MS

A, B = b"a", b"b"
TOKEN, OTHER = b"token--1", b"token--2"


def set_change(revision, value, previous=0, key=A, expires=None):
    return ("SET", revision, key, value, previous, expires, NOW)


def clear_change(revision, previous, key=A):
    return ("CLEAR", revision, key, None, previous, None, NOW)


def condition(index, message, revision):
    return ("CONFLICT", f"condition {index}: {message}", {"revision": revision, "condition": index})


@pytest.mark.parametrize(
    ("given", "conditions", "commands", "result", "changes"),
    [
        ([], [], [Get(A)], [None], []),
        (
            [],
            [],
            [Set(A, b"1"), Get(A), Incr(A), Get(A)],
            [None, b"1", 2, b"2"],
            [set_change(1, b"1"), set_change(2, b"2", 1)],
        ),
        ([], [(A, 0)], [Set(A, b"1")], [None], [set_change(1, b"1")]),
        ([Set(A, b"1")], [(A, 1), (B, 0)], [Clear([A])], [1], [clear_change(2, 1)]),
        ([Set(A, b"1")], [(A, 0)], [Clear([A])], condition(0, "the key exists, at revision 1", 1), []),
        ([Set(A, b"1")], [(A, 1), (B, 7)], [Clear([A])], condition(1, "the key does not exist", 0), []),
        (
            [],
            [],
            [Set(A, b"x"), Incr(A)],
            (
                "WRONG_TYPE",
                "command 1 (INCR): the value is not a 64-bit integer (1 bytes)",
                {"index": 1},
            ),
            [],
        ),
        (
            [],
            [],
            [Set(A, b"1"), Set(A, b"2", nx=True)],
            ("CONFLICT", "command 1 (SET): the key exists, at revision 1", {"revision": 1, "index": 1}),
            [],
        ),
        (
            [Set(A, b"1")],
            [],
            [Set(A, b"2"), Take(A), Set(B, b"1", ttl=1, at=1)],
            ("BAD_ARGUMENT", "command 2 (SET): ttl and at exclude each other: give one of them", {"index": 2}),
            [],
        ),
        (
            [Set(B, b"2", ttl=9)],
            [],
            [
                Exists([A, B]),
                EntryOf(B),
                Scan(),
                Count(),
                MultiGet([A, B]),
                Ttl(B),
                Persist(B),
                Expire(B, 5),
                Append(B, b"3"),
                MultiSet([(A, b"1")]),
                Take(B),
                ClearPrefix(b""),
            ],
            [
                1,
                {"revision": 1, "created": 1, "expires": NOW + 9, "size": 1},
                [[B], None],
                1,
                [None, b"2"],
                9,
                1,
                1,
                2,
                None,
                b"23",
                1,
            ],
            [
                set_change(2, b"2", 1, B),
                set_change(3, b"2", 2, B, NOW + 5),
                set_change(4, b"23", 3, B, NOW + 5),
                set_change(5, b"1"),
                clear_change(6, 4, B),
                clear_change(7, 5),
            ],
        ),
    ],
)
def test_a_transaction_happens_whole_or_not_at_all(bench, given, conditions, commands, result, changes):
    head = bench.execute(*given).engine.staging.revision
    assert bench.run(Transaction(conditions, commands)) == result
    assert bench.changes(head) == changes


def test_a_key_that_has_expired_does_not_exist_for_a_condition(bench):
    bench.execute(Set(A, b"1", ttl=10)).at(NOW + 10)
    assert bench.run(Transaction([(A, 1)], [Get(A)])) == condition(0, "the key does not exist", 0)
    assert bench.run(Transaction([(A, 0)], [Incr(A)])) == [1]
    assert [change[0] for change in bench.changes(1)] == ["EXPIRED", "SET"]


def test_what_a_transaction_undoes_leaves_the_batch_before_it_as_it_was():
    bench = EngineOnDict(commits=False)
    bench.execute(Set(A, b"1"), Set(A, b"2", ttl=9), Set(B, b"3"), Clear([B]))
    before = bench.changes()
    failing = Transaction([], [Set(A, b"x"), Set(B, b"y"), Set(b"c", b"z"), Incr(A)])
    assert bench.run(failing)[0] == "WRONG_TYPE"
    assert bench.changes() == before
    assert bench.run(MultiGet([A, B, b"c"])) == [b"2", None, None]
    assert bench.run(EntryOf(A)) == {"revision": 2, "created": 1, "expires": NOW + 9, "size": 1}


def test_results_of_more_than_a_reply_holds_undo_the_transaction(bench, monkeypatch):
    monkeypatch.setattr(atomic, "REPLY_BYTES_MAX", 14)
    bench.execute(Set(A, b"12345"))
    assert bench.run(Transaction([], [Get(A), Get(A)])) == [b"12345", b"12345"]
    message = "the results have more than 14 bytes in total: use smaller transactions"
    assert bench.run(Transaction([], [Set(B, b"1"), Get(A), Get(A)])) == ("TOO_LARGE", message, {})
    assert bench.run(Get(B)) is None


@pytest.mark.parametrize(
    "result",
    [None, 0, -1, b"", b"x" * 1000, [b"x", None], [[b"a" * 50, (b"b", 1)], None], Raw(b"\x91\xc4\x01a")],
)
def test_the_size_of_a_result_is_its_size_on_the_wire(result):
    assert _measure(result) == _measure(Raw(wire.encode(result))) == len(wire.encode(result))


# ONCE


def once(command, token=TOKEN):
    return Once(token, command)


def decode_encoded(reply):
    """Return a reply as a client sees it: a stored result is raw msgpack."""
    return wire.decode_reply(wire.encode(reply))


@pytest.mark.parametrize(
    ("given", "command", "result"),
    [
        ([], Incr(A), 1),
        ([], Set(A, b"1"), None),
        ([Set(A, b"1")], Take(A), b"1"),
        ([Set(A, b"1")], Set(A, b"2", previous=True), b"1"),
        ([], Clear([A]), 0),
        ([], Transaction([(A, 0)], [Incr(A), Get(A)]), [1, b"1"]),
        ([Set(A, b"1")], ClearPrefix(b""), 1),
    ],
)
def test_a_write_runs_once_and_its_first_reply_is_given_again(bench, given, command, result):
    head = bench.execute(*given).engine.staging.revision
    first = bench.reply(once(command))
    assert first.result == result
    changes = bench.changes()
    bench.execute(Set(b"other", b"1"))
    again = bench.reply(once(command))
    assert isinstance(again.result, Raw)
    assert decode_encoded(again) == decode_encoded(first) == Ok(len(changes), result)
    assert bench.changes(head)[:-1] == changes[head:]


@pytest.mark.parametrize(
    ("command", "array"),
    [
        (Clear([A]), ["CLEAR", [A]]),
        (Take(A), ["TAKE", A]),
        (Expire(A, 5), ["EXPIRE", A, 5]),
        (Persist(A), ["PERSIST", A]),
        (MultiSet([(A, b"1")]), ["MULTISET", [[A, b"1"]]]),
        (Transaction([], [Clear([A]), Take(A)]), ["TRANSACTION", [], [["CLEAR", [A]], ["TAKE", A]]]),
    ],
)
def test_what_a_token_was_used_for_before_fields_were_added_counts_after_it(bench, command, array):
    bench.execute(once(command))
    digest = blake2b(wire.encode(array), digest_size=16).digest()
    assert bench.engine.staging.find_once(TOKEN).digest == digest


def test_a_wait_is_not_remembered_and_what_it_takes_is(bench):
    waiting = once(TakeFirst(A, 5))
    assert bench.run(waiting) == NotYet(0, A, 5)
    assert waiting.wait_ms == 5
    assert once(Take(A)).wait_ms is None
    bench.execute(Set(A, b"1"), Set(B, b"2"))
    assert bench.run(waiting) == (A, b"1")
    assert decode_encoded(bench.reply(waiting)).result == [A, b"1"]


def test_nothing_is_waited_for_within_a_transaction(bench):
    bench.execute(Set(A, b"1"))
    message = "command 1 (TAKEFIRST): a transaction cannot wait: leave WAIT out"
    refused = ("BAD_ARGUMENT", message, {"index": 1})
    assert bench.run(Transaction([], [Get(A), TakeFirst(A, 5)])) == refused
    assert bench.run(Transaction([], [TakeFirst(A), TakeFirst(A)])) == [(A, b"1"), None]


def test_a_token_knows_a_command_with_an_added_field_from_one_without(bench):
    bench.execute(Set(A, b"1"), once(Take(A, revision=1)))
    assert bench.run(once(Take(A)))[0] == "CONFLICT"
    assert decode_encoded(bench.reply(once(Take(A, revision=1)))).result == b"1"


def test_a_token_of_another_command_is_refused(bench):
    bench.execute(once(Incr(A)))
    message = "this token was used for another command: use a new token for each write"
    assert bench.run(once(Incr(A, 2))) == ("CONFLICT", message, {"revision": 1})
    assert bench.run(once(Incr(A, 2), OTHER)) == 3


def test_a_write_that_was_refused_is_not_remembered(bench):
    bench.execute(Set(A, b"x"))
    assert bench.run(once(Incr(A)))[0] == "WRONG_TYPE"
    bench.execute(Set(A, b"1"))
    assert bench.run(once(Incr(A))) == 2


def test_a_token_is_kept_for_two_minutes_and_then_free(bench):
    assert bench.run(once(Incr(A))) == 1
    bench.at(NOW + ONCE_KEPT_MS - 1)
    assert decode_encoded(bench.reply(once(Incr(A)))).result == 1
    bench.at(NOW + ONCE_KEPT_MS)
    assert bench.run(once(Append(A, b"0"))) == 2
    assert bench.run(Get(A)) == b"10"


def test_when_too_many_tokens_are_kept_a_new_one_is_refused_and_nothing_runs(bench, monkeypatch):
    monkeypatch.setattr(staging, "ONCE_TOKENS_MAX", 2)
    bench.execute(once(Incr(A)), once(Incr(A), OTHER))
    message = "2 tokens of ONCE are stored already; the oldest expires within two minutes"
    assert bench.run(once(Incr(A), b"token--3")) == ("BUSY", message, {})
    assert decode_encoded(bench.reply(once(Incr(A)))).result == 1
    assert bench.run(Get(A)) == b"2"


def test_a_transaction_under_once_is_undone_whole(bench):
    command = once(Transaction([], [Set(A, b"x"), Incr(A)]))
    assert bench.run(command)[0] == "WRONG_TYPE"
    assert bench.changes() == []
