"""Pipelines: what is sent while it is gathered, what becomes of it when the connection breaks, and order."""

import contextlib
import itertools
import socket
import threading
import time

import pytest
from support.peers import FakeDaemon, Peer, frames, message, messages, ping, read_exactly, shake_hands

from kvd import wire
from kvd.client import Client
from kvd.client.pipeline import PORTION_COMMANDS
from kvd.commands.base import Ok
from kvd.errors import KvdError, NoReply, OutcomeUnknown, TooLarge, Unreachable, WrongType


@pytest.fixture
def fake():
    with FakeDaemon() as daemon:
        yield daemon


@pytest.fixture
def kv_fake(fake):
    with Client(fake.endpoint, timeout=20) as client:
        yield client


@pytest.mark.parametrize("count", [0, 1, PORTION_COMMANDS - 1, PORTION_COMMANDS, PORTION_COMMANDS + 1, 2500])
def test_results_are_in_order(kv_fake, count):
    with kv_fake.pipeline() as pipeline:
        for _ in range(count):
            pipeline.incr("n")
    assert pipeline.results == list(range(1, count + 1))


def test_pipelines_use_the_connections_of_their_client(fake, kv_fake):
    kv_fake.get("a")
    for _ in range(5):
        with kv_fake.pipeline() as pipeline:
            pipeline.incr("n")
    assert fake.accepted == 1


def test_what_cannot_be_encoded_or_is_too_large_is_not_counted(kv_fake):
    with kv_fake.pipeline() as pipeline:
        pipeline.incr("a")
        with pytest.raises(OverflowError):
            pipeline.incr("a", 2**64)
        with pytest.raises(TooLarge):
            pipeline.set("a", "x" * 40 * 2**20)
        pipeline.incr("a")
    assert pipeline.results == [1, 2]


def test_an_error_of_one_command_leaves_the_others_alone(kv_fake):
    kv_fake.set("text", "x")
    with pytest.raises(WrongType), kv_fake.pipeline() as pipeline:
        pipeline.incr("n")
        pipeline.incr("text")
        pipeline.incr("n")
    assert [pipeline.results[0], pipeline.results[2]] == [1, 2]
    assert kv_fake.incr("n") == 3  # the connection is as good as before


def test_a_reply_that_may_be_overtaken_finds_its_command(daemon):
    """CHANGES that waits is answered after those behind it, by a write that comes later still."""
    with daemon.client(timeout=20) as kv:
        writer = threading.Timer(0.2, lambda: kv.set("late", "1"))
        writer.start()
        with kv.pipeline() as pipeline:
            pipeline.changes(0, "late", wait=10)
            pipeline.get("a")
            pipeline.check()
            pipeline.get("b")
        writer.join()
    assert [change.key for change in pipeline.results[0]] == [b"late"]
    assert pipeline.results[1] is pipeline.results[3] is None
    assert pipeline.results[2]["changes"] >= 0


def test_large_requests_and_large_replies_pass_each_other(daemon):
    """Neither side stops reading while it sends: 60 MB go each way."""
    with daemon.client(timeout=60) as kv:
        value = b"x" * 1_000_000
        kv.set("a", value)
        with kv.pipeline() as pipeline:
            for _ in range(60):
                pipeline.set("a", value, previous=True)
        assert pipeline.results == [value] * 60


def break_after(fake, count):
    """Return a peer that closes its first connection after a number of replies; later connections serve."""
    connections = itertools.count()

    def script(sock):
        shake_hands(sock)
        is_first = next(connections) == 0
        for number, parts in enumerate(messages(sock)):
            if is_first and number == count:
                sock.shutdown(socket.SHUT_WR)  # and read on: a reset would take back the replies
                until_closed(sock)
                return
            sock.sendall(message(*parts[:-1], fake.reply(parts[-1])))

    return Peer(script)


@pytest.mark.parametrize("count", [0, 1, 2, 3, 4, 5])
def test_after_a_break_reads_are_sent_again_in_order_and_writes_are_unknown(fake, count):
    with break_after(fake, count) as peer, Client(peer.endpoint, timeout=20) as kv:
        pipeline = kv.pipeline()
        for number in range(6):
            if number % 2:
                pipeline.get("n")
            else:
                pipeline.incr("n")
        with contextlib.suppress(OutcomeUnknown):
            pipeline.close()
    written = (count + 1) // 2  # before the break; the next write came, too, and was not run
    expected = [1, b"1", 2, b"2", 3, b"3"][:count]
    for number in range(count, 6):
        expected.append((b"%d" % written if written else None) if number % 2 else OutcomeUnknown)
    assert [type(each) if isinstance(each, Exception) else each for each in pipeline.results] == expected


def test_a_pipeline_without_a_daemon_fails_as_a_whole_and_at_once():
    with Peer(lambda _: None) as peer:
        endpoint = peer.endpoint
    with Client(endpoint, timeout=0.2) as kv:
        pipeline = kv.pipeline()
        for _ in range(200):
            pipeline.incr("n")
        with pytest.raises(Unreachable, match=endpoint):
            pipeline.close()
        assert [type(each) for each in pipeline.results] == [Unreachable] * 200


def test_a_silent_daemon_leaves_writes_unknown_and_reads_unanswered():
    def mute(sock):
        shake_hands(sock)
        while sock.recv(65536):
            pass

    with Peer(mute) as peer, Client(peer.endpoint, timeout=0.3) as kv:
        pipeline = kv.pipeline()
        pipeline.incr("n")
        pipeline.get("n")
        with pytest.raises(OutcomeUnknown, match=peer.endpoint):
            pipeline.close()
        assert [type(each) for each in pipeline.results] == [OutcomeUnknown, NoReply]


def test_a_reply_that_nothing_awaits_ends_the_connection():
    def talkative(sock):
        shake_hands(sock)
        for _ in messages(sock):
            sock.sendall(message(b"", wire.encode(Ok(1, 1))) * 3)

    with Peer(talkative) as peer, Client(peer.endpoint, timeout=1) as kv:
        pipeline = kv.pipeline()
        pipeline.incr("n")
        pipeline.close()
        assert pipeline.results == [1]
        with pytest.raises(KvdError):
            kv.incr("n")


def test_a_pipeline_left_by_an_error_sends_nothing_more(fake, kv_fake):
    with pytest.raises(ZeroDivisionError), kv_fake.pipeline() as pipeline:
        pipeline.incr("n")
        raise ZeroDivisionError
    assert kv_fake.get("n") is None


def test_a_ping_that_comes_while_a_large_request_is_sent_is_answered_behind_it():
    """An answer amid the frame would become part of the value, and everything after it would be garbage."""
    value = b"x" * 8_000_000
    received = []

    def script(sock):
        shake_hands(sock)
        head = read_exactly(sock, 11)
        for _ in range(20):
            sock.sendall(ping(b"context"))
            read_exactly(sock, 50_000)
            time.sleep(0.01)
        size = int.from_bytes(head[3:], "big")
        received.append(read_exactly(sock, size - 1_000_000))
        sock.sendall(message(b"", wire.encode(Ok(1, None))))
        received.extend(next(frames(sock)) for _ in range(20))
        until_closed(sock)

    with Peer(script) as peer, Client(peer.endpoint, timeout=20) as kv:
        with kv.pipeline() as pipeline:
            pipeline.set("a", value)
            pipeline._send_all()
        assert pipeline.results == [None]
        kv.close()
    assert set(received[0].rstrip(b"\xc0")) == {ord("x")}  # optional arguments that are nil come behind
    assert received[1:] == [(4, b"\x04PONGcontext")] * 20


def until_closed(sock):
    while sock.recv(65_536):
        pass
