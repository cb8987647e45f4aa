"""Salvage: whole entries are kept, losses are reported, and no file is ever lost."""

import importlib
import itertools
import random
import shutil
from contextlib import closing

import pytest
from sqlite_utils.utils import sqlite3
from support.damaged import Truth, copy_files, flip, judge_repair, open_and_check, overwrite
from support.drives import EngineOnStore

from kvd.commands.atomic import Once
from kvd.commands.values import Incr, Set
from kvd.errors import InUse, StorageFailed
from kvd.storage import Store, salvage
from kvd.storage import salvage as salvage_function
from kvd.storage.offline.recovery import MOVING
from kvd.storage.offline.salvage import LOSSES, MADE, report_if_whole

PAGE = 4096
module = importlib.import_module("kvd.storage.offline.salvage")  # its name in the package is the function's


@pytest.fixture
def store_files(drive):
    """A directory cleanly closed with many pages in both files: nearly all folded, the journal's first half trimmed."""
    chance, truth = random.Random(9), Truth()
    for _ in range(12):
        truth.write(drive, *[(b"key:%04d" % chance.randrange(900), chance.randbytes(150)) for _ in range(80)])
    truth.write(drive, *[(key, None) for key in sorted(truth.at(truth.revision))[::40]])
    drive.fold().idle()
    drive.store.journal.append([], [], 500, 500)
    truth.write(drive, *[(b"key:%04d" % number, b"young") for number in range(0, 900, 90)])
    drive.store.close()
    return drive.directory, truth


def page_kinds(path):
    """Return the pages of a file by kind: interior and leaf of the B-tree that has most."""
    content = path.read_bytes()
    kinds = {}
    for number in range(1, len(content) // PAGE):
        kinds.setdefault(content[number * PAGE], []).append(number)
    return kinds


def pages(path, kind):
    found = page_kinds(path)
    names = {"interior": (2, 5), "leaf": (10, 13)}[kind]
    return max((found.get(name, []) for name in names), key=len)


def test_a_whole_store_loses_nothing_and_gets_a_new_history(store_files):
    directory, truth = store_files
    assert judge_repair(directory, truth) == []
    assert open_and_check(directory, truth).walked == truth.at(truth.revision)


def test_what_a_kill_leaves_loses_nothing(drive, tmp_path):
    truth = Truth()
    truth.write(drive, (b"a", b"1"), (b"b", b"2"), (b"a", None))
    drive.fold()
    truth.write(drive, (b"c", b"3"))
    case = copy_files(drive.directory, tmp_path / "case")
    assert judge_repair(case, truth) == []
    assert open_and_check(case, truth).revision == 4


@pytest.mark.parametrize("file", ["table.db", "journal.db"])
@pytest.mark.parametrize("kind", ["interior", "leaf"])
@pytest.mark.parametrize("count", [1, 3, 99])
@pytest.mark.parametrize("content", [bytes(PAGE), b"\xa5" * PAGE], ids=["zeros", "garbage"])
def test_damaged_pages(store_files, file, kind, count, content):
    directory, truth = store_files
    numbers = pages(directory / file, kind)
    for number in random.Random(count).sample(numbers, min(count, len(numbers))):
        overwrite(directory / file, number * PAGE, content)
    losses = judge_repair(directory, truth)
    assert losses or count < 99, "one alone may be free"
    assert all(loss.startswith(file) for loss in losses)


def test_a_leaf_of_the_table_costs_its_entries_alone(store_files):
    directory, truth = store_files
    overwrite(directory / "table.db", pages(directory / "table.db", "leaf")[7] * PAGE, bytes(PAGE))
    judge_repair(directory, truth)
    lost = set(truth.at(truth.revision)) - set(open_and_check(directory, truth).walked)
    assert len(lost) <= 20


def test_a_table_is_made_of_a_whole_journal(drive):
    truth = Truth()
    for number in range(200):
        truth.write(drive, (b"key:%d" % (number % 70), b"x" * number))
    truth.write(drive, (b"key:3", None))
    drive.fold().store.close()
    (drive.directory / "table.db").unlink()
    judge_repair(drive.directory, truth)
    assert open_and_check(drive.directory, truth).walked == truth.at(truth.revision)


@pytest.mark.parametrize("file", ["table.db", "journal.db"])
def test_a_file_that_is_gone_is_told(store_files, file):
    directory, truth = store_files
    (directory / file).unlink()
    assert f"{file}: it is missing" in judge_repair(directory, truth)


@pytest.mark.parametrize("file", ["table.db", "journal.db"])
def test_a_header_of_zeros_is_told(store_files, file):
    directory, truth = store_files
    overwrite(directory / file, 0, bytes(100))
    assert any(loss.startswith(f"{file}: ") and "cannot be read" in loss for loss in judge_repair(directory, truth))


def test_a_directory_of_something_else_is_left_alone(tmp_path):
    (tmp_path / "letter").write_text("dear")
    with pytest.raises(StorageFailed, match=r"has neither journal\.db nor table\.db: is it a kvd data directory\?"):
        salvage(tmp_path, "damaged")
    assert [path.name for path in tmp_path.iterdir()] == ["letter"]


def test_a_directory_in_use_is_refused_and_untouched(drive):
    drive.apply(Set(b"a", b"1"))
    before = sorted(drive.directory.iterdir())
    with pytest.raises(InUse):
        salvage(drive.directory, "damaged")
    assert sorted(drive.directory.iterdir()) == before
    drive.apply(Set(b"a", b"2"))


def test_a_damaged_value_and_its_change_are_named(store_files):
    directory, truth = store_files
    with closing(sqlite3.connect(directory / "table.db", isolation_level=None)) as db:
        db.execute("UPDATE entry SET value = x'00' WHERE key = CAST('key:0007' AS BLOB)")
    with closing(sqlite3.connect(directory / "journal.db", isolation_level=None)) as db:
        (revision,) = db.execute("SELECT max(revision) FROM journal WHERE key = CAST('key:0450' AS BLOB)").fetchone()
        db.execute("UPDATE journal SET value = x'00' WHERE revision = ?", (revision,))
    losses = judge_repair(directory, truth)
    assert f"journal.db: the change of revision {revision} is damaged on disk (key b'key:0450')" in losses
    assert "table.db: the entry of key b'key:0007' is damaged" in losses
    assert any("entries are whole" in loss for loss in losses)
    assert len(losses) == 4, "and the revision is missing between its neighbours"


def test_the_files_as_they_were_are_kept_byte_for_byte(store_files):
    directory, _ = store_files
    flip(directory / "table.db", 5 * PAGE + 100)
    before = {name: (directory / name).read_bytes() for name in ("journal.db", "table.db")}
    made = salvage(directory, "damaged")
    assert made.aside == directory / "damaged"
    assert {name: (made.aside / name).read_bytes() for name in before} == before
    assert (made.aside / LOSSES).read_text().splitlines() == made.losses
    again = salvage(directory, "damaged")
    assert (again.aside, again.losses) == (directory / "damaged-2", [])
    assert sorted(path.name for path in directory.iterdir()) == [
        "ballast",
        "damaged",
        "damaged-2",
        "journal.db",
        "lock",
        "table.db",
    ]


def test_the_wals_of_a_kill_are_kept_byte_for_byte(drive, tmp_path):
    drive.apply(Set(b"a", b"1"))
    case = copy_files(drive.directory, tmp_path / "case")
    names = ("journal.db", "journal.db-wal", "table.db", "table.db-wal")
    before = [(case / name).read_bytes() for name in names]
    made = salvage(case, "damaged")
    assert [(made.aside / name).read_bytes() for name in names] == before


def test_what_ran_under_once_is_forgotten(drive):
    drive.apply(Once(b"token--1", Incr(b"a")))
    drive.store.close()
    salvage(drive.directory, "damaged")
    assert list(drive.open().store.tokens) == []


# Killed in the middle


class Killed(BaseException):
    pass


def steps(monkeypatch, stop):
    """Let the n-th step that changes a file be the last."""
    count = itertools.count()

    def count_steps(function):
        def step(*arguments, **options):
            if next(count) == stop:
                raise Killed
            return function(*arguments, **options)

        return step

    for owner, name in [
        (module.Path, "rename"),
        (module.Path, "replace"),
        (module.Path, "unlink"),
        (module.Path, "mkdir"),
        (module.Path, "write_text"),
        (module.os, "link"),
        (module.shutil, "rmtree"),
        (module, "sync_path"),
    ]:
        monkeypatch.setattr(owner, name, count_steps(getattr(owner, name)))
    return count


def contents_of(directory):
    """Return the content of all files that have been the store's, wherever they are now."""
    return {path.read_bytes() for path in directory.rglob("*") if path.suffix in (".db", ".db-wal")}


@pytest.mark.parametrize("state", ["clean", "killed"])
def test_one_that_is_killed_anywhere_loses_nothing_and_the_next_ends_it(drive, tmp_path, state):
    truth = Truth()
    for number in range(60):
        truth.write(drive, (b"key:%d" % number, b"x" * 500))
    drive.fold()
    truth.write(drive, (b"key:7", None), (b"key:8", b"young"))
    template = copy_files(drive.directory, tmp_path / "template")
    if state == "clean":
        Store(template).close()
        (template / "ballast").unlink()
    flip(template / "table.db", 3 * PAGE + 3_000)
    originals = {(template / name).read_bytes() for name in ("journal.db", "table.db")}
    stop = 0
    while True:
        case = tmp_path / str(stop)
        shutil.copytree(template, case)
        with pytest.MonkeyPatch.context() as patch:
            steps(patch, stop)
            try:
                salvage_function(case, "damaged")
                break
            except Killed:
                pass
        assert originals <= contents_of(case)
        if (case / MOVING).exists():
            with pytest.raises(StorageFailed, match="was interrupted: `kvd check --repair"):
                Store(case)
        else:
            shutil.rmtree(tmp_path / "start", ignore_errors=True)
            shutil.copytree(case, tmp_path / "start")
            with_start = open_and_check(tmp_path / "start", truth)
            assert with_start.refused or with_start.revision == truth.revision
        judge_repair(case, truth)
        assert not (case / MADE).exists()
        assert not (case / MOVING).exists()
        assert originals <= contents_of(case)
        stop += 1
    assert stop > 10


def test_a_repair_that_was_interrupted_is_finished_and_told(store_files, monkeypatch):
    directory, truth = store_files
    with monkeypatch.context() as patch, pytest.raises(Killed):
        patch.setattr(module.Path, "replace", lambda *_: (_ for _ in ()).throw(Killed))
        salvage(directory, "damaged")
    [loss] = salvage(directory, "damaged").losses
    assert loss == f"an interrupted repair is finished; its losses are in {LOSSES} in its folder"
    assert open_and_check(directory, truth).walked == truth.at(truth.revision)


def test_an_error_of_the_system_is_a_sentence(store_files, monkeypatch):
    directory, truth = store_files
    with monkeypatch.context() as patch, pytest.raises(StorageFailed, match="no hard links"):
        patch.setattr(module.os, "link", lambda *_: (_ for _ in ()).throw(OSError(1, "no hard links")))
        salvage(directory, "damaged")
    assert EngineOnStore(directory).store.revision == truth.revision


def test_of_what_is_whole_nothing_is_touched(store_files):
    directory, _ = store_files
    before = contents_of(directory)
    assert report_if_whole(directory, lambda: None).damages == []
    assert contents_of(directory) == before


def test_what_is_damaged_or_was_interrupted_is_to_be_repaired(store_files):
    directory, _ = store_files
    (directory / MOVING).mkdir()
    assert report_if_whole(directory, lambda: None) is None
    (directory / MOVING).rmdir()
    (directory / "journal.db").unlink()
    assert report_if_whole(directory, lambda: None) is None
