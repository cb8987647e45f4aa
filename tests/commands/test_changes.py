"""CHANGES and COMPACT."""

import pytest
from support.fakes import NOW

from kvd.commands.base import NotYet, Ok
from kvd.commands.changes import Changes, Compact, History
from kvd.commands.model import Change
from kvd.commands.values import Clear, Get, Set
from kvd.engine import staging

WRITTEN = [Set(b"a", b"1"), Set(b"b", b"2"), Clear([b"a"]), Set(b"ab", b"3")]
FIRST = Change("SET", 1, b"a", b"1", 0, None, NOW)
SECOND = Change("SET", 2, b"b", b"2", 0, None, NOW)
THIRD = Change("CLEAR", 3, b"a", None, 1, None, NOW)
FOURTH = Change("SET", 4, b"ab", b"3", 0, None, NOW)


@pytest.mark.parametrize(
    ("command", "reply"),
    [
        (Changes(0), Ok(4, [FIRST, SECOND, THIRD, FOURTH])),
        (Changes(2), Ok(4, [THIRD, FOURTH])),
        (Changes(4), Ok(4, [])),
        (Changes(0, b"a"), Ok(4, [FIRST, THIRD, FOURTH])),
        (Changes(0, b"z"), Ok(4, [])),
        (Changes(0, limit=1), Ok(1, [FIRST])),
        (Changes(0, limit=3), Ok(3, [FIRST, SECOND, THIRD])),
        (Changes(0, limit=4), Ok(4, [FIRST, SECOND, THIRD, FOURTH])),
        (Changes(0, b"a", limit=2), Ok(3, [FIRST, THIRD])),
        (Changes(0, b"b", limit=1), Ok(4, [SECOND])),
        (Changes(0, wait_ms=5), Ok(4, [FIRST, SECOND, THIRD, FOURTH])),
        (Changes(4, wait_ms=0), Ok(4, [])),
        (Changes(4, wait_ms=5), NotYet(4, b"", 5)),
        (Changes(0, b"z", wait_ms=5), NotYet(4, b"z", 5)),
    ],
)
def test_changes_are_complete_up_to_the_revision_of_the_reply(bench, command, reply):
    assert bench.execute(*WRITTEN).reply(command) == reply


@pytest.mark.parametrize("committed", range(5))
@pytest.mark.parametrize("since", range(5))
@pytest.mark.parametrize("limit", [1, 2, 3, 10])
def test_staged_changes_follow_committed_ones_with_no_seam(bench, committed, since, limit):
    bench.commits = False
    bench.execute(*WRITTEN[:committed]).commit()
    bench.execute(*WRITTEN[committed:])
    expected = [FIRST, SECOND, THIRD, FOURTH][since : since + limit]
    upto = expected[-1].revision if len(expected) == limit else 4
    assert bench.reply(Changes(since, limit=limit)) == Ok(upto, expected)


def test_there_is_nothing_to_wait_for_while_a_committed_span_is_cut(bench, monkeypatch):
    bench.execute(*WRITTEN).commit()
    monkeypatch.setattr(bench.memory, "changes", lambda *_: (2, []))
    assert bench.reply(Changes(0, b"z", wait_ms=5)) == Ok(2, [])


def to_come(revision, hint=""):
    return ("BAD_ARGUMENT", f"revision {revision} does not exist yet: the store is at 4{hint}", {})


def expect_compacted(revision):
    message = f"changes up to {revision} are no longer in the journal: read the entries again and resume from there"
    return ("COMPACTED", message, {"compacted": revision})


def test_a_revision_that_is_still_to_come_is_refused(bench):
    bench.execute(*WRITTEN)
    assert bench.run(Changes(5)) == to_come(5, "; is it another store?")
    assert bench.run(Compact(5)) == to_come(5)


def test_compacted_changes_are_gone_and_their_entries_stay(bench):
    bench.execute(*WRITTEN)
    assert bench.run(Compact(2)) == 2
    assert bench.run(Changes(1)) == expect_compacted(2)
    assert bench.run(Changes(2)) == [THIRD, FOURTH]
    assert bench.run(Get(b"b")) == b"2"


def test_compacting_less_than_is_gone_changes_nothing(bench):
    bench.execute(*WRITTEN)
    assert bench.run(Compact(0)) == 0
    assert bench.engine.staging.is_empty or not bench.commits
    assert bench.run(Compact(3)) == 3
    assert bench.run(Compact(1)) == 3
    assert bench.run(Changes(2)) == expect_compacted(3)
    assert bench.run(Compact(4)) == 4
    assert bench.run(Changes(4)) == []


@pytest.mark.parametrize(
    ("command", "result"),
    [
        (History(b"a"), [[THIRD, FIRST], None]),
        (History(b"ab"), [[FOURTH], None]),
        (History(b"z"), [[], None]),
        (History(b"a", limit=1), [[THIRD], 3]),
        (History(b"a", limit=2), [[THIRD, FIRST], None]),
        (History(b"a", 3), [[FIRST], None]),
        (History(b"a", 1), [[], None]),
        (History(b"a", 0), [[], None]),
        (History(b"a", 99), [[THIRD, FIRST], None]),
    ],
)
@pytest.mark.parametrize("committed", range(5))
def test_a_history_is_the_changes_of_a_key_newest_first(bench, command, result, committed):
    bench.commits = False
    bench.execute(*WRITTEN[:committed]).commit()
    bench.execute(*WRITTEN[committed:])
    assert bench.run(command) == result


def test_a_history_leaves_out_what_is_compacted(bench):
    bench.execute(*WRITTEN, Compact(1))
    assert bench.run(History(b"a")) == [[THIRD], None]
    bench.commits = False
    bench.execute(Compact(3))
    assert bench.run(History(b"a")) == [[], None]


def test_a_history_of_staged_changes_fits_into_a_reply(bench, monkeypatch):
    monkeypatch.setattr(staging, "REPLY_BYTES_MAX", 5)
    bench.commits = False
    bench.execute(Set(b"a", b"12"), Set(b"a", b"1234567"), Set(b"a", b"12"))
    values = [change.value for change in bench.run(History(b"a"))[0]]
    assert (values, bench.run(History(b"a"))[1]) == ([b"12"], 3)
    assert [change.revision for change in bench.run(History(b"a", 3))[0]] == [2]
    assert bench.run(History(b"a", 2)) == [[Change("SET", 1, b"a", b"12", 0, None, NOW)], None]
