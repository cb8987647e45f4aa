"""The check: each kind of damage is found, named, and nothing else is."""

import shutil
from itertools import count

import pytest
from support.damaged import copy_files
from support.drives import NOW

from kvd.commands.atomic import Once
from kvd.commands.values import Clear, Incr, Set
from kvd.errors import ShuttingDown, StorageFailed
from kvd.storage import check
from kvd.storage import check as check_function
from kvd.storage.files import sqlite as sqlite_module
from kvd.storage.offline.check import ROWS_AT_ONCE


def breathe():
    pass


@pytest.fixture
def target(drive):
    """Twenty entries folded, one cleared, a token, and some changes after the fold."""
    drive.apply(*[Set(b"key:%02d" % number, b"value:%02d" % number, at=NOW + 10**6) for number in range(20)])
    drive.apply(Once(b"token--1", Incr(b"count")))
    drive.fold().apply(Clear([b"key:00"]), Set(b"new", b"1"))
    return drive


def damages_after(drive, file, *statements):
    """Damage a file by SQL, behind the store's back; return what a check says."""
    drive.sql(file, *statements)
    return check(drive.directory, breathe).damages


def test_what_is_whole_has_no_damages(target):
    assert check(target.directory, breathe) == (21, 23, [])
    target.fold().store.close()
    assert check(target.directory, breathe) == (21, 23, [])


def test_a_check_changes_nothing(target, tmp_path):
    case = copy_files(target.directory, tmp_path / "case")
    before = {path.name: path.read_bytes() for path in case.iterdir() if path.suffix == ".db"}
    check(target.directory, breathe)
    after = {path.name: (target.directory / path.name).read_bytes() for path in case.iterdir() if path.suffix == ".db"}
    assert before == after


@pytest.mark.parametrize("name", ["journal.db", "table.db"])
def test_a_missing_file_is_told_and_not_made(target, name):
    target.store.close()
    (target.directory / name).unlink()
    with pytest.raises(StorageFailed, match=f"{name} is missing"):
        check(target.directory, breathe)
    assert not (target.directory / name).exists()


@pytest.mark.parametrize(
    "change", ["value = x'00'", "revision = 9000", "created = 9", "expires = 9", "checksum = 9", "head = 9"]
)
def test_a_damaged_entry_is_named(target, change):
    damages = damages_after(target, "table.db", f"UPDATE entry SET {change} WHERE key = CAST('key:07' AS BLOB)")
    assert damages == [("table.db", b"key:07", None, "the entry of this key is damaged on disk")]


def test_a_damaged_key_is_an_entry_that_is_damaged(target):
    damages = damages_after(target, "table.db", "UPDATE entry SET key = x'ff' WHERE key = CAST('key:07' AS BLOB)")
    assert damages == [("table.db", b"\xff", None, "the entry of this key is damaged on disk")]


def test_a_key_of_another_type_is_told(target):
    damages = damages_after(target, "table.db", "UPDATE entry SET key = 'text' WHERE key = CAST('key:07' AS BLOB)")
    assert damages == [("table.db", None, None, "the keys of 1 entries are not bytes")]


@pytest.mark.parametrize("row", ["key = x'61'", "value = x'00'", "previous = 7", "time = 1", "kind = 2", "seal = 0"])
def test_a_damaged_change_is_named(target, row):
    damages = damages_after(target, "journal.db", f"UPDATE journal SET {row} WHERE revision = 5")
    assert damages == [("journal.db", None, 5, "the change of revision 5 is damaged on disk")]


@pytest.mark.parametrize(("gone", "said"), [("5", "5 to 5"), ("5, 6, 7", "5 to 7")])
def test_missing_changes_are_told(target, gone, said):
    damages = damages_after(target, "journal.db", f"DELETE FROM journal WHERE revision IN ({gone})")
    assert damages == [("journal.db", None, 5, f"the changes {said} are missing")]


def test_changes_missing_after_what_is_folded_are_told(target):
    damages = damages_after(target, "journal.db", "DELETE FROM journal WHERE revision > 10")
    assert damages == [("journal.db", None, None, "it has the changes 1 to 10, but the table is folded up to 21")]


def test_changes_missing_between_the_files_are_told(target):
    damages = damages_after(target, "journal.db", "DELETE FROM journal WHERE revision < 23")
    assert damages == [("journal.db", None, None, "it has the changes 23 to 23, but the table is folded up to 21")]


def test_trimmed_changes_are_not_missing(target):
    assert damages_after(target, "journal.db", "DELETE FROM journal WHERE revision <= 21") == []


def test_a_missing_entry_is_told(target):
    damages = damages_after(target, "table.db", "DELETE FROM entry WHERE key = CAST('key:07' AS BLOB)")
    assert damages == [("table.db", None, None, "it has 20 entries and should have 21")]


@pytest.mark.parametrize("row", ["history = 'x'", "revision = 20", "entries = 20", "seal = 1", "history = x'00'"])
def test_a_damaged_fold_is_told(target, row):
    damages = damages_after(target, "table.db", f"UPDATE fold SET {row}")
    assert damages == [("table.db", None, None, "CORRUPT: the mark of the table is damaged on disk")]


@pytest.mark.parametrize("row", ["history = 'x'", "compacted = 3", "seal = 1"])
def test_a_damaged_head_is_told(target, row):
    damages = damages_after(target, "journal.db", f"UPDATE head SET {row}")
    assert damages == [("journal.db", None, None, "CORRUPT: the head of the journal is damaged on disk")]


@pytest.mark.parametrize("file", ["journal.db", "table.db"])
def test_a_row_that_is_gone_is_told(target, file):
    assert damages_after(target, file, f"DELETE FROM {'head' if file == 'journal.db' else 'fold'}")


@pytest.mark.parametrize(
    "row", ["token = x'00'", "digest = x'00'", "revision = 3", "result = x'00'", "time = 9", "token = 5"]
)
def test_a_damaged_token_is_told(target, row):
    damages = damages_after(target, "journal.db", f"UPDATE once SET {row}")
    assert damages == [("journal.db", None, None, "the record of a token of ONCE is damaged on disk")]


def test_files_of_two_stores_are_told(target, make_drive):
    other = make_drive("other")
    target.store.close()
    other.store.close()
    shutil.copy(other.directory / "journal.db", target.directory / "journal.db")
    damages = check(target.directory, breathe).damages
    assert damages == [("table.db", None, None, "it belongs to another store than journal.db")]


def test_an_index_that_does_not_fit_is_told(target):
    target.sql(
        "table.db",
        "PRAGMA writable_schema = ON",
        "UPDATE sqlite_master SET sql = replace(sql, 'IS NOT NULL', 'IS NULL') WHERE name = 'entry_expires'",
    )
    assert any("entry_expires" in damage.message for damage in check(target.directory, breathe).damages)


@pytest.mark.parametrize("file", ["journal.db", "table.db"])
def test_pages_that_do_not_fit_together_are_told(make_drive, file):
    drive = make_drive()
    drive.apply(*[Set(b"key:%04d" % number, b"x" * 200) for number in range(500)])
    drive.fold().store.close()
    with (drive.directory / file).open("r+b") as raw:
        raw.seek(20 * 4096)
        raw.write(bytes(4096))
    damages = check(drive.directory, breathe).damages
    assert {damage.file for damage in damages} == {file}
    assert any("malformed" in damage.message or "Page 21" in damage.message for damage in damages)


def test_between_portions_it_breathes_and_may_be_ended(make_drive):
    drive = make_drive()
    drive.apply(*[Set(b"%d" % number, b"") for number in range(3 * ROWS_AT_ONCE)])
    breaths = []
    check(drive.directory, lambda: breaths.append(1))
    assert len(breaths) >= 5

    def end():
        raise ShuttingDown("enough")

    with pytest.raises(ShuttingDown):
        check_function(drive.directory, end)


def test_a_long_statement_is_ended_too(make_drive, monkeypatch):
    monkeypatch.setattr(sqlite_module, "PROGRESS_STEPS", 100)
    drive = make_drive()
    drive.apply(*[Set(b"%d" % number, b"x") for number in range(500)])
    breaths = []

    def breathe():
        breaths.append(1)
        if len(breaths) == 3:  # while SQLite looks at the pages: no portion of rows was read yet
            raise ShuttingDown("end")
        if len(breaths) > 3:
            raise ShuttingDown("later")

    with pytest.raises(ShuttingDown):
        check_function(drive.directory, breathe)
    assert len(breaths) == 4


def test_what_goes_on_meanwhile_is_no_damage(make_drive, monkeypatch):
    drive = make_drive(kept_changes=50)
    number = count()

    def write():
        if (at := next(number)) < 60:
            drive.apply(*[Set(b"%d" % (n % 900), b"x") for n in range(at * 40, at * 40 + 40)])
            drive.fold()

    for _ in range(30):
        write()
    assert check(drive.directory, write).damages == []
