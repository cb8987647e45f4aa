"""One client for threads, forked children and signal handlers; what is closed, lost or in short supply."""

import asyncio
import contextlib
import gc
import multiprocessing
import os
import signal
import socket
import threading
import time
import warnings
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor

import pytest
from support.descriptors import Descriptors, few_descriptors
from support.peers import FakeDaemon, Peer, dead_endpoint, message, messages, shake_hands
from support.running import eventually

from kvd import wire
from kvd.client import AsyncClient, Client
from kvd.commands.base import Ok
from kvd.errors import KvdError, NoReply, OutcomeUnknown, Unreachable

ENDPOINT_VARIABLE = "KVD_TEST_ENDPOINT"


@pytest.fixture
def fake():
    with FakeDaemon() as daemon:
        yield daemon


@pytest.fixture
def kv_fake(fake):
    with Client(fake.endpoint, timeout=20) as client:
        yield client


def test_threads_share_a_client(fake, kv_fake):
    def work(number):
        for turn in range(60):
            kv_fake.set(f"{number}", f"{turn}")
            assert kv_fake.get(f"{number}") == b"%d" % turn
            kv_fake.incr("sum")
            if turn % 20 == 0:
                with kv_fake.pipeline() as pipeline:
                    for _ in range(10):
                        pipeline.incr("piped")

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(work, range(8)))
    assert (kv_fake.get("sum"), kv_fake.get("piped")) == (b"480", b"240")
    assert fake.accepted <= 8


@pytest.mark.long
def test_eight_threads_of_a_thousand_calls_each(kv):
    def work(number):
        for turn in range(1000):
            kv.set(f"{number}", f"{turn}")
            assert kv.get(f"{number}") == b"%d" % turn
            kv.incr("sum")

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(work, range(8)))
    assert kv.get("sum") == b"8000"


def test_a_client_that_is_closed_while_threads_use_it_ends_their_calls_and_leaves_no_descriptor(fake):
    since = Descriptors()
    for _ in range(10):
        kv = Client(fake.endpoint, timeout=20)
        barrier = threading.Barrier(5)

        def work(kv=kv, barrier=barrier):
            barrier.wait()
            with pytest.raises(KvdError, match="the client is closed"):
                for _ in range(100_000):
                    kv.incr("n")

        with ThreadPoolExecutor(4) as pool:
            done = [pool.submit(work) for _ in range(4)]
            barrier.wait()
            time.sleep(0.005)
            kv.close()
            for each in done:
                each.result()
        assert kv._pool._idle == []
    eventually(since.are_closed)


def in_child(work):
    """Run something in a forked child; return its exit code."""
    pid = os.fork()
    if pid == 0:
        code = 1
        with contextlib.suppress(BaseException):
            work()
            code = 0
        os._exit(code)
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])


def increment(kv, times=20):
    for _ in range(times):
        kv.incr("n")


def test_a_forked_child_and_its_parent_both_go_on(fake, kv_fake):
    kv_fake.incr("n")
    for _ in range(3):
        assert in_child(lambda: increment(kv_fake)) == 0
        increment(kv_fake)
    assert kv_fake.get("n") == b"121"
    accepted = fake.accepted
    assert in_child(kv_fake.close) == 0
    assert kv_fake.get("n") == b"121"
    assert fake.accepted == accepted  # the parent's connection was left alone


def test_a_fork_while_other_threads_are_in_calls(fake, kv_fake):
    is_over = threading.Event()

    def work():
        while not is_over.is_set():
            assert kv_fake.get("a") is None

    threads = [threading.Thread(target=work) for _ in range(3)]
    for each in threads:
        each.start()
    codes = [in_child(lambda: increment(kv_fake, 5)) for _ in range(5)]
    is_over.set()
    for each in threads:
        each.join()
    assert codes == [0] * 5
    assert kv_fake.get("n") == b"25"


def test_a_fork_from_a_thread(kv_fake):
    kv_fake.get("a")
    with ThreadPoolExecutor(1) as pool:
        assert pool.submit(in_child, lambda: increment(kv_fake, 5)).result() == 0
    assert kv_fake.incr("n") == 6


def test_a_fork_within_a_pipeline_leaves_it_to_the_parent(kv_fake):
    def end(pipeline):
        with pytest.raises(KvdError, match="before a fork"):
            pipeline.close()
        kv_fake.incr("n")

    with kv_fake.pipeline() as pipeline:
        for _ in range(100):
            pipeline.incr("n")
        assert in_child(lambda: end(pipeline)) == 0
        assert in_child(lambda: pipeline.__exit__(ValueError, ValueError(), None)) == 0
        for _ in range(100):
            pipeline.incr("n")
    assert max(pipeline.results) == 201
    assert kv_fake.get("n") == b"201"


def test_a_stream_and_a_watch_from_before_a_fork_say_so(fake, kv_fake):
    from kvd.commands.server import Ping  # noqa: PLC0415

    stream = kv_fake.stream()
    stream.answer(Ping())
    watch = kv_fake.watch("a")

    def use():
        with pytest.raises(RuntimeError, match="before a fork"):
            stream.answer(Ping())
        with pytest.raises(RuntimeError, match="before a fork"):
            watch.take(0)

    assert in_child(use) == 0
    assert stream.answer(Ping()).result == b"PONG"
    stream.close()
    watch.close()


SHARED = None  # the client that children of multiprocessing inherit


def increment_shared(times):
    increment(SHARED, times)
    return os.getpid()


def test_multiprocessing_and_its_executor_inherit_a_client(kv_fake):
    global SHARED  # noqa: PLW0603  # children inherit it, as those of a preloaded server do
    SHARED = kv_fake
    kv_fake.incr("n")
    forking = multiprocessing.get_context("fork")
    process = forking.Process(target=increment_shared, args=(5,))
    process.start()
    process.join()
    assert process.exitcode == 0
    with ProcessPoolExecutor(2, mp_context=forking) as pool:
        pids = set(pool.map(increment_shared, [5] * 4))
    assert os.getpid() not in pids
    assert kv_fake.get("n") == b"26"


class Alarm:
    """Asks within a signal handler, once, at the first moment that comes."""

    def __init__(self, kv):
        self.kv = kv
        self.answers = []

    def __enter__(self):
        self.previous = signal.signal(signal.SIGALRM, self.ask)
        signal.setitimer(signal.ITIMER_REAL, 0.05)
        return self

    def __exit__(self, *_):
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, self.previous)

    def ask(self, *_):
        self.answers.append(self.kv.incr("nested"))


def slowly(delay_s):
    """Return a daemon that takes its time to reply."""

    class Slow(FakeDaemon):
        def reply(self, body):
            time.sleep(delay_s)
            return super().reply(body)

    return Slow()


def five(kv):
    with kv.pipeline() as pipeline:
        for _ in range(5):
            pipeline.incr("n")
    return pipeline.results[-1]


@pytest.mark.parametrize("call", [lambda kv: kv.incr("n", 5), five], ids=["incr", "pipeline"])
def test_a_handler_that_asks_within_a_call(call):
    with slowly(0.1) as fake, Client(fake.endpoint) as kv, Alarm(kv) as alarm:
        assert call(kv) == 5
        assert alarm.answers == [1]


def test_a_handler_that_asks_while_changes_are_awaited(kv):
    with Alarm(kv) as alarm:
        assert [change.key for change in kv.changes(0, "nested", wait=10)] == [b"nested"]
        assert alarm.answers == [1]


def test_a_handler_that_asks_while_the_client_connects():
    def late(sock):
        time.sleep(0.15)
        shake_hands(sock)
        for parts in messages(sock):
            sock.sendall(message(*parts[:-1], wire.encode(Ok(1, 1))))

    with Peer(late) as peer, Client(peer.endpoint) as kv, Alarm(kv) as alarm:
        assert kv.incr("n") == 1
        assert alarm.answers == [1]


def test_a_destructor_that_asks(kv):  # not of a daemon in this process: its thread might run the destructor
    class Asks:
        def __del__(self):
            kv.incr("n")

    for _ in range(50):
        loop = [Asks()]
        loop.append(loop)
        del loop
        kv.get("a")
    gc.collect()
    assert kv.get("n") == b"50"


def test_a_connection_is_one_descriptor_and_no_thread(fake):
    with Client(fake.endpoint) as kv:
        threads, since = set(threading.enumerate()), Descriptors()
        kv.get("a")
        eventually(lambda: len(since.list_new()) == 2)  # the daemon, which is in this process, has one too
        assert len(set(threading.enumerate()) - threads) == 1  # the daemon's


def test_without_descriptors_a_client_raises_oserror_at_once(daemon):
    with daemon.client(timeout=1000) as kv, Client(dead_endpoint(), timeout=1000) as tcp:
        with few_descriptors():
            with pytest.raises(OSError, match="Too many open files"):
                kv.get("a")
            with pytest.raises(OSError, match="Too many open files"):
                tcp.get("a")
        assert kv.get("a") is None


def test_a_dropped_client_warns_and_leaves_no_descriptor(fake):
    since = Descriptors()
    kv = Client(fake.endpoint)
    kv.get("a")
    with pytest.warns(ResourceWarning, match="unclosed kvd client"):  # noqa: PT031  # dropped, then collected
        del kv
        gc.collect()
    eventually(since.are_closed)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        with Client(fake.endpoint) as kv:
            kv.get("a")
        del kv
        gc.collect()


def test_a_closed_client_says_so(fake):
    kv = Client(fake.endpoint)
    kv.get("a")
    kv.close()
    kv.close()
    with pytest.raises(KvdError, match="the client is closed"):
        kv.get("a")


def test_the_idle_connections_are_bounded_and_the_oldest_end(fake, monkeypatch):
    with Client(fake.endpoint) as kv:
        pool = kv._pool
        traits = None
        from kvd.client.outcomes import traits_of  # noqa: PLC0415
        from kvd.commands.values import Get  # noqa: PLC0415

        traits = traits_of(Get)
        taken = [pool.acquire(traits, time.monotonic() + 5) for _ in range(20)]
        for each in taken:
            pool.release(each)
        assert len(pool._idle) == 16
        now = time.monotonic()
        monkeypatch.setattr("kvd.client.pool.time.monotonic", lambda: now + 40)
        for left in (15, 14, 13):
            pool.release(pool.acquire(traits, now + 50))
            assert len(pool._idle) == left


def test_a_connection_that_ended_while_idle_is_replaced_without_a_word(fake, kv_fake):
    kv_fake.incr("n")
    for sock in [*fake.sockets]:
        sock.shutdown(socket.SHUT_RDWR)
    eventually(lambda: not fake.sockets)
    assert kv_fake.incr("n") == 2


def test_all_endpoints_are_tried(fake):
    dead = dead_endpoint()
    with Client(f"{dead},{fake.endpoint}") as kv:
        assert kv.incr("n") == 1
        assert kv.endpoint == fake.endpoint
    with Client([dead, dead_endpoint()], timeout=0.2) as kv, pytest.raises(Unreachable) as caught:
        kv.incr("n")
    for part in ("INCR", "no daemon answers", *[each.text for each in kv._pool.endpoints], "Connection refused"):
        assert part in str(caught.value)


@pytest.mark.parametrize("kind", [Client, AsyncClient])
def test_a_name_whose_first_address_refuses_connects_to_the_next(fake, monkeypatch, kind):
    """As localhost where ::1 comes first and the daemon listens on 127.0.0.1."""
    port = int(fake.endpoint.rpartition(":")[2])
    first = socket.AF_INET6, socket.SOCK_STREAM, socket.IPPROTO_TCP, "", ("::1", port, 0, 0)
    second = socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_TCP, "", ("127.0.0.1", port)
    monkeypatch.setattr("kvd.client.endpoints.socket.getaddrinfo", lambda *_, **__: [first, second])

    async def use_asyncio():
        async with AsyncClient(f"tcp://the-host:{port}") as kv:
            return await kv.incr("n")

    def use_blocking():
        with Client(f"tcp://the-host:{port}") as kv:
            return kv.incr("n")

    assert (use_blocking() if kind is Client else asyncio.run(use_asyncio())) == 1


def cut_after(size, fake):
    """Return a peer that hangs up after a number of bytes of the first request; later requests pass whole."""
    requests = []

    def script(sock):
        shake_hands(sock)
        requests.append(sock)
        if len(requests) > 1:
            for parts in messages(sock):
                sock.sendall(message(*parts[:-1], fake.reply(parts[-1])))
            return
        data = b""
        while len(data) < size:
            data += sock.recv(size - len(data))

    return Peer(script)


def test_a_break_after_the_whole_request_leaves_a_write_unknown_and_a_read_is_asked_again(fake):
    """The kernel took all, so nobody knows."""
    request = len(message(b"", wire.encode(incr_command())))
    with cut_after(request, fake) as peer, Client(peer.endpoint) as kv, pytest.raises(OutcomeUnknown, match="INCR"):
        kv.incr("n")
    with cut_after(1, fake) as peer, Client(peer.endpoint) as kv:
        assert kv.get("n") is None
    with cut_after(1, fake) as peer, Client(peer.endpoint) as kv:
        assert kv.once().incr("n") == 1


def incr_command():
    from kvd.commands.values import Incr  # noqa: PLC0415

    return Incr(b"n")


def test_a_write_is_sent_again_while_its_last_byte_was_not_taken(fake, monkeypatch):
    """It takes k bytes, for each k, and the connection breaks: the write runs once; with all of them, who knows."""
    from kvd.client.connection import Connection, ConnectionLost  # noqa: PLC0415

    whole = len(message(b"", wire.encode(incr_command())))
    send = Connection._send_small
    for size in range(whole + 1):
        with Client(fake.endpoint, timeout=20) as kv:
            kv.get("warm")
            left = [size]

            def cut(connection, request, left=left):
                if not left:
                    return send(connection, request)
                size = left.pop()
                connection._socket.sendall(request[:size])
                connection._socket.shutdown(socket.SHUT_WR)
                if size < len(request):
                    raise ConnectionLost("cut", 0)
                return None

            monkeypatch.setattr(Connection, "_send_small", cut)
            value = int(fake.value(b"n") or 0)
            if size < whole:
                assert kv.incr("n") == value + 1
            else:
                with contextlib.suppress(OutcomeUnknown):
                    kv.incr("n")
                eventually(lambda value=value: int(fake.value(b"n")) == value + 1)


def test_silence_is_told_apart_from_a_break(fake):
    def mute(sock):
        shake_hands(sock)
        while sock.recv(4096):
            pass

    with Peer(mute) as peer, Client(peer.endpoint, timeout=0.2) as kv:
        with pytest.raises(NoReply, match=peer.endpoint):
            kv.get("n")
        with pytest.raises(OutcomeUnknown, match=peer.endpoint):
            kv.incr("n")
