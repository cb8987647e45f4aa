"""EXPIRE, PERSIST, TTL, GETEX, and the sweep that ends what has expired."""

import pytest
from support.fakes import NOW

from kvd.commands.expiry import Expire, GetEx, Persist, Ttl
from kvd.commands.values import Clear, Get, Set

A = b"a"
STAYS, FADES = Set(A, b"1"), Set(A, b"1", ttl=10)
MOVED = ("CONFLICT", "the key is at revision 1, not 2", {"revision": 1})
EXISTS = ("CONFLICT", "the key exists, at revision 1", {"revision": 1})
MISSING = ("CONFLICT", "the key does not exist", {"revision": 0})


def wrote(expires, revision=2):
    return [("SET", revision, A, b"1", 1, expires, NOW)]


@pytest.mark.parametrize(
    ("given", "command", "result", "changes"),
    [
        ([], Expire(A, 5), 0, []),
        ([STAYS], Expire(A, 5), 1, wrote(NOW + 5)),
        ([FADES], Expire(A, 50), 1, wrote(NOW + 50)),
        ([STAYS], Expire(A, 5, revision=1), 1, wrote(NOW + 5)),
        ([STAYS], Expire(A, 5, revision=2), MOVED, []),
        ([STAYS], Expire(A, 5, revision=0), EXISTS, []),
        ([], Expire(A, 5, revision=2), MISSING, []),
        ([], Expire(A, 5, revision=0), 0, []),
        ([], Persist(A), 0, []),
        ([STAYS], Persist(A), 0, []),
        ([FADES], Persist(A), 1, wrote(None)),
        ([FADES], Persist(A, revision=1), 1, wrote(None)),
        ([FADES], Persist(A, revision=2), MOVED, []),
        ([STAYS], Persist(A, revision=2), MOVED, []),
        ([], Persist(A, revision=2), MISSING, []),
        ([], Persist(A, revision=0), 0, []),
        ([], Ttl(A), None, []),
        ([STAYS], Ttl(A), -1, []),
        ([FADES], Ttl(A), 10, []),
        ([FADES, Clear([A])], Ttl(A), None, []),
        ([], GetEx(A, ttl=5), None, []),
        ([STAYS], GetEx(A, ttl=5), b"1", wrote(NOW + 5)),
        ([STAYS], GetEx(A, at=7), b"1", wrote(7)),
        ([FADES], GetEx(A, ttl=50), b"1", wrote(NOW + 50)),
        ([FADES], GetEx(A, persist=True), b"1", wrote(None)),
        ([STAYS], GetEx(A, persist=True), b"1", []),
        ([FADES], GetEx(A, persist=False), b"1", []),
        ([FADES], GetEx(A), b"1", []),
        (
            [STAYS],
            GetEx(A, ttl=5, persist=True),
            ("BAD_ARGUMENT", "ttl and persist exclude each other: give one of them", {}),
            [],
        ),
    ],
)
def test_a_command_gives_its_result_and_its_changes(bench, given, command, result, changes):
    head = bench.execute(*given).engine.staging.revision
    assert bench.run(command) == result
    assert bench.changes(head) == changes


@pytest.mark.parametrize(
    ("command", "live", "gone"),
    [(Expire(A, 1), 1, 0), (Persist(A), 1, 0), (Ttl(A), 1, None), (GetEx(A, 5), b"1", None)],
)
def test_an_entry_is_there_until_the_millisecond_it_expires(bench, command, live, gone):
    bench.execute(FADES)
    assert bench.at(NOW + 10).run(command) == gone
    assert bench.at(NOW + 9).run(command) == live


def test_the_sweep_ends_what_is_due_and_nothing_else(bench):
    bench.execute(FADES, Set(b"b", b"2", ttl=11), Set(b"c", b"3"))
    assert bench.engine.expire([A, b"b", b"c", b"no such key"], NOW + 9) == 0
    assert bench.engine.expire([A, b"b", b"c", b"no such key"], NOW + 10) == 1
    assert bench.changes(3) == [("EXPIRED", 4, A, None, 1, None, NOW + 10)]


def test_the_sweep_ends_an_entry_once(bench):
    bench.execute(FADES)
    assert bench.engine.expire([A, A], NOW + 10) == 1
    assert bench.engine.expire([A], NOW + 10) == 0


def test_an_entry_written_with_a_time_gone_by_is_gone_at_once_and_swept(bench):
    bench.execute(Set(A, b"1", at=NOW))
    assert bench.run(Get(A)) is None
    assert bench.engine.expire([A], NOW) == 1
