"""A WAL truncated or garbled at every 512 bytes (R6): a consistent prefix and a report of it, or a refusal.

SQLite opens such files as if the lost part had never been written; kvd/storage/offline/recovery.py has to report it.
"""

import os
import random

import pytest
from support.damaged import Truth, copy_files, judge_repair, open_and_check, overwrite, restore_case
from support.drives import EngineOnStore

from kvd.storage.files import journal

BLOCK = 512


def fill(drive, truth, chance, commits):
    for _ in range(commits):
        truth.write(drive, *[(b"key:%d" % chance.randrange(40), chance.randbytes(200)) for _ in range(3)])


def without_a_fold(drive, truth, chance):
    fill(drive, truth, chance, 25)


def with_folds(drive, truth, chance):
    """The journal's WAL was restarted; the table has changes of both."""
    fill(drive, truth, chance, 30)
    drive.fold().idle()
    fill(drive, truth, chance, 8)
    drive.fold()
    fill(drive, truth, chance, 8)


def checkpoint_both(drive, truth, chance):
    """Both WALs are copied into the files already, and still hold their frames."""
    fill(drive, truth, chance, 12)
    drive.fold()
    fill(drive, truth, chance, 12)
    drive.fold().idle()


STATES = {state.__name__: state for state in (without_a_fold, with_folds)} | {"checkpointed": checkpoint_both}


@pytest.fixture(scope="module")
def templates(tmp_path_factory):
    """Make a directory of each state, as a kill leaves it, with its truth."""
    made = {}
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(journal, "WAL_PRESIZED_BYTES", 1 << 20)
        for name, state in STATES.items():
            folder = tmp_path_factory.mktemp(name)
            drive, truth = EngineOnStore(folder / "open"), Truth()
            state(drive, truth, random.Random(6))
            made[name] = copy_files(drive.directory, folder / "template"), truth
            drive.store.close()
        yield made


def truncate(wal, place):
    os.truncate(wal, place)


def garble(wal, place):
    overwrite(wal, place, random.Random(place).randbytes(BLOCK))


def zero(wal, place):
    overwrite(wal, place, bytes(BLOCK))


DAMAGES = [truncate, garble, zero]


def judge(found, truth):
    """Assert that no acknowledged change is lost without a word; return what was said."""
    if found.refused is not None:
        assert found.refused
        return "refused"
    if found.damages:
        return "reported by CHECK"
    assert not found.corrupt
    assert found.walked == truth.at(found.revision), "not a prefix of what was committed"
    assert found.notes or found.revision == truth.revision, "changes are lost in silence"
    return "prefix" if found.revision < truth.revision else "all there, noted" if found.notes else "all there"


def run(template, truth, case, file, cases, *, has_index):
    told = {}
    for damage, place in cases:
        try:
            damage(restore_case(case, template) / file, place)
            if not has_index:  # as after a power loss
                for index in case.glob("*-shm"):
                    index.unlink()
            outcome = judge(open_and_check(case, truth), truth)
            if outcome in ("refused", "reported by CHECK"):
                again = open_and_check(case, truth)
                assert again.refused or again.damages, "a refused file is refused until it is repaired"
                judge_repair(case, truth)
        except Exception as error:
            raise AssertionError(f"{damage.__name__} {file} at {place}") from error
        told[damage.__name__, outcome] = told.get((damage.__name__, outcome), 0) + 1
    return told


def all_places(template, file):
    used = len((template / file).read_bytes().rstrip(b"\0"))
    return [(damage, place) for damage in DAMAGES for place in range(0, used, BLOCK)]


@pytest.mark.parametrize("file", ["journal.db-wal", "table.db-wal"])
@pytest.mark.parametrize("state", STATES)
@pytest.mark.parametrize("has_index", [True, False], ids=["index", "no-index"])
def test_a_damaged_wal_is_told_or_does_no_harm(templates, tmp_path, state, file, has_index):
    template, truth = templates[state]
    cases = all_places(template, file)
    some = [cases[0], cases[-1], *random.Random(1).sample(cases, min(len(cases), 12))] if cases else []
    told = run(template, truth, tmp_path / "case", file, some, has_index=has_index)
    print(state, file, has_index, told)
    assert not some or state == "checkpointed" or set(told) != {(damage.__name__, "all there") for damage in DAMAGES}


@pytest.mark.long
@pytest.mark.parametrize("file", ["journal.db-wal", "table.db-wal"])
@pytest.mark.parametrize("state", STATES)
@pytest.mark.parametrize("has_index", [True, False], ids=["index", "no-index"])
def test_every_place_of_a_wal(templates, tmp_path, state, file, has_index):
    template, truth = templates[state]
    told = run(template, truth, tmp_path / "case", file, all_places(template, file), has_index=has_index)
    print(state, file, has_index, sum(told.values()), {" ".join(key): count for key, count in sorted(told.items())})
