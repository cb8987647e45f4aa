"""A snapshot by pages, and the changes that follow it: together they are the state, whatever comes between."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from support.fakes import EngineOnDict
from support.hypotheses import examples

from kvd.client import snapshot as snapshot_module
from kvd.client.snapshot import PAGE_KEYS, Snapshot
from kvd.commands.base import Ok
from kvd.commands.keys import Scan
from kvd.commands.model import ALL, Change
from kvd.commands.values import Clear, Set


def next_page(shot):
    """Return the command for the next page."""
    return [question.command for question in shot.next_questions()]


def give(shot, revision, result):
    """Give the snapshot its next page; return the entries."""
    shot.next_questions()
    return shot._on_page(Ok(revision, result))


def change(revision, key):
    return Change("SET", revision, key, b"", 0, None, 1)


def test_pages_follow_one_another_through_all_prefixes():
    shot = Snapshot([b"b", b"a", b"ab", b"a"])
    assert next_page(shot) == [Scan(b"a", None, PAGE_KEYS, values=True)]
    assert next_page(shot) == [], "it has been asked for"
    entries = give(shot, 7, [[(b"a", b"1", 3, 99)], b"a"])
    assert entries == [Change("SET", 3, b"a", b"1", 0, 99, 0)]
    assert next_page(shot) == [Scan(b"a", b"a", PAGE_KEYS, values=True)]
    shot.on_loss()
    assert next_page(shot) == [Scan(b"a", b"a", PAGE_KEYS, values=True)]
    assert (give(shot, 8, [[], None]), shot.is_complete) == ([], False)
    assert next_page(shot) == [Scan(b"b", None, PAGE_KEYS, values=True)]
    assert (give(shot, 9, [[], None]), shot.is_complete) == ([], True)
    assert next_page(shot) == []


@pytest.mark.parametrize(
    ("revision", "key", "covered"),
    [
        (7, b"a", True),
        (8, b"a", False),
        (8, b"a\x00", True),
        (9, b"az", False),
        (9, b"b", True),
        (10, b"b", False),
        (9, b"b\xff", True),
        (1, b"c", False),
    ],
)
def test_a_change_is_covered_when_the_page_of_its_key_was_made_after_it(revision, key, covered):
    shot = Snapshot([b"a", b"b"])
    give(shot, 7, [[(b"a", b"1", 3, None)], b"a"])
    give(shot, 8, [[], None])
    give(shot, 9, [[], None])
    assert shot.covers(change(revision, key)) is covered


def test_the_last_page_of_all_keys_covers_the_longest_key():
    shot = Snapshot([b""])
    give(shot, 7, [[], None])
    assert shot.covers(change(7, b"\xff" * 4096))
    assert not shot.covers(change(8, b"\xff" * 4096))


KEYS = st.sampled_from([b"a", b"a\x00", b"ab", b"b", b"b\xff", b"c", b"\xff"])
WRITES = st.lists(
    st.one_of(st.builds(Set, KEYS, st.sampled_from([b"1", b"2"])), st.builds(lambda k: Clear([k]), KEYS)), max_size=5
)
PREFIXES = st.lists(st.sampled_from([b"", b"a", b"ab", b"b", b"c", b"\xff"]), min_size=1, max_size=3)


def follow_snapshot(bench, shot, between):
    """Read the snapshot with writes between its pages; return the state it gives with the changes after it."""
    since = bench.engine.staging.revision
    state = {}
    while questions := shot.next_questions():
        [question] = questions
        entries = question.on_reply(bench.reply(question.command))
        state.update({entry.key: (entry.revision, entry.value) for entry in entries})
        bench.execute(*(between.pop() if between else []))
    for later in bench.engine.staging.changes(since, b"", 10_000)[1]:
        if not shot.covers(later):
            assert later.revision > state.get(later.key, (0,))[0]
            state[later.key] = (later.revision, later.value)
    return state


@settings(max_examples=examples(300))
@given(PREFIXES, WRITES, st.lists(WRITES, max_size=6), st.integers(1, 3))
def test_a_snapshot_and_the_changes_after_it_are_the_state_and_no_key_goes_back(prefixes, before, between, page):
    snapshot_module.PAGE_KEYS = page
    try:
        bench = EngineOnDict().execute(*before)
        state = follow_snapshot(bench, Snapshot(prefixes), between)
    finally:
        snapshot_module.PAGE_KEYS = PAGE_KEYS
    watched = {key: found for key, found in state.items() if key.startswith(tuple(prefixes)) and found[1] is not None}
    expected = bench.engine.staging.scan(ALL)
    assert watched == {e.key: (e.revision, e.value) for e in expected if e.key.startswith(tuple(prefixes))}
