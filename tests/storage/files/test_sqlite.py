"""Which SQLite, which schema, and what its errors mean."""

import threading

import pytest
from sqlite_utils import Database
from sqlite_utils.utils import sqlite3
from support.drives import sqlite_error
from support.forms import built

from kvd.errors import Busy, Corrupt, Full, Internal, NewerDatabase, StorageFailed, UnfitSQLite
from kvd.storage.files import sqlite
from kvd.storage.files.sqlite import check_library, connect, connect_native, to_refusal
from kvd.storage.store import Store


@pytest.mark.parametrize(("version", "is_fit"), [((3, 40, 1), False), ((3, 51, 2), False), ((3, 51, 3), True)])
def test_a_library_that_can_corrupt_data_is_refused(monkeypatch, version, is_fit):
    monkeypatch.setattr(sqlite.sqlite3, "sqlite_version_info", version)
    if is_fit:
        check_library()
        return
    with pytest.raises(UnfitSQLite, match=r"can corrupt data \(WAL-reset bug, fixed in 3\.51\.3\): "):
        check_library()


@pytest.mark.parametrize(
    ("system", "machine", "advice"),
    [
        ("linux", "x86_64", "pip install --upgrade pysqlite3 installs a newer one"),
        ("linux", "aarch64", "has no wheel for linux on aarch64. Clients need no SQLite"),
        ("darwin", "arm64", "has no wheel for darwin on arm64. Clients need no SQLite"),
    ],
)
def test_the_refusal_says_what_helps_on_this_platform(monkeypatch, system, machine, advice):
    monkeypatch.setattr(sqlite.sqlite3, "sqlite_version_info", (3, 40, 1))
    monkeypatch.setattr(sqlite.sys, "platform", system)
    monkeypatch.setattr(sqlite.platform, "machine", lambda: machine)
    with pytest.raises(UnfitSQLite, match=f"{advice}$"):
        check_library()


def test_a_store_does_not_open_with_an_unfit_library(monkeypatch, tmp_path):
    monkeypatch.setattr(sqlite.sqlite3, "sqlite_version_info", (3, 40, 1))
    with pytest.raises(UnfitSQLite):
        Store(tmp_path / "data")
    assert not (tmp_path / "data").exists()


def test_the_library_is_the_one_of_pysqlite3():
    assert sqlite3.__name__.startswith("pysqlite3")


@pytest.mark.parametrize(
    ("code", "cls"),
    [
        (13, Full),
        (13 | 5 << 8, Full),
        (11, Corrupt),
        (11 | 1 << 8, Corrupt),
        (26, Corrupt),
        (10, Internal),
        (5, Busy),
        (5 | 2 << 8, Busy),
        (6, Busy),
        (8, Internal),
        (10 | 13 << 8, Internal),
    ],
)
def test_an_error_of_sqlite_is_one_of_ours(code, cls):
    assert type(to_refusal(sqlite_error(code))) is cls


def test_an_error_that_is_not_sqlites_is_internal():
    assert str(to_refusal(ValueError("what"))) == "INTERNAL: the storage failed: what (ValueError)"


@pytest.mark.parametrize("file", ["journal.db", "table.db"])
def test_a_database_of_a_newer_version_is_refused_with_a_sentence(drive, file):
    drive.store.close()
    db = Database(connect(drive.directory / file), execute_plugins=False)
    row = {"migration_set": f"kvd.{file[:-3]}", "name": "m999_future", "applied_at": "2099"}
    db["_sqlite_migrations"].insert(row)
    db.conn.close()
    with pytest.raises(NewerDatabase, match=r"was written by a newer kvd \(it has m999_future\): install that version"):
        drive.open()


@pytest.mark.parametrize("file", ["journal.db", "table.db"])
def test_a_file_that_is_no_database_stops_the_start_and_lets_the_directory_go(drive, file):
    drive.store.close()
    (drive.directory / file).write_bytes(b"not a database" * 1000)
    for _ in range(2):
        with pytest.raises(StorageFailed, match="is it a kvd database, whole and readable"):
            drive.open()


def test_a_connection_never_checkpoints_by_itself_and_syncs_as_it_is_told(tmp_path):
    db = connect(tmp_path / "a.db", synchronous="FULL")
    found = {
        name: db.execute(f"PRAGMA {name}").fetchone()[0]
        for name in ("journal_mode", "synchronous", "wal_autocheckpoint", "busy_timeout", "journal_size_limit")
    }
    assert found == {
        "journal_mode": "wal",
        "synchronous": 2,
        "wal_autocheckpoint": 0,
        "busy_timeout": 5000,
        "journal_size_limit": -1,
    }


@built
def test_each_thread_that_opens_a_connection_is_told_its_own(tmp_path):
    """SQLite keeps one list, for all threads, of what is called for a new connection."""
    begun, ended, found = threading.Event(), threading.Event(), []

    def connect_late():
        begun.set()
        ended.wait(60)
        return connect(tmp_path / "late")

    thread = threading.Thread(target=lambda: found.append(connect_native(connect_late)))
    thread.start()
    begun.wait(60)
    found.append(connect_native(lambda: connect(tmp_path / "soon")))
    ended.set()
    thread.join()
    assert len({address for _, address in found} - {0}) == 2
    for db, _ in found:
        db.close()
