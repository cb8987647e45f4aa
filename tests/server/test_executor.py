"""The executor: an error in one command goes to its sender alone, and cold keys are read together."""

import msgspec
import pytest
from support.drives import EngineOnStore, evict_all

from kvd import wire
from kvd.commands.values import Get, MultiSet, Set
from kvd.server.background import AdminTasks, BackgroundCommands
from kvd.server.clock import Clock
from kvd.server.executor import Executor
from kvd.server.info import Introspection
from kvd.server.pipeline import BatchPipeline


@pytest.fixture
def executor(tmp_path):
    drive = EngineOnStore(tmp_path / "data")
    drive.apply(MultiSet([(b"%d" % number, b"v%d" % number) for number in range(20)]))
    drive.fold()
    tasks = BackgroundCommands()
    yield Executor(drive.store, Introspection({}, AdminTasks(drive.directory, drive.directory, tasks)), tasks)
    drive.store.close()


def answers(executor, *bodies):
    batch = [([b"peer", b""], body) for body in bodies]
    pipeline = BatchPipeline(executor, Clock(0))
    replies = [wire.decode_reply(body) for body in executor.run_batch(batch, pipeline.clock.now())]
    pipeline.commit()
    return [getattr(reply, "result", None) or getattr(reply, "code", None) for reply in replies]


def get(number):
    return wire.encode(Get(b"%d" % number))


def test_what_is_wrong_with_one_is_not_the_others_business(executor):
    bodies = [get(1), b"\xc1", wire.encode(["NONE"]), wire.encode(["GET", 7]), get(2)]
    assert answers(executor, *bodies) == [b"v1", "BAD_REQUEST", "UNKNOWN_COMMAND", "BAD_ARGUMENT", b"v2"]
    assert (executor.counts.errors, executor.counts.calls) == (3, {"GET": 2})


def test_whatever_goes_wrong_in_decoding_ends_no_one_but_its_sender(executor, monkeypatch):
    real = wire.command_decoder()

    def decoder(body):
        if body == b"deep":
            raise RecursionError
        return real(body)

    monkeypatch.setattr(wire, "command_decoder", lambda: decoder)
    assert answers(executor, get(1), b"deep", get(2)) == [b"v1", "INTERNAL", b"v2"]


@pytest.mark.parametrize("inner", [["ONCE", b"token--1"], ["TRANSACTION", []], []])
def test_a_body_of_many_floors_is_refused(executor, inner):
    body = b"".join(msgspec.msgpack.encode([*inner, 0])[:-1] for _ in range(5_000)) + b"\xc0"
    [code] = answers(executor, body)
    assert code in ("BAD_REQUEST", "BAD_ARGUMENT", "TOO_LARGE")
    assert answers(executor, get(1)) == [b"v1"]


def test_a_batch_asks_the_table_once(executor, monkeypatch):
    store = executor.store
    evict_all(store)
    executor.engine.staging.drop()
    asked = []
    monkeypatch.setattr(store.table, "get", lambda key: asked.append(key) or pytest.fail("read alone"))
    real = store.table.read_into
    monkeypatch.setattr(store.table, "read_into", lambda known, keys: asked.append(list(keys)) or real(known, keys))
    before = store.hits + store.misses
    found = answers(executor, get(3), wire.encode(Set(b"4", b"new")), get(4), get(99), get(3))
    assert found == [b"v3", None, b"new", None, b"v3"]
    assert asked == [[b"3", b"4", b"99"]]
    assert store.hits + store.misses - before == 4  # the staged one is not asked for


def test_what_is_damaged_is_told_to_who_asks_for_it(executor, monkeypatch):
    store = executor.store
    evict_all(store)
    store.table.db.execute("UPDATE entry SET checksum = 1 WHERE key = x'34'")
    executor.engine.staging.drop()
    assert answers(executor, get(3), get(4), get(5), get(6)) == [b"v3", "CORRUPT", b"v5", b"v6"]


def test_commands_that_take_long_to_decode_are_left_to_the_next_commit(executor, monkeypatch):
    """So others are answered within a bounded time, whatever a client sends."""
    body = wire.encode(["GET", "1"])  # of the other kind of strings
    monkeypatch.setattr("kvd.server.executor.BATCH_NS_MAX", 0)
    assert len(executor.run_batch([([], body)] * 5, 1)) == 1
    monkeypatch.setattr("kvd.server.executor.BATCH_NS_MAX", 10**12)
    assert answers(executor, *[body] * 5) == [b"v1"] * 5
