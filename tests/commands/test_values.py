"""The family `values`: rows of earlier commands, a command, its result and its changes."""

import pytest
from support.fakes import NOW

from kvd.commands.base import NotYet
from kvd.commands.values import Append, Clear, Get, GetRange, Incr, MultiGet, MultiSet, Set, StrLen, Take, TakeFirst
from kvd.engine import staging
from kvd.limits import INTEGER_MAX, VALUE_BYTES_MAX

A, B = b"a", b"b"
SET_A = Set(A, b"1")
FADING = Set(A, b"1", ttl=10)
LOWEST, HIGHEST = -INTEGER_MAX - 1, INTEGER_MAX
NOT_AN_INTEGER = "the value is not a 64-bit integer ({} bytes)"


def set_change(revision=1, value=b"1", previous=0, expires=None, key=A):
    return ("SET", revision, key, value, previous, expires, NOW)


def delete_change(revision, previous, key=A, kind="CLEAR", time=NOW):
    return (kind, revision, key, None, previous, None, time)


EXISTS = ("CONFLICT", "the key exists, at revision 1", {"revision": 1})
MOVED = ("CONFLICT", "the key is at revision 1, not 2", {"revision": 1})
MISSING = ("CONFLICT", "the key does not exist", {"revision": 0})


def exclude(one, other):
    return ("BAD_ARGUMENT", f"{one} and {other} exclude each other: give one of them", {})


@pytest.mark.parametrize(
    ("given", "command", "result", "changes"),
    [
        # SET
        ([], SET_A, None, [set_change()]),
        ([], Set(A, b""), None, [set_change(value=b"")]),
        ([SET_A], Set(A, b"2"), None, [set_change(2, b"2", 1)]),
        ([SET_A, SET_A], Set(A, b"2"), None, [set_change(3, b"2", 2)]),
        ([], Set(A, b"1", ttl=5), None, [set_change(expires=NOW + 5)]),
        ([], Set(A, b"1", at=7), None, [set_change(expires=7)]),
        ([FADING], Set(A, b"2"), None, [set_change(2, b"2", 1)]),
        ([FADING], Set(A, b"2", keep_ttl=True), None, [set_change(2, b"2", 1, NOW + 10)]),
        ([SET_A], Set(A, b"2", keep_ttl=True), None, [set_change(2, b"2", 1)]),
        ([], Set(A, b"2", keep_ttl=True), None, [set_change(value=b"2")]),
        ([FADING], Set(A, b"2", keep_ttl=False), None, [set_change(2, b"2", 1)]),
        ([], Set(A, b"1", nx=True), None, [set_change()]),
        ([SET_A], Set(A, b"2", nx=True), EXISTS, []),
        ([SET_A], Set(A, b"2", nx=False), None, [set_change(2, b"2", 1)]),
        ([], Set(A, b"1", xx=True), MISSING, []),
        ([SET_A], Set(A, b"2", xx=True), None, [set_change(2, b"2", 1)]),
        ([], Set(A, b"1", xx=False), None, [set_change()]),
        ([], Set(A, b"1", revision=0), None, [set_change()]),
        ([SET_A], Set(A, b"2", revision=0), EXISTS, []),
        ([SET_A], Set(A, b"2", revision=1), None, [set_change(2, b"2", 1)]),
        ([SET_A], Set(A, b"2", revision=2), MOVED, []),
        ([], Set(A, b"2", revision=2), MISSING, []),
        ([SET_A, Clear([A])], Set(A, b"2", revision=1), MISSING, []),
        ([SET_A], Set(A, b"2", previous=True), b"1", [set_change(2, b"2", 1)]),
        ([], Set(A, b"2", previous=True), None, [set_change(value=b"2")]),
        ([SET_A], Set(A, b"2", previous=False), None, [set_change(2, b"2", 1)]),
        ([SET_A], Set(A, b"2", ttl=3, xx=True, previous=True), b"1", [set_change(2, b"2", 1, NOW + 3)]),
        ([], Set(A, b"1", ttl=1, at=1), exclude("ttl", "at"), []),
        ([], Set(A, b"1", ttl=1, keep_ttl=True), exclude("ttl", "keep_ttl"), []),
        ([], Set(A, b"1", at=1, keep_ttl=True), exclude("at", "keep_ttl"), []),
        ([], Set(A, b"1", nx=True, xx=True), exclude("nx", "xx"), []),
        ([], Set(A, b"1", nx=True, revision=0), exclude("nx", "revision"), []),
        ([], Set(A, b"1", xx=True, revision=1), exclude("xx", "revision"), []),
        ([], Set(A, b"1", ttl=1, keep_ttl=False, nx=False, revision=0), None, [set_change(expires=NOW + 1)]),
        # GET
        ([], Get(A), None, []),
        ([SET_A], Get(A), b"1", []),
        ([Set(A, b"")], Get(A), b"", []),
        ([SET_A, Clear([A])], Get(A), None, []),
        # CLEAR
        ([], Clear([A]), 0, []),
        ([SET_A], Clear([A]), 1, [delete_change(2, 1)]),
        ([SET_A], Clear([A, A, B]), 1, [delete_change(2, 1)]),
        ([SET_A, Set(B, b"2")], Clear([B, A]), 2, [delete_change(3, 2, B), delete_change(4, 1)]),
        ([SET_A], Clear([A], revision=1), 1, [delete_change(2, 1)]),
        ([SET_A], Clear([A], revision=2), MOVED, []),
        ([SET_A], Clear([A], revision=0), EXISTS, []),
        ([], Clear([A], revision=1), MISSING, []),
        ([], Clear([A], revision=0), 0, []),
        (
            [SET_A],
            Clear([A, B], revision=1),
            ("BAD_ARGUMENT", "REVISION takes one key, not 2: use a TRANSACTION", {}),
            [],
        ),
        # MULTIGET, MULTISET
        ([SET_A], MultiGet([B, A, A]), [None, b"1", b"1"], []),
        ([FADING], MultiSet([(A, b"2"), (B, b"3")]), None, [set_change(2, b"2", 1), set_change(3, b"3", key=B)]),
        ([], MultiSet([(A, b"1"), (A, b"2")]), None, [set_change(), set_change(2, b"2", 1)]),
        (
            [SET_A],
            MultiSet([(A, b"2"), (B, b"3")], 5),
            None,
            [set_change(2, b"2", 1, NOW + 5), set_change(3, b"3", expires=NOW + 5, key=B)],
        ),
        ([], MultiSet([(A, b"1"), (B, b"1")], at=7), None, [set_change(expires=7), set_change(2, expires=7, key=B)]),
        ([], MultiSet([(A, b"1")], ttl=1, at=1), exclude("ttl", "at"), []),
        # TAKE
        ([], Take(A), None, []),
        ([SET_A], Take(A), b"1", [delete_change(2, 1)]),
        ([SET_A], Take(A, revision=1), b"1", [delete_change(2, 1)]),
        ([SET_A], Take(A, revision=2), MOVED, []),
        ([SET_A], Take(A, revision=0), EXISTS, []),
        ([], Take(A, revision=1), MISSING, []),
        ([], Take(A, revision=0), None, []),
        # TAKEFIRST
        ([], TakeFirst(b""), None, []),
        ([], TakeFirst(A, 5), NotYet(0, A, 5), []),
        ([SET_A], TakeFirst(A, 5), (A, b"1"), [delete_change(2, 1)]),
        ([SET_A], TakeFirst(B, 5), NotYet(1, B, 5), []),
        ([SET_A], TakeFirst(B, 0), None, []),
        ([Set(b"ab", b"2"), SET_A], TakeFirst(A), (A, b"1"), [delete_change(3, 2)]),
        # INCR
        ([], Incr(A), 1, [set_change()]),
        ([], Incr(A, -5), -5, [set_change(value=b"-5")]),
        ([SET_A], Incr(A, 0), 1, [set_change(2, b"1", 1)]),
        ([Set(A, b"41", ttl=10)], Incr(A), 42, [set_change(2, b"42", 1, NOW + 10)]),
        ([], Incr(A, HIGHEST), HIGHEST, [set_change(value=b"9223372036854775807")]),
        ([], Incr(A, LOWEST), LOWEST, [set_change(value=b"-9223372036854775808")]),
        ([Incr(A, LOWEST)], Incr(A, HIGHEST), -1, [set_change(2, b"-1", 1)]),
        ([Incr(A, HIGHEST)], Incr(A), ("WRONG_TYPE", f"{HIGHEST} + 1 does not fit into 64 bits", {}), []),
        ([Incr(A, LOWEST)], Incr(A, -1), ("WRONG_TYPE", f"{LOWEST} + -1 does not fit into 64 bits", {}), []),
        *(
            ([Set(A, value)], Incr(A), ("WRONG_TYPE", NOT_AN_INTEGER.format(len(value)), {}), [])
            for value in (
                b"",
                b"x",
                b"1.0",
                b"01",
                b"+1",
                b" 1",
                b"1\n",
                b"9223372036854775808",
                b"1" * 20,
                b"\xd9\xa1",
            )
        ),
        # APPEND
        ([], Append(A, b"1"), 1, [set_change()]),
        ([], Append(A, b""), 0, [set_change(value=b"")]),
        ([FADING], Append(A, b"23"), 3, [set_change(2, b"123", 1, NOW + 10)]),
    ],
)
def test_a_command_gives_its_result_and_its_changes(bench, given, command, result, changes):
    bench.execute(*given)
    head = bench.engine.staging.revision
    assert bench.run(command) == result
    assert bench.changes(head) == changes


EXPIRED = delete_change(2, 1, kind="EXPIRED", time=NOW + 10)


@pytest.mark.parametrize(
    ("command", "result", "changes"),
    [
        (Get(A), None, []),
        (MultiGet([A]), [None], []),
        (Take(A), None, []),
        (TakeFirst(A), None, []),
        (Clear([A]), 0, []),
        (Clear([A], revision=1), MISSING, []),
        (Take(A, revision=1), MISSING, []),
        (Set(A, b"2", xx=True), MISSING, []),
        (Set(A, b"2", revision=1), MISSING, []),
        (Set(A, b"2", nx=True), None, [EXPIRED, ("SET", 3, A, b"2", 0, None, NOW + 10)]),
        (Set(A, b"2", revision=0), None, [EXPIRED, ("SET", 3, A, b"2", 0, None, NOW + 10)]),
        (Set(A, b"2", previous=True), None, [EXPIRED, ("SET", 3, A, b"2", 0, None, NOW + 10)]),
        (Set(A, b"2", keep_ttl=True), None, [EXPIRED, ("SET", 3, A, b"2", 0, None, NOW + 10)]),
        (MultiSet([(A, b"2")]), None, [EXPIRED, ("SET", 3, A, b"2", 0, None, NOW + 10)]),
        (Incr(A), 1, [EXPIRED, ("SET", 3, A, b"1", 0, None, NOW + 10)]),
        (Append(A, b"2"), 1, [EXPIRED, ("SET", 3, A, b"2", 0, None, NOW + 10)]),
    ],
)
def test_an_entry_that_nobody_has_swept_is_gone_at_its_millisecond_and_ends_before_it_is_written_again(
    bench, command, result, changes
):
    bench.execute(FADING)
    assert bench.at(NOW + 9).run(Get(A)) == b"1"
    assert bench.at(NOW + 10).run(command) == result
    assert bench.changes(1) == changes


def test_a_value_grows_up_to_its_limit_and_not_a_byte_beyond(bench):
    bench.execute(Set(A, b"x" * (VALUE_BYTES_MAX - 1)))
    assert bench.run(Append(A, b"y")) == VALUE_BYTES_MAX
    message = f"the value would be {VALUE_BYTES_MAX + 1} bytes; at most {VALUE_BYTES_MAX} are allowed"
    assert bench.run(Append(A, b"z")) == ("TOO_LARGE", message, {})


def test_multiget_of_more_than_a_reply_holds_is_refused(bench, monkeypatch):
    monkeypatch.setattr(staging, "REPLY_BYTES_MAX", 4)
    bench.memory.is_partial = True
    bench.execute(Set(A, b"12"), Set(B, b"345"))
    assert bench.run(MultiGet([A, A])) == [b"12", b"12"]
    message = "the values are more than 4 bytes together: ask for fewer keys"
    assert bench.run(MultiGet([A, B])) == ("TOO_LARGE", message, {})


def test_a_key_keeps_the_revision_it_was_made_at_until_it_ends(bench):
    bench.execute(SET_A, Set(A, b"2"), Append(A, b"3"))
    entry = bench.engine.staging.get(A)
    assert (entry.revision, entry.created) == (3, 1)
    bench.execute(Clear([A]), SET_A)
    entry = bench.engine.staging.get(A)
    assert (entry.revision, entry.created) == (5, 5)


@pytest.mark.parametrize(
    ("start", "end", "part"),
    [
        (0, -1, b"hello"),
        (0, 0, b"h"),
        (1, 3, b"ell"),
        (3, 99, b"lo"),
        (5, 9, b""),
        (3, 2, b""),
        (-2, -1, b"lo"),
        (-99, 1, b"he"),
        (-99, -99, b""),
        (0, -6, b""),
        (0, -5, b"h"),
        (-1, -2, b""),
        (HIGHEST, HIGHEST, b""),
        (LOWEST, HIGHEST, b"hello"),
        (LOWEST, LOWEST, b""),
    ],
)
def test_a_range_has_both_its_ends_and_counts_from_the_end_below_zero(bench, start, end, part):
    bench.execute(Set(A, b"hello"))
    assert bench.run(GetRange(A, start, end)) == part


def test_a_key_that_is_not_there_has_no_range_and_no_length(bench):
    assert (bench.run(GetRange(A, 0, -1)), bench.run(StrLen(A))) == (None, None)
    bench.execute(FADING)
    assert (bench.run(GetRange(A, 0, -1)), bench.run(StrLen(A))) == (b"1", 1)
    bench.at(NOW + 10)
    assert (bench.run(GetRange(A, 0, -1)), bench.run(StrLen(A))) == (None, None)


def test_an_empty_value_has_a_length_and_an_empty_range(bench):
    bench.execute(Set(A, b""))
    assert (bench.run(GetRange(A, 0, -1)), bench.run(GetRange(A, -1, 0)), bench.run(StrLen(A))) == (b"", b"", 0)
