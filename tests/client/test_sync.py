"""The blocking client and its stream, against a real daemon."""

import signal
import threading

import pytest

from kvd.client import Client, Stream
from kvd.commands.server import Ping
from kvd.commands.values import Get, Incr, Set
from kvd.errors import (
    BadArgument,
    Conflict,
    OutcomeUnknown,
    TooLarge,
    UnknownCommand,
    Unreachable,
    WrongType,
)


def test_errors_are_classes_with_details(kv):
    kv.set("a", "x")
    with pytest.raises(WrongType):
        kv.incr("a")
    with pytest.raises(Conflict) as caught:
        kv.set("a", "y", nx=True)
    assert caught.value.details == {"revision": 1}
    with pytest.raises(BadArgument):
        kv.get("")
    with pytest.raises(TooLarge):
        kv.get(b"k" * 5000)
    with pytest.raises(UnknownCommand):
        kv.commands("nonsense")
    with pytest.raises(TypeError):
        kv.set("a", value=True)
    assert kv.get("a") == b"x"


def test_no_daemon_is_unreachable(tmp_path):
    with Client(f"ipc://{tmp_path}/none", timeout=0.2) as kv, pytest.raises(Unreachable):
        kv.get("a")


def test_no_endpoint_is_a_value_error():
    with pytest.raises(ValueError, match="is not an endpoint"):
        Client("nonsense")
    with pytest.raises(ValueError, match="window"):
        Stream(window=0)


def test_a_stopped_daemon_leaves_a_write_unknown_and_a_read_unanswered(daemon, kv):
    kv.set("a", "1")
    with Client(daemon.commands, timeout=0.3) as hasty:
        hasty.ping()
        daemon.signal(signal.SIGSTOP)
        with pytest.raises(OutcomeUnknown):
            hasty.set("a", "2")
        with pytest.raises(Unreachable, match="no answer in time"):
            hasty.get("a")
        daemon.signal(signal.SIGCONT)
        assert hasty.get("a") == b"2"  # the late replies belong to nobody


def test_a_broken_connection_leaves_a_write_unknown_and_repeats_reads_and_once(make_daemon):
    daemon = make_daemon().start()
    with daemon.client(timeout=60) as kv:
        kv.set("n", "1")
        daemon.signal(signal.SIGSTOP)
        daemon.signal(signal.SIGSTOP)
        threading.Timer(0.2, lambda: (daemon.kill(), daemon.spawn())).start()
        with pytest.raises(OutcomeUnknown), kv.pipeline() as pipeline:
            pipeline.set("a", "1")
            pipeline.get("n")
        assert isinstance(pipeline.results[0], OutcomeUnknown)
        assert pipeline.results[1] == b"1"
        daemon.signal(signal.SIGSTOP)
        threading.Timer(0.2, lambda: (daemon.kill(), daemon.spawn())).start()
        assert kv.once(b"my token").incr("n") == 2
        assert kv.once(b"my token").incr("n") == 2
        assert kv.once().get("n") == b"2"
        assert kv.once().run(Incr(b"n")) == 3


def test_a_pipeline_gives_results_in_order_and_raises_the_first_error(kv):
    with pytest.raises(WrongType), kv.pipeline() as pipeline:
        for number in range(3000):
            pipeline.set(f"k{number}", str(number))
        pipeline.set("text", "x")
        pipeline.incr("text")
        pipeline.run(Get(b"k7"))
    assert pipeline.results[:3000] == [None] * 3000
    assert isinstance(pipeline.results[3001], WrongType)
    assert pipeline.results[3002:] == [b"7"]


def test_a_pipeline_left_by_an_error_does_not_hang(kv):
    with pytest.raises(RuntimeError), kv.pipeline() as pipeline:
        pipeline.set("a", "1")
        raise RuntimeError


def test_a_transaction_is_whole_or_not_at_all(kv):
    kv.set("a", "x")
    with pytest.raises(WrongType) as caught, kv.transaction() as transaction:
        transaction.set("b", "1")
        transaction.incr("a")
    assert caught.value.details["index"] == 1
    assert kv.get("b") is None
    with pytest.raises(Conflict), kv.transaction({"a": 7}) as transaction:
        transaction.set("b", "1")
    with kv.transaction({"a": 1, "none": 0}) as transaction:
        transaction.set("b", "1")
        transaction.ttl("b")
        transaction.run(Get(b"a"))
    assert transaction.results == [None, float("inf"), b"x"]
    with kv.transaction():
        pass


def test_scan_and_items_walk_over_all_pages(kv):
    with kv.pipeline() as pipeline:
        for number in range(25_000):
            pipeline.set(f"k{number:05}", str(number))
    assert list(kv.scan("k")) == [b"k%05d" % number for number in range(25_000)]
    assert list(kv.items("k2499")) == [(b"k2499%d" % n, b"2499%d" % n) for n in range(10)]
    assert kv.count("k1") == 10_000


def test_an_interrupted_call_does_not_confuse_the_next(daemon):
    with Stream(daemon.commands) as stream:
        stream.answer(Set(b"a", b"1"))
        stream.send(Get(b"a"), "left behind")
        assert stream.answer(Ping(b"x")).result == b"x"


def test_many_large_values_stream_through_a_small_window(daemon):
    value = b"x" * 1_000_000
    with Stream(daemon.commands, timeout=30, window=4) as stream:
        done = 0
        for number in range(50):
            stream.send(Set(b"%d" % number, value), number)
            while stream.in_flight >= stream.window:
                done += len(stream.receive())
        while stream.in_flight:
            done += len(stream.receive())
        assert done == 50
        stream.send(Get(b"49"), "x")
        [(_, ok)] = stream.receive()
        assert ok.result == value


def test_a_watch_goes_on_from_its_revision_with_what_was_not_handed_out_yet(kv):
    kv.multiset({f"user:{number}": "x" for number in range(5)})
    with kv.watch(since=0) as watch:
        assert [next(watch).revision, watch.revision] == [1, 1]  # the others have come too, and wait
    with kv.watch(since=1) as watch:
        assert watch.ready() == 1
        assert [next(watch).revision for _ in range(4)] == [2, 3, 4, 5]
        assert watch.revision == 5
