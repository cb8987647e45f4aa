"""The state machine: what its commands' tests do not say."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.fakes import NOW, DictStore, EngineOnDict

from kvd import wire
from kvd.commands.atomic import Once, Transaction
from kvd.commands.base import Ok
from kvd.commands.changes import Changes, Compact
from kvd.commands.expiry import Expire, Persist
from kvd.commands.keys import ClearPrefix, Count, Scan
from kvd.commands.model import Entry, StagedChanges
from kvd.commands.values import Append, Clear, Get, Incr, MultiSet, Set, Take
from kvd.engine import staging as staging_module
from kvd.engine.engine import Engine
from kvd.limits import ENTRY_OVERHEAD_BYTES

A, B = b"a", b"b"


def test_a_batch_is_rows_entries_tokens_and_a_compaction():
    engine = Engine(DictStore())
    engine.apply(Set(A, b"1", ttl=5), NOW)
    engine.apply(Once(b"token--1", Clear([A])), NOW + 1)
    engine.apply(Compact(1), NOW + 2)
    staged = engine.staging.take()
    assert staged == StagedChanges(
        rows=[(1, 1, A, b"1", 0, 1, NOW + 5, NOW), (2, 2, A, None, 1, 0, None, NOW + 1)],
        once=staged.once,
        compacted=1,
        payload=3,
    )
    (kept,) = staged.once
    assert (kept.token, kept.revision, kept.result, kept.time) == (b"token--1", 2, b"\x01", NOW + 1)
    assert len(kept.digest) == 16


def test_a_reply_has_the_revision_as_of_its_command():
    engine = Engine(DictStore())
    commands = [Set(A, b"1"), Get(A), MultiSet([(A, b"2"), (B, b"3")]), Clear([b"c"]), Get(b"c")]
    assert [engine.apply(command, NOW).revision for command in commands] == [1, 1, 3, 3, 3]


@pytest.mark.parametrize(
    "command", [Set(A, b"1"), Compact(0), Once(b"token--1", Clear([A])), Get(A), Scan(), Clear([A])]
)
def test_only_what_is_to_be_committed_makes_a_batch_worth_a_commit(command):
    engine = Engine(DictStore())
    engine.apply(command, NOW)
    assert engine.staging.is_empty == isinstance(command, Get | Scan | Compact | Clear)


def test_a_compaction_alone_is_worth_a_commit():
    bench = EngineOnDict().execute(Set(A, b"1"))
    bench.engine.apply(Compact(1), NOW)
    assert not bench.engine.staging.is_empty
    bench.commit()
    assert bench.memory.compacted == 1


def test_what_is_dropped_was_never_there():
    bench = EngineOnDict(commits=False).execute(Set(A, b"1"))
    bench.engine.staging.drop()
    assert bench.run(Get(A)) is None
    assert bench.reply(Set(A, b"2")) == Ok(1, None)


def test_a_defect_of_a_command_leaves_nothing_staged():
    class Broken(Set, tag="BROKEN"):
        def run(self, entries, now):
            super().run(entries, now)
            entries.compact(1)
            raise ZeroDivisionError

    bench = EngineOnDict(commits=False).execute(Set(A, b"1"))
    before = bench.copy_staging()
    with pytest.raises(ZeroDivisionError):
        bench.engine.apply(Broken(A, b"2"), NOW)
    assert bench.copy_staging() == before


def test_a_count_and_a_walk_see_what_is_staged_over_what_is_committed():
    bench = EngineOnDict().execute(Set(A, b"1"), Set(B, b"2"), Set(b"c", b"3", ttl=5))
    bench.commits = False
    bench.execute(Clear([A]), Set(b"ab", b"4"), Set(B, b"5", ttl=9), Clear([b"never there"]), Persist(b"c"))
    assert bench.run(Scan(values=True)) == [
        [(b"ab", b"4", 5, None), (B, b"5", 6, NOW + 9), (b"c", b"3", 7, None)],
        None,
    ]
    assert (bench.run(Count()), bench.run(Count(A)), bench.run(Count(B))) == (3, 1, 1)
    bench.at(NOW + 9)
    assert (bench.run(Count()), bench.run(Count(B)), bench.run(Scan())) == (2, 0, [[b"ab", b"c"], None])


def test_a_command_that_would_stage_too_much_is_refused_and_what_was_staged_stays(monkeypatch):
    monkeypatch.setattr(staging_module, "STAGED_BYTES_MAX", 10 + 2 * ENTRY_OVERHEAD_BYTES)
    bench = EngineOnDict(commits=False).execute(Set(A, b"12345"))
    message = "this would write too much at once: write it in smaller parts"
    assert bench.run(MultiSet([(A, b"1"), (B, b"123")])) == ("TOO_LARGE", message, {})
    assert bench.engine.staging.bytes == ENTRY_OVERHEAD_BYTES + 6
    assert bench.run(Set(B, b"123")) is None
    bench.commit()
    assert bench.run(Set(A, b"123456789")) is None


def test_an_entry_is_live_until_the_millisecond_it_expires():
    assert Entry(A, 1, 1, None, b"").is_live(2**60)
    assert Entry(A, 1, 1, 10, b"").is_live(9)
    assert not Entry(A, 1, 1, 10, b"").is_live(10)


KEYS = st.sampled_from([b"a", b"ab", b"a\x00", b"\xff"])
VALUES = st.sampled_from([b"", b"0", b"7", b"x"])
PLAIN = st.one_of(
    st.builds(Set, KEYS, VALUES, ttl=st.none() | st.integers(1, 5), previous=st.none() | st.sampled_from([True])),
    st.builds(Set, KEYS, VALUES, nx=st.sampled_from([True])),
    st.builds(Clear, st.lists(KEYS, min_size=1, max_size=3)),
    st.builds(Incr, KEYS),
    st.builds(Append, KEYS, VALUES),
    st.builds(Take, KEYS),
    st.builds(Expire, KEYS, st.integers(1, 5)),
    st.builds(ClearPrefix, st.sampled_from([b"", b"a"])),
)
COMMANDS = st.one_of(
    PLAIN,
    st.builds(Transaction, st.just([]), st.lists(PLAIN, min_size=1, max_size=4)),
    st.builds(Once, st.sampled_from([b"token--1", b"token--2"]), PLAIN),
)
PROGRAMS = st.lists(st.tuples(COMMANDS, st.integers(0, 3), st.booleans()), max_size=30)


def rows_of(program, *, commits):
    """Run a program; where its flags say so, or never, commit. Return the rows, entries and outcomes."""
    bench, outcomes = EngineOnDict(commits=False), []
    for command, passed, is_end in program:
        outcomes.append(bench.at(bench.now + passed).run(command))
        if commits and is_end:
            bench.commit()
    bench.commit()
    return bench.memory.rows, bench.memory.entries, list(map(wire.encode, outcomes))


@given(PROGRAMS)
def test_the_same_commands_at_the_same_times_give_the_same_rows_however_they_are_batched(program):
    assert rows_of(program, commits=True) == rows_of(program, commits=False)


@given(PROGRAMS)
def test_entries_are_what_the_rows_leave_behind(program):
    rows, entries, _ = rows_of(program, commits=True)
    left = {row[2]: row for row in rows}
    assert [row[0] for row in rows] == list(range(1, len(rows) + 1))
    assert {key: (row[0], row[3], row[5], row[6]) for key, row in left.items() if row[1] == 1} == {
        key: (entry.revision, entry.value, entry.created, entry.expires) for key, entry in entries.items()
    }


def test_changes_asked_for_beyond_what_is_committed_are_those_staged():
    bench = EngineOnDict(commits=False).execute(Set(A, b"1"))
    bench.commit()
    bench.execute(Set(A, b"2"), Set(B, b"3"))
    assert [change.revision for change in bench.reply(Changes(2)).result] == [3]
