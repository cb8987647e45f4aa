"""One daemon per directory."""

import os

import pytest

from kvd.errors import InUse, StorageFailed
from kvd.storage.files.directory_lock import DirectoryLock


def test_a_second_lock_is_refused_and_says_who_has_the_first(tmp_path):
    first = DirectoryLock(tmp_path)
    with pytest.raises(InUse, match=rf"^{tmp_path} is served by another kvd \(process {os.getpid()}\)$"):
        DirectoryLock(tmp_path)
    first.close()
    DirectoryLock(tmp_path).close()


def test_a_holder_that_did_not_say_who_it_is_is_unknown(tmp_path):
    first = DirectoryLock(tmp_path)
    os.truncate(tmp_path / "lock", 0)
    with pytest.raises(InUse, match=r"\(process unknown\)"):
        DirectoryLock(tmp_path)
    first.close()


def test_a_lock_that_cannot_be_opened_stops_the_start(tmp_path):
    (tmp_path / "lock").mkdir()
    with pytest.raises(StorageFailed, match=rf"^cannot open {tmp_path}/lock: Is a directory$"):
        DirectoryLock(tmp_path)
