"""A store with memory, staging and rows in C and one with the plain forms give the same answers to every command.

Beside test_machine.py, where each is held against a model: there are more keys here than memory holds, long lists of
them and values of all sizes, so that what is asked for is in memory, on disk, or both.
"""

import random

import pytest
from support.drives import NOW, EngineOnStore
from support.forms import built

from kvd import native, wire
from kvd.commands import atomic, changes, expiry, keys, values
from kvd.engine import staging as staging_module
from kvd.engine.staging import CompiledStaging, Staging
from kvd.errors import Refused
from kvd.storage.maintenance import fold_thread as fold_thread_module
from kvd.storage.maintenance import maintenance as maintenance_module
from kvd.storage.memory import overlays as overlays_module

KEYS = [b"%d" % number for number in range(60)] + [b"\xff" * 300, b"a", b"a\x00"]
VALUES = [b"", b"1", b"7", b"x" * 50, b"y" * 1023, b"z" * 1024, b"w" * 6_000]


def command(chance, now, revision):
    """Return a command of any kind."""
    key, value = chance.choice(KEYS), chance.choice(VALUES)
    some = [chance.choice(KEYS) for _ in range(chance.choice([1, 4, 15, 16, 40, 300]))]
    life = chance.choice([{}, {}, {"ttl": chance.choice([1, 3, 50])}, {"keep_ttl": True}, {"at": now + 5}])
    condition = chance.choice([{}, {}, {"nx": True}, {"xx": True}, {"revision": chance.choice([0, revision])}])
    expires = {name: value for name, value in life.items() if name != "keep_ttl"}
    at_revision = chance.choice([None, None, 0, revision])
    simple = [
        values.Set(key, value, **life, **condition, previous=chance.choice([None, True])), values.Get(key),
        values.MultiGet(some), values.MultiSet([(each, value) for each in some[:40]]), values.Clear(some[:3]),
        values.MultiSet([(each, value) for each in some[:40]], **expires), values.Clear([key], at_revision),
        values.Take(key, at_revision), expiry.Persist(key, at_revision), expiry.GetEx(key, **expires),
        values.Incr(key, 1), values.Append(key, value), expiry.Expire(key, 2), expiry.Ttl(key),
        keys.Exists(some[:20]), keys.EntryOf(key, value=True), keys.Count(b"1"), keys.Scan(b"1", key, 5, values=True),
        keys.Scan(limit=20, values=True, start=key, stop=chance.choice(KEYS), reverse=chance.choice([None, True])),
        keys.Scan(b"2", key, 5, reverse=True), values.TakeFirst(chance.choice([b"", b"1", key])),
    ]  # fmt: skip
    if chance.random() < 0.1:
        return atomic.Transaction([(key, 0)][: chance.randint(0, 1)], chance.choices(simple, k=5))
    token = b"token--%d" % chance.randint(0, 20)
    return chance.choice([*simple, atomic.Once(token, simple[0]), changes.Changes(revision, b"1", 7)])


def outcome(drive, asked, now):
    try:
        return wire.encode(drive.engine.apply(asked, now))
    except Refused as error:
        return error.code, str(error)


def state_of(drive):
    """Return what is staged, committed and counted."""
    store, staging = drive.store, drive.engine.staging
    return staging.rows, staging.last, staging.bytes, store.revision, store.entries, list(store.scan())


def open_drive(directory, module):
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(native, "module", module)
        return EngineOnStore(directory, fsync="never")


@built
@pytest.mark.parametrize("seed", range(8))
def test_both_forms_answer_the_same(tmp_path, monkeypatch, seed):
    chance, now = random.Random(seed), NOW
    monkeypatch.setattr(overlays_module, "MEMORY_BYTES_MAX", chance.choice([0, 20_000, 40_000]))
    monkeypatch.setattr(maintenance_module, "FOLD_CHANGES", chance.choice([5, 50]))
    monkeypatch.setattr(fold_thread_module, "FOLD_CHUNK_BYTES", chance.choice([1, 1 << 20]))
    monkeypatch.setattr(staging_module, "STAGED_BYTES_MAX", 20_000)
    drives = [open_drive(tmp_path / "compiled", native.module), open_drive(tmp_path / "plain", None)]
    assert [type(drive.engine.staging) for drive in drives] == [CompiledStaging, Staging]
    for _ in range(600):
        asked = wire.decode_command(wire.encode(command(chance, now, drives[0].store.revision)))
        first, second = [outcome(drive, asked, now) for drive in drives]
        assert type(first) is type(second)
        is_reply = type(first) is bytes
        assert (wire.decode_reply(first) if is_reply else first) == (wire.decode_reply(second) if is_reply else second)
        if chance.random() < 0.2:
            folds, ends = chance.random() < 0.2, chance.random() < 0.2
            now += chance.choice([0, 1, 5])
            for drive in drives:
                drive.commit()
                if folds:
                    drive.fold()
                if ends:
                    drive.engine.expire(sorted(drive.store.due(now, 1_000)), now)
            assert state_of(drives[0]) == state_of(drives[1])
    for drive in drives:
        drive.store.close()
