"""A data directory made of entries: whole under its name, or not there."""

import pytest

from kvd.commands.model import CLEAR, SET
from kvd.errors import StorageFailed
from kvd.storage import Store, check
from kvd.storage.offline.new_directory import INSERT_ENTRY, build, entry_row

ROWS = [(5, SET, b"a", b"1", 0, 5, None, 100), (7, SET, b"b", b"", 6, 2, 10**15, 101)]


def fill(db):
    db.executemany(INSERT_ENTRY, map(entry_row, ROWS))
    return (9, CLEAR, b"c", None, 8, 0, None, 103)


def test_it_opens_with_what_it_was_made_of(tmp_path):
    build(tmp_path / "made", fill)
    assert check(tmp_path / "made", lambda: None) == (2, 1, [])
    store = Store(tmp_path / "made")
    assert [(entry.key, entry.value, entry.revision, entry.created, entry.expires) for entry in store.scan()] == [
        (b"a", b"1", 5, 5, None),
        (b"b", b"", 7, 2, 10**15),
    ]
    assert (store.revision, store.time, store.compacted, store.entries, store.notes) == (9, 103, 9, 2, [])
    store.close()


def test_nothing_makes_an_empty_store(tmp_path):
    build(tmp_path / "made", lambda _: None)
    store = Store(tmp_path / "made")
    assert (store.revision, store.entries, list(store.scan())) == (0, 0, [])
    store.close()


def test_each_has_a_history_of_its_own(tmp_path):
    found = set()
    for name in ("one", "other"):
        build(tmp_path / name, fill)
        store = Store(tmp_path / name)
        found.add(store.history)
        store.close()
    assert len(found) == 2


def test_what_is_interrupted_has_no_name_and_the_next_is_whole(tmp_path):
    def fails(db):
        fill(db)
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        build(tmp_path / "made", fails)
    assert not (tmp_path / "made").exists()
    build(tmp_path / "made", fill)
    assert [path.name for path in tmp_path.iterdir()] == ["made"]


def test_a_directory_that_is_not_empty_is_refused(tmp_path):
    (tmp_path / "letter").write_text("dear")
    with pytest.raises(StorageFailed, match="is not empty: name a directory that is empty or does not exist"):
        build(tmp_path, fill)
    assert [path.name for path in tmp_path.iterdir()] == ["letter"]


def test_a_directory_that_cannot_be_made_is_told(tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(StorageFailed, match=f"cannot make {tmp_path}/file/made: Not a directory"):
        build(tmp_path / "file" / "made", fill)
