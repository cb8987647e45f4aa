"""Where the search for the first key of a prefix begins."""

import pytest
from support.drives import NOW, EngineOnStore

from kvd.commands.model import CLEAR, SET, Entry
from kvd.commands.values import MultiSet, Set, TakeFirst
from kvd.engine.floors import BEYOND, Floors
from kvd.limits import FLOORS_MAX, KEY_BYTES_MAX


def make_entry(key):
    return Entry(key, 1, 1, None, b"")


def row(key, kind=SET):
    return (1, kind, key, b"", 0, 1, None, NOW)


def test_a_search_begins_where_the_last_one_ended():
    floors = Floors()
    assert (floors.of(b"a", []), bool(floors)) == (b"a", False)
    floors.keep(b"a", make_entry(b"a5"))
    assert (bool(floors), floors.of(b"a", []), floors.of(b"b", [])) == (True, b"a5", b"b")


def test_a_search_that_found_nothing_begins_beyond_all_keys():
    floors = Floors()
    floors.keep(b"", None)
    assert floors.of(b"", []) == BEYOND > b"\xff" * KEY_BYTES_MAX


@pytest.mark.parametrize(
    ("key", "kind", "floor"),
    [(b"a4", SET, b"a4"), (b"a6", SET, b"a5"), (b"b", SET, b"a5"), (b"A", SET, b"a5"), (b"a4", CLEAR, b"a5")],
)
def test_a_key_that_is_set_before_a_floor_lowers_it(key, kind, floor):
    floors = Floors()
    floors.keep(b"a", make_entry(b"a5"))
    assert floors.of(b"a", [row(key, kind)]) == floor


def test_rows_are_looked_at_once_and_those_of_the_next_batch_from_the_first():
    floors = Floors()
    floors.keep(b"a", make_entry(b"a5"))
    rows = [row(b"a4")]
    assert floors.of(b"a", rows) == b"a4"
    floors.keep(b"a", make_entry(b"a5"))
    assert floors.of(b"a", rows) == b"a5"
    floors.keep(b"a", make_entry(b"a5"))
    floors.follow([*rows, row(b"a3")], is_committed=True)
    floors.keep(b"b", None)
    floors.follow([row(b"a2")], is_committed=True)
    assert floors.of(b"a", []) == b"a2"


def test_what_ended_in_a_batch_that_was_not_committed_has_not():
    floors = Floors()
    floors.keep(b"a", make_entry(b"a5"))
    floors.follow([], is_committed=False)
    assert not floors


def test_the_prefixes_searched_last_are_kept():
    floors = Floors()
    for number in range(FLOORS_MAX + 1):
        floors.keep(b"%d:" % number, None)
    assert (floors.of(b"0:", []), floors.of(b"1:", [])) == (b"0:", BEYOND)


@pytest.fixture
def drive_with_queue(tmp_path):
    """Return a drive with a long queue."""
    drive = EngineOnStore(tmp_path / "data", fsync="never")
    drive.apply(MultiSet([(b"job:%04d" % number, b"") for number in range(2_000)]))
    drive.commit()
    yield drive
    drive.store.close()


def test_taking_a_queue_looks_at_each_key_a_few_times_and_not_at_all_that_were_taken(drive_with_queue, monkeypatch):
    looked = []
    overlay = type(drive_with_queue.store.overlays.active)
    real = overlay.__getitem__
    monkeypatch.setattr(overlay, "__getitem__", lambda self, key: looked.append(key) or real(self, key))
    for number in range(2_000):
        assert drive_with_queue.engine.apply(TakeFirst(b"job:"), NOW).result == (b"job:%04d" % number, b"")
        if number % 10 == 9:
            drive_with_queue.commit()
    assert drive_with_queue.engine.apply(TakeFirst(b"job:"), NOW).result is None
    assert len(looked) < 20 * 2_000
    drive_with_queue.engine.apply(Set(b"job:0001", b"again"), NOW)
    assert drive_with_queue.engine.apply(TakeFirst(b"job:"), NOW).result == (b"job:0001", b"again")


def test_during_a_fold_a_search_does_not_pass_what_has_been_written_of_it(drive_with_queue, monkeypatch):
    drive_with_queue.fold()
    drive_with_queue.apply(MultiSet([(b"job:%04d" % number, b"new") for number in range(2_000)]))
    passed = []
    table = drive_with_queue.store.table
    real = table.walk
    monkeypatch.setattr(table, "walk", lambda *asked: (passed.append(row) or row for row in real(*asked)))
    assert drive_with_queue.engine.apply(TakeFirst(b"job:"), NOW).result == (b"job:0000", b"new")
    assert len(passed) < 10
