"""A backup that SQLite reads without a complaint, and that is not what was written: refused, and nothing is made."""

import pytest

from kvd.commands.values import Clear, Set
from kvd.errors import Corrupt
from kvd.storage.files.sqlite import connect
from kvd.storage.offline.backup import back_up, restore


@pytest.mark.parametrize(
    ("damage", "said"),
    [
        ("UPDATE about SET folded = folded + 1", "its description does not match its seal"),
        ("UPDATE about SET folded = folded - 1", "its description does not match its seal"),
        ("UPDATE about SET entries = 4", "its description does not match its seal"),
        ("UPDATE about SET history = x'00'", "its description does not match its seal"),
        ("DELETE FROM entry WHERE key = x'62'", "2 of 3 entries"),
        ("DELETE FROM changes WHERE revision = 5", "changes are missing"),
        ("DELETE FROM changes WHERE revision = 6", "changes are missing"),
    ],
)
def test_what_is_missing_or_changed_is_noticed(drive, tmp_path, damage, said):
    drive.apply(Set(b"a", b"1"), Set(b"b", b"1"))
    drive.fold().apply(Set(b"c", b"1"), Set(b"d", b"1"), Clear([b"a"]), Set(b"d", b"2"))
    back_up(drive.directory, tmp_path / "backup", lambda: None)
    assert restore(tmp_path / "backup", tmp_path / "whole").entries == 3
    other = connect(tmp_path / "backup")
    other.execute(damage)
    other.close()
    with pytest.raises(Corrupt, match=said):
        restore(tmp_path / "backup", tmp_path / "restored")
    assert not (tmp_path / "restored").exists()
