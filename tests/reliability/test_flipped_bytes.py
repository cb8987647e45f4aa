"""Any byte of the files flipped while the daemon is down (R5): it is reported, or every value is right.

After a repair the store is whole, has no value that was never written, and reports everything it lacks.
"""

import random

import pytest
from support.damaged import FILES, Truth, copy_files, flip, judge_repair, open_and_check, restore_case
from support.drives import EngineOnStore

from kvd.errors import Corrupt
from kvd.storage.files import journal


@pytest.fixture(scope="module")
def kill_state(tmp_path_factory):
    """Make a directory with folds, checkpoints and changes after them, as a kill leaves it; return it and the truth."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(journal, "WAL_PRESIZED_BYTES", 1 << 18)
        folder = tmp_path_factory.mktemp("killed")
        drive = EngineOnStore(folder / "open")
        truth = fill(drive)
        made = copy_files(drive.directory, folder / "template")
        drive.store.close()
        yield made, truth


def fill(drive):
    chance = random.Random(5)
    truth = Truth()
    for part in range(6):
        keys = [b"key:%d" % number for number in chance.sample(range(300), 60)]
        values = [chance.randbytes(chance.choice([1, 30, 300, 3_000])) for _ in keys]
        for start in range(0, 60, 6):
            truth.write(drive, *zip(keys[start : start + 6], values[start : start + 6], strict=True))
        gone = chance.sample(sorted(truth.at(truth.revision)), 5)
        truth.write(drive, *[(key, None) for key in gone])
        if part in (1, 3):
            drive.fold().idle()  # checkpoints both files
        elif part < 5:
            drive.fold()
    return truth


def places(template, count, seed):
    """Choose bytes of the files at random: the same number in each, for the WALs would get most by their size."""
    chance = random.Random(seed)
    for number in range(count):
        file = FILES[number % len(FILES)]
        content = (template / file).read_bytes().rstrip(b"\0")
        yield file, chance.randrange(len(content)), chance.choice([0xFF, 1 << chance.randrange(8)])


def judge(found, truth):
    """Assert that everything wrong is reported; return how it was reported."""
    last = truth.at(truth.revision)
    if found.refused is not None:
        return "refused"
    for key, value in found.values.items():
        assert value in {*truth.history[key].values(), None}, f"{key!r} has a value it never had"
    wrong = {key: value for key, value in found.values.items() if value != last.get(key)}
    is_walk_right = bool(found.said) or found.walked == last
    if found.damages:
        return "reported by CHECK"
    assert not found.corrupt, "a GET says CORRUPT and CHECK does not"
    if found.notes:
        assert {key: value for key, value in found.values.items() if value is not None} == truth.at(found.revision)
        return "reported by the start"
    assert not wrong, f"{wrong} are wrong and nobody says so"
    assert is_walk_right
    return "all right"


def run(template, truth, case, cases):
    """Judge each case and its repair; return how many of each kind there were."""
    told = {}
    for file, place, mask in cases:
        try:
            flip(restore_case(case, template) / file, place, mask)
            outcome = judge(open_and_check(case, truth), truth)
            flip(restore_case(case, template) / file, place, mask)
            judge_repair(case, truth)
        except Exception as error:
            raise AssertionError(f"{file} at {place} ^ {mask:#x}") from error
        told[f"{file}: {outcome}"] = told.get(f"{file}: {outcome}", 0) + 1
    return told


def test_what_a_kill_leaves_is_all_right(kill_state, tmp_path):
    template, truth = kill_state
    found = open_and_check(restore_case(tmp_path / "case", template), truth)
    assert judge(found, truth) == "all right"
    assert (found.revision, found.walked) == (truth.revision, truth.at(truth.revision))
    assert judge_repair(restore_case(tmp_path / "case", template), truth) == []


def test_a_flipped_byte_is_told_or_does_no_harm(kill_state, tmp_path):
    template, truth = kill_state
    told = run(template, truth, tmp_path / "case", places(template, 40, seed=1))
    print(told)
    assert sum(count for outcome, count in told.items() if "all right" not in outcome) > 10


@pytest.mark.long
def test_a_thousand_flipped_bytes(kill_state, tmp_path):
    template, truth = kill_state
    for outcome, count in sorted(run(template, truth, tmp_path / "case", places(template, 1_000, seed=2)).items()):
        print(f"{count:4} {outcome}")


def through_daemon(make_daemon, kill_state, cases):
    """Start a daemon on each damaged directory, CHECK, and compare all keys."""
    template, truth = kill_state
    last = truth.at(truth.revision)
    told = {}
    for file, place, mask in cases:
        daemon = make_daemon()
        flip(copy_files(template, daemon.data) / file, place, mask)
        try:
            daemon.start()
        except AssertionError:
            assert daemon.process.wait() == 74, daemon.log.read_text()
            assert "kvd: " in daemon.log.read_text()
            told["refused"] = told.get("refused", 0) + 1
            continue
        with daemon.client() as kv:
            damages = []
            try:
                kv.check()
            except Corrupt as error:
                damages = error.details["damages"]
            values, corrupt = {}, 0
            for key in truth.history:
                try:
                    values[key] = kv.get(key)
                except Corrupt:
                    corrupt += 1
        for key, value in values.items():
            assert value in {*truth.history[key].values(), None}, (file, place, mask)
        is_told = bool(damages) or "event=recovered" in daemon.log.read_text()
        assert is_told or (not corrupt and all(value == last.get(key) for key, value in values.items()))
        told["told" if is_told else "all right"] = told.get("told" if is_told else "all right", 0) + 1
        daemon.stop()
    return told


def test_a_flipped_byte_through_a_daemon(make_daemon, kill_state):
    through_daemon(make_daemon, kill_state, places(kill_state[0], 4, seed=3))


@pytest.mark.long
def test_fifty_flipped_bytes_through_a_daemon(make_daemon, kill_state):
    print(through_daemon(make_daemon, kill_state, places(kill_state[0], 50, seed=4)))
