"""The pipeline of a batch: it yields replies and changes together, after the commit."""

import pytest
from support.drives import EngineOnStore

from kvd import wire
from kvd.commands.values import Get, Set
from kvd.errors import Full, Internal
from kvd.server.background import AdminTasks, BackgroundCommands
from kvd.server.clock import Clock
from kvd.server.executor import Executor
from kvd.server.info import Introspection
from kvd.server.pipeline import BatchPipeline


@pytest.fixture
def pipeline(tmp_path):
    drive = EngineOnStore(tmp_path / "data")
    background = BackgroundCommands()
    daemon = Introspection({}, AdminTasks(drive.directory, drive.directory, background))
    yield BatchPipeline(Executor(drive.store, daemon, background), Clock(0))
    drive.store.close()


def requests(*commands):
    return [([b"%d" % number, b""], wire.encode_command(command)) for number, command in enumerate(commands)]


def replies_in(answered):
    return [wire.decode_reply(body) for body in answered.replies]


def fail_commits(pipeline, monkeypatch, *errors):
    """Raise these errors in the next commits."""
    real, pending = pipeline.executor.store.commit, list(errors)

    def commit(staged):
        if pending:
            raise pending.pop(0)
        real(staged)

    monkeypatch.setattr(pipeline.executor.store, "commit", commit)


def test_a_batch_is_one_commit_and_one_answer(pipeline):
    batch = requests(Set(b"a", b"1"), Get(b"a"), Set(b"b", b"2"))
    [answered] = pipeline.run(batch)
    assert (answered.requests, answered.is_partial) == (batch, False)
    assert [reply.result for reply in replies_in(answered)] == [None, b"1", None]
    assert [row[2] for row in answered.rows] == [b"a", b"b"]
    assert (pipeline.commits, pipeline.batches) == (1, 1)


def test_a_batch_that_reaches_a_limit_is_answered_in_parts(pipeline, monkeypatch):
    monkeypatch.setattr("kvd.server.executor.BATCH_NS_MAX", 0)
    parts = list(pipeline.run(requests(Set(b"a", b"1"), Set(b"b", b"2"))))
    assert [(len(part.requests), part.is_partial) for part in parts] == [(1, True), (1, False)]


def test_after_full_each_command_is_a_batch_of_its_own(pipeline, monkeypatch):
    fail_commits(pipeline, monkeypatch, Full("no space"), Full("no space"))
    first, second = pipeline.run(requests(Set(b"a", b"1"), Set(b"b", b"2")))
    assert ([reply.code for reply in replies_in(first)], first.rows) == (["FULL"], [])
    assert [row[2] for row in second.rows] == [b"b"]
    assert pipeline.executor.read_only is None


def test_after_an_unknown_outcome_nothing_is_published_and_no_write_is_accepted(pipeline, monkeypatch):
    fail_commits(pipeline, monkeypatch, Internal("fsync"))
    [answered] = pipeline.run(requests(Set(b"a", b"1"), Get(b"a")))
    assert ([reply.code for reply in replies_in(answered)], answered.rows) == (["INTERNAL", "INTERNAL"], [])
    [answered] = pipeline.run(requests(Set(b"a", b"1"), Get(b"a")))
    assert [getattr(reply, "code", "OK") for reply in replies_in(answered)] == ["READ_ONLY", "OK"]
    assert pipeline.executor.read_only == "a commit failed: fsync"
